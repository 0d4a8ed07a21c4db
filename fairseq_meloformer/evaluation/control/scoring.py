"""Directional accuracy and its intervals.

An axis of a piece is right if the piece lies on the asked side of the same model's median without injection; what was
not composed or cannot be measured is wrong, and so is a tie. Chance is one half. One exception: a piece without a
single drum has none, also where the median is 0.

Intervals are from a bootstrap over prompts (Efron 1979), as pieces of one prompt are not independent; lift and other
differences resample both of their sides together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from fairseq_meloformer.measures.attributes import AXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES: Final = 2000
Interval = dict[str, float | None]
"""JSON: `value`, `low`, `high`, None where nothing was asked."""

Values = dict[str, float]


def medians(pieces: Iterable[Mapping[str, object]]) -> Values:
    """Median of each axis over measured pieces; axes that none of them has are absent."""
    rows = list(pieces)
    found = {axis: [value for row in rows if isinstance(value := row.get(axis), (int, float))] for axis in AXES}
    return {axis: float(np.median(values)) for axis, values in found.items() if values}


def is_right(axis: str, sign: int, value: object, median: float | None) -> bool:
    """Whether a measured value lies on the asked side (+1 or -1)."""
    if not isinstance(value, (int, float)) or median is None:
        return False
    if axis == "drums" and value == 0:
        return sign < 0
    return (value - median) * sign > 0


@dataclass
class DirectionScore:
    """Right directions and all asked ones, by prompt and axis: both (prompts, axes)."""

    prompts: Sequence[str]
    right: Floats = field(init=False)
    asked: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.right = np.zeros((len(self.prompts), len(AXES)))
        self.asked = np.zeros_like(self.right)
        self._row = {name: row for row, name in enumerate(self.prompts)}

    def add(
        self,
        prompt: str,
        directions: Mapping[str, int],
        measured: Mapping[str, object] | None,
        middle: Mapping[str, float],
        weight: float = 1.0,
    ) -> None:
        """Count a piece (None: it failed) of a prompt."""
        row = self._row[prompt]
        for axis, sign in directions.items():
            column = AXES.index(axis)
            value = None if measured is None else measured.get(axis)
            self.asked[row, column] += weight
            self.right[row, column] += weight * is_right(axis, sign, value, middle.get(axis))

    def only(self, chosen: Callable[[str], bool]) -> DirectionScore:
        """The same of some prompts; the others count nothing, so that resamples stay in step."""
        part = DirectionScore(self.prompts)
        mask = np.array([chosen(name) for name in self.prompts], dtype=float)[:, None]
        part.right, part.asked = self.right * mask, self.asked * mask
        return part

    def axes(self, weights: Floats) -> Floats:
        """Accuracy by axis under weights (resamples, prompts): (resamples, axes), NaN where nothing is asked."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares: Floats = (weights @ self.right) / (weights @ self.asked)
        return shares

    def mean(self, weights: Floats) -> Floats:
        """Mean over the axes that are asked for: (resamples,)."""
        shares = self.axes(weights)
        known = ~np.isnan(shares)
        count = known.sum(-1)
        total = np.where(known, shares, 0).sum(-1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class Bootstrap:
    """Resamples of prompts: the first is the sample itself."""

    def __init__(self, prompts: int, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        drawn = generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=RESAMPLES)
        self.weights: Floats = np.vstack([np.ones((1, prompts)), drawn])

    def interval(self, values: Floats) -> Interval:
        """Value and 95 % interval of a statistic under `weights`."""
        if np.isnan(values[0]):
            return {"value": None, "low": None, "high": None}
        known = values[1:][~np.isnan(values[1:])]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (values[0], values[0])
        return {"value": round(float(values[0]), 4), "low": round(float(low), 4), "high": round(float(high), 4)}

    def mean(self, score: DirectionScore) -> Interval:
        """Mean accuracy of a score."""
        return self.interval(score.mean(self.weights))

    def axes(self, score: DirectionScore) -> dict[str, Interval]:
        """Accuracy of each axis."""
        shares = score.axes(self.weights)
        return {axis: self.interval(shares[:, column]) for column, axis in enumerate(AXES)}

    def difference(self, first: DirectionScore, second: DirectionScore) -> Interval:
        """Mean accuracy of one minus that of another."""
        return self.interval(first.mean(self.weights) - second.mean(self.weights))

    def gap_closed(self, text: DirectionScore, shuffled: DirectionScore, oracle: DirectionScore) -> Interval:
        """Share of the way from shuffled to oracle that the text goes."""
        low = shuffled.mean(self.weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = (text.mean(self.weights) - low) / (oracle.mean(self.weights) - low)
        return self.interval(np.where(np.isfinite(share), share, np.nan))
