"""Repeated measurements, and the rows of the table."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the command was asked for.

    Attributes:
        quick: tiny models and few repeats; shows that everything runs, and measures nothing.
        midi: folder of MIDI files, None for what lies beside the checkout.
        data: folder that `meloformer prepare` wrote, whose `valid` split is held out; None for songs of `midi`.
        output: folder for results.
        picture: file of the picture of time per token against length.
        device: where models and songs are.
    """

    quick: bool
    midi: Path | None
    data: Path | None
    output: Path
    picture: Path
    device: str = "cpu"

    def repeats(self, number: int) -> int:
        """How often to measure."""
        return 2 if self.quick else number


@dataclass(frozen=True)
class Figure:
    """The median of repeated measurements, and the least and greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Of measured values."""
        return cls(statistics.median(values), min(values), max(values))

    def mapped(self, function: Callable[[float], float]) -> Figure:
        """In another unit; a rate falls where a time rises."""
        low, high = sorted((function(self.low), function(self.high)))
        return Figure(function(self.median), low, high)


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: what was measured.
        ours: the figure.
        unit: of both figures.
        baseline: what it is compared with; empty for nothing.
        theirs: the figure of that.
        ratio: of one to the other, as the target counts it.
        target: what was aimed at; empty for nothing.
        met: whether it was reached; None without target.
    """

    what: str
    ours: Figure
    unit: str
    baseline: str = ""
    theirs: Figure | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


def seconds(function: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long one call takes, in seconds: by the wall, or `time.process_time` for what a core is at it."""
    _wait()
    begun = clock()
    function()
    _wait()
    return clock() - begun


def _wait() -> None:
    """Until a GPU has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def alternately(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Figure]:
    """Seconds of each function, called in turns so that whatever else the machine does falls on all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: Figure.of(values) for name, values in times.items()}
