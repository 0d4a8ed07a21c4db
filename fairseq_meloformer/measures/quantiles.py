"""Measured values against a corpus: what counts as fast or high is a matter of the music at hand."""

import json
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from fairseq_meloformer import jobs
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import ATTRIBUTES, AXES, Attributes

# Attributes whose zero divides the poles whatever the corpus: most songs being in major makes none of them minor.
_SIGNED: Final = ("mode", "dynamics")
_POINTS: Final = 201


class Quantiles:
    """Quantiles of every numeric attribute of a corpus, and where a value lies among them.

    Positions run from -1 (as slow, sparse, low... as the corpus gets) over 0 (its median) to 1. For `mode` and
    `dynamics` the sign is the value's own, and the rank is taken among values of that sign; `drums` is -1 without
    drums and the rank among passages with drums (0..1) otherwise.
    """

    def __init__(self, values: Mapping[str, list[float]], count: int) -> None:
        """Keep `values`, quantiles by attribute, equally spaced from minimum to maximum of `count` passages."""
        self.values = dict(values)
        self.count = count

    @classmethod
    def fit(cls, corpus: Iterable[Attributes]) -> "Quantiles":
        """Quantiles of a corpus of measured passages.

        Raises:
            InputError: nothing was measured, or a control axis is missing throughout.
        """
        numbers, count = {name: array("d") for name in ATTRIBUTES}, 0
        for count, row in enumerate(corpus, start=1):  # noqa: B007  how many there were
            for name, values in numbers.items():
                if isinstance(value := row.get(name), (int, float)):
                    values.append(value)
        missing = [axis for axis in AXES if not numbers[axis]]
        if missing:
            raise InputError(
                f"quantiles need a corpus in which every control axis is measured at least once, "
                f"received {count} passages without {', '.join(missing)}; add files with pitched notes"
            )
        points = np.linspace(0, 1, _POINTS)
        return cls({name: np.quantile(values, points).tolist() for name, values in numbers.items() if values}, count)

    def save(self, path: Path | str) -> None:
        """Write as JSON."""
        jobs.write_json(Path(path), {"count": self.count, "quantiles": self.values})

    @classmethod
    def load(cls, path: Path | str) -> "Quantiles":
        """Read what `save` wrote.

        Raises:
            InputError: the file is absent or not of that form.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            found = {str(name): [float(value) for value in values] for name, values in content["quantiles"].items()}
            count = int(content["count"])
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path} must hold a corpus's quantiles "
                f"(JSON with 'count' and 'quantiles', as `meloformer prepare` writes beside its data), "
                f"but cannot be read as such: {error!r}"
            ) from error
        wrong = [name for name in AXES if not _rises(found.get(name, []))]
        wrong += [name for name, values in found.items() if name not in AXES and not _rises(values)]
        if wrong:
            raise InputError(f"{path} must have numbers that rise for each attribute; {', '.join(wrong)} has none")
        return cls(found, count)

    def position(self, name: str, value: float) -> float:
        """Where `value` of attribute `name` lies in the corpus, in [-1, 1]; see the class."""
        quantiles = self.values[name]
        rank = _rank(quantiles, value)
        if name == "drums":
            silent = bisect_right(quantiles, 0.0) / len(quantiles)
            return -1.0 if value <= 0 else max(0.0, (rank - silent) / (1 - silent)) if silent < 1 else 1.0
        if name not in _SIGNED:
            return 2 * rank - 1
        zero = _rank(quantiles, 0.0)
        if value > 0:
            return (rank - zero) / (1 - zero) if zero < 1 else 1.0
        return (rank - zero) / zero if zero > 0 else -float(value < 0)

    def value(self, name: str, position: float) -> float:
        """The value of an attribute (neither signed nor drums) at a position in [-1, 1]: what `position` has."""
        places = np.linspace(-1, 1, len(self.values[name]))
        return float(np.interp(position, places, self.values[name]))

    def extremes(self, attributes: Attributes) -> list[str]:
        """Axes on which a value lies below the corpus' 1st percentile or above its 99th."""
        return outside(attributes, {axis: np.quantile(self.values[axis], [0.01, 0.99]).tolist() for axis in AXES})

    def positions(self, attributes: Attributes) -> dict[str, float]:
        """Position of every numeric attribute that the corpus has too, in the order of `ATTRIBUTES`."""
        numbers = ((name, attributes.get(name)) for name in self.values)
        return {name: self.position(name, value) for name, value in numbers if isinstance(value, (int, float))}


def outside(attributes: Attributes, ranges: Mapping[str, Sequence[float]]) -> list[str]:
    """Names of the attributes outside of their ranges (lowest, highest); what was not measured is not."""
    return [
        name
        for name, (low, high) in ranges.items()
        if isinstance(value := attributes.get(name), (int, float)) and not low <= value <= high
    ]


def _rises(values: list[float]) -> bool:
    return len(values) > 1 and all(low <= high for low, high in pairwise(values))


def _rank(quantiles: list[float], value: float) -> float:
    """Share of the corpus below `value`, in 0..1; a tie counts half."""
    low, high = bisect_left(quantiles, value), bisect_right(quantiles, value)
    last = len(quantiles) - 1
    if low < high:
        return (low + high - 1) / 2 / last
    if low in (0, len(quantiles)):
        return float(low > 0)
    return (low - 1 + (value - quantiles[low - 1]) / (quantiles[low] - quantiles[low - 1])) / last
