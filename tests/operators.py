"""Which operators of PyTorch a function calls: on a GPU most are launches, and some wait for the device."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

WAITING = frozenset({"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"})
"""What makes the host wait until the device has come so far."""


def calls_of(function: Callable[..., object], *arguments: Any) -> Counter[str]:
    """How often a function calls each operator, with the same random numbers every time."""
    torch.manual_seed(0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function(*arguments)
    return Counter(event.name for event in profile.events() if event.name.startswith("aten::"))
