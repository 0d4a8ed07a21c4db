"""The methods by name, and what they fix of a bridge's settings."""

from collections.abc import Mapping
from typing import Any, Final, Literal

Method = Literal["bridge", "flow", "regression", "prefix", "vae", "retrieval", "mean"]

DENOISING: Final = frozenset({"bridge", "flow"})
"""Methods that sample step by step, with the denoiser as their estimate."""

WITH_END: Final = frozenset({"bridge", "regression", "prefix"})
"""Methods that have a text end; for the others it is zero, the mean summary."""

_NO_END: Final = {"endpoint": "none"}

SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "bridge": {},
    "flow": {**_NO_END, "noise": 0.0, "endpoint_noise": 1.0},
    "regression": {},
    "prefix": {"plan_scope": "history"},
    "vae": _NO_END,
    "retrieval": _NO_END,
    "mean": _NO_END,
}
"""What differs from the bridge's own defaults, by the names of the options of training."""
