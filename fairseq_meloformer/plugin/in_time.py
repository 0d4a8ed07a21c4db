"""The learning rate schedule `in_time`: it falls to 0 by the hour at which `--stop-time-hours` ends the training."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.polynomial_decay_schedule import PolynomialDecayLRScheduleConfig
from omegaconf import II
from torch import distributed

from fairseq_meloformer.errors import InputError

_STEADY = 0.6  # of the time the rate stays where it is


@dataclass
class InTimeConfig(PolynomialDecayLRScheduleConfig):
    """Options of fairseq's `polynomial_decay`, so that one stands in for the other; of updates only warmup counts."""

    stop_time_hours: float = II("optimization.stop_time_hours")
    total_num_update: float = 0.0  # the parent's is --max-update, which fairseq does not find where none is given


@register_lr_scheduler("in_time", dataclass=InTimeConfig)
class InTime(FairseqLRScheduler):
    """Rises over `--warmup-updates`, stays, and falls over the last four tenths of the time to 0.

    Time is that of the training, runs that were stopped included.
    """

    def __init__(self, cfg: InTimeConfig, optimizer: Any) -> None:  # noqa: ANN401  fairseq's
        super().__init__(cfg, optimizer)
        if not cfg.stop_time_hours > 0:
            raise InputError("--lr-scheduler in_time needs --stop-time-hours, the time that the training has")
        self._spent, self._began = 0.0, time.monotonic()
        self.step_update(0)

    @property
    def spent(self) -> float:
        """Seconds of training."""
        return self._spent + time.monotonic() - self._began

    def step_update(self, num_updates: int) -> float:
        """Set the rate of the next update, the same in all processes; returns it."""
        share = torch.tensor(
            self.spent / (3600 * self.cfg.stop_time_hours), device=next(iter(self.optimizer.params)).device
        )
        if distributed.is_available() and distributed.is_initialized():
            distributed.broadcast(share, 0)
        risen = min(1.0, (num_updates + 1) / (self.cfg.warmup_updates + 1))
        left = max(0.0, min(1.0, (1 - float(share)) / (1 - _STEADY)))
        self.optimizer.set_lr(self.cfg.lr[0] * risen * left)
        rate: float = self.optimizer.get_lr()
        return rate

    def state_dict(self) -> dict[str, Any]:
        """What a later run needs to go on."""
        return {**super().state_dict(), "spent": self.spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on; after another schedule the time begins now."""
        super().load_state_dict(state_dict)
        self._spent, self._began = state_dict.get("spent", 0.0), time.monotonic()
