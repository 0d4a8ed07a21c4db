"""Exponential moving average of a module's weights, which is what gets sampled from."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from fairseq_meloformer.errors import InputError

M = TypeVar("M", bound=nn.Module)


class Ema(nn.Module, Generic[M]):
    """A slow copy of a module, part of the state it is kept with.

    The decay warms up as (1 + n) / (10 + n) over n updates, so that a short training is not an average with its random
    start.

    Args:
        module: what to follow; its buffers are taken over as they are.
        decay: weight of the past once warm, in [0, 1).
    """

    updates: Tensor

    def __init__(self, module: M, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise InputError(f"the decay of an average of weights must be in [0, 1); received {decay}")
        self.average = copy.deepcopy(module).requires_grad_(requires_grad=False).eval()
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, module: M) -> None:
        """Move towards the module's weights of now."""
        count = int(self.updates)
        decay = min(self.decay, (1 + count) / (10 + count))
        for slow, fast in zip(self.average.parameters(), module.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)
        for kept, taken in zip(self.average.buffers(), module.buffers(), strict=True):
            kept.copy_(taken)
        self.updates += 1

    def train(self, mode: bool = True) -> "Ema[M]":
        """Stay in evaluation mode: the average is never trained."""
        self.training = mode
        return self
