"""How a text wants music to move besides the control axes: swung, syncopated, in chords, growing, returning."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import MANNERS
from fairseq_meloformer.words.plain import naming
from fairseq_meloformer.words.refusals import refused_before
from fairseq_meloformer.words.scenes import LANGUAGES, are_texts, read_yaml

FILE: Final = Path(__file__).with_name("manners.yaml")
_ASKED: Final = 0.8
_SIDES: Final = {"positive": 1, "negative": -1}
_WORDS: Final = {
    "swing": ("straight", "swung"),
    "syncopation": ("on the beat", "syncopated"),
    "pentatonic": ("not pentatonic", "pentatonic"),
    "polyphony": ("single lines", "in chords"),
    "dynamics": ("ever softer", "ever louder"),
    "recurrence": ("ever new", "returning"),
}


def manners(text: str) -> dict[str, float]:
    """What a lower-case text says of each of `MANNERS`, from -1 to 1; the first word counts, silence is left out."""
    found: dict[str, float] = {}
    for axis, (denied, sides) in _patterns().items():
        places = [
            (match.start(), -match.end(), sign * (-1 if refused else 1))
            for sign, pattern in sides.items()
            for match in pattern.finditer(text)
            if not (refused := refused_before(text, *match.span())) or denied
        ]
        if places:
            found[axis] = _ASKED * min(places)[2]
    return found


def said(values: Mapping[str, float]) -> list[str]:
    """The same in English words, for people."""
    return [_WORDS[axis][value > 0] for axis, value in values.items()]


@cache
def _patterns() -> dict[str, tuple[bool, dict[int, re.Pattern[str]]]]:
    """The content of manners.yaml: whether a denial asks for the other side, and the sides' patterns.

    Raises:
        InputError: an entry that is not of the form that the file explains.
    """
    content = read_yaml(FILE)
    if set(content) != set(MANNERS):
        raise InputError(f"{FILE} must have the axes {', '.join(MANNERS)}, received {', '.join(content)}")
    patterns = {}
    for axis in MANNERS:
        entry = content[axis]
        holds = set(entry) == {"denied", *_SIDES} and all(
            are_texts(entry[side].get(lang)) for side in _SIDES for lang in LANGUAGES
        )
        if not holds:
            raise InputError(f"{FILE}, {axis}: must have denied and, for each side, texts in both languages: {entry}")
        sides = {sign: naming(entry[side]["en"], entry[side]["zh"]) for side, sign in _SIDES.items()}
        patterns[axis] = (bool(entry["denied"]), sides)
    return patterns
