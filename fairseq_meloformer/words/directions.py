"""How often a reading of prompts goes in the asked direction."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES

# Values nearer to 0 count as silence: where a direction is asked, they are wrong.
SILENCE: Final = 0.1

Values = Mapping[str, float]


@dataclass(frozen=True)
class LabelledPrompt:
    """A prompt of which it is known what it asks: kind "stated" or "implied", lang "zh" or "en", directions +1, -1."""

    text: str
    lang: str
    kind: str
    directions: Mapping[str, int]

    @classmethod
    def read(cls, text: str, about: Mapping[str, Any], where: str) -> "LabelledPrompt":
        """From a line of a prompt file.

        Raises:
            InputError: `lang`, `kind` or `directions` are missing or not of that form.
        """
        directions = about.get("directions")
        if (
            about.get("lang") not in ("zh", "en")
            or about.get("kind") not in ("stated", "implied")
            or not isinstance(directions, dict)
            or not directions
            or any(axis not in AXES or sign not in (1, -1) for axis, sign in directions.items())
        ):
            raise InputError(
                f'{where}: to be evaluated, a prompt must have "lang" (zh or en), "kind" (stated or implied) and '
                f'"directions" (some of {", ".join(AXES)}, each 1 or -1); received {dict(about)!r}'
            )
        return cls(text, about["lang"], about["kind"], directions)

    def hits(self, values: Values) -> Iterator[tuple[str, bool]]:
        """Every asked axis, and whether the reading lies on the asked side and is not silence."""
        return ((axis, values[axis] * sign >= SILENCE) for axis, sign in self.directions.items())


@dataclass(frozen=True)
class Accuracy:
    """Right directions out of all."""

    right: int
    asked: int

    @property
    def share(self) -> float:
        """Share of right directions; NaN of none."""
        return self.right / self.asked if self.asked else math.nan

    def interval(self) -> tuple[float, float]:
        """95 % interval of the share (Wilson 1927), as if directions of one prompt were independent."""
        if not self.asked:
            return 0.0, 1.0
        z2 = 1.96**2 / self.asked
        centre = (self.share + z2 / 2) / (1 + z2)
        half = math.sqrt(z2 * (self.share * (1 - self.share) + z2 / 4)) / (1 + z2)
        return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class _Read:
    asked: LabelledPrompt
    axis: str
    hit: bool


def table(prompts: Sequence[LabelledPrompt], values: Sequence[Values]) -> list[tuple[str, dict[str, Accuracy]]]:
    """Rows (name, accuracy by column) for everything, each language and each axis; columns stated, implied, both."""
    read = [
        _Read(asked, axis, hit) for asked, found in zip(prompts, values, strict=True) for axis, hit in asked.hits(found)
    ]
    languages: list[tuple[str, Callable[[_Read], bool]]] = [
        ("all", lambda _: True),
        ("zh", lambda row: row.asked.lang == "zh"),
        ("en", lambda row: row.asked.lang == "en"),
    ]
    axes: list[tuple[str, Callable[[_Read], bool]]] = [(axis, _of(axis)) for axis in AXES]
    return [(name, _columns([row for row in read if chosen(row)])) for name, chosen in languages + axes]


def _of(axis: str) -> Callable[[_Read], bool]:
    return lambda row: row.axis == axis


def _columns(rows: Sequence[_Read]) -> dict[str, Accuracy]:
    columns = {
        "stated": [row.hit for row in rows if row.asked.kind == "stated"],
        "implied": [row.hit for row in rows if row.asked.kind == "implied"],
        "both": [row.hit for row in rows],
    }
    return {name: Accuracy(sum(hits), len(hits)) for name, hits in columns.items()}


def unasked(prompts: Sequence[LabelledPrompt], values: Sequence[Values]) -> tuple[float, float]:
    """Mean absolute value on the axes that stated prompts ask for, and on those that they leave open."""
    asked: list[float] = []
    left: list[float] = []
    for prompt, found in zip(prompts, values, strict=True):
        if prompt.kind == "stated":
            for axis in AXES:
                (asked if axis in prompt.directions else left).append(abs(found[axis]))
    return _mean(asked), _mean(left)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
