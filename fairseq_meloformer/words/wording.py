"""How single facts are said in both languages: degrees, negations, comparisons, from lexicon/wording.yaml."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import ATTRIBUTES, AXES
from fairseq_meloformer.words.lexicon import FOLDER
from fairseq_meloformer.words.scenes import are_texts, read_yaml

# Which form of wording.yaml each slot of a sentence takes, by language.
FORMS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "adjectives": {"en": ("adjectives",), "zh": ("labels",)},
    "labels": {"en": ("adjectives",), "zh": ("labels",)},
    "nouns": {"en": ("nouns",), "zh": ("labels",)},
    "predicates": {"en": ("adjectives",), "zh": ("degrees",)},
    "clauses": {"en": ("clauses",), "zh": ("clauses",)},
    "asides": {"en": ("comparatives", "negations"), "zh": ("comparatives", "negations")},
    "any": {
        "en": ("adjectives", "adjectives", "nouns", "comparatives", "negations"),
        "zh": ("labels", "labels", "degrees", "comparatives", "negations"),
    },
}
_REQUIRED: Final = {
    "en": {"adjectives", "nouns", "clauses", "comparatives", "negations"},
    "zh": {"labels", "degrees", "clauses", "comparatives", "negations"},
}

# Rank (0..1 of the way from the median) up to which a pole is said to hold slightly, and from which strongly; and
# what each amounts to on an axis.
_SLIGHT: Final = 0.45
_STRONG: Final = 0.8
_AMOUNT: Final = {"slightly": 0.4, "plainly": 0.7, "strongly": 1.0}
_ADVERBS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "slightly": {"en": ("slightly ", "a little ", "fairly ", "somewhat "), "zh": ("有点", "略", "比较", "较")},
    "plainly": {"en": ("",), "zh": ("",)},
    "strongly": {"en": ("very ", "extremely ", "really ", ""), "zh": ("很", "非常", "特别", "极")},
}
_MIDDLE: Final = 0.15


@dataclass(frozen=True)
class Fact:
    """One thing that is true of a passage and can be said of an attribute.

    pole: 1 or -1, 0 for near the median. degree: "slightly", "plainly" or "strongly". stated: what saying so asks of
    the attribute's axis, in [-1, 1].
    """

    attribute: str
    pole: int
    degree: str
    stated: float


def facts(positions: Mapping[str, float]) -> list[Fact]:
    """What a passage at `positions` is clearly on one side of, or clearly in the middle of.

    At least one fact on the control axes, if any of them is measured: else the place nearest to the median is one.
    """
    said = [fact for attribute in wording() if (fact := _fact(attribute, positions.get(attribute), _MIDDLE))]
    measured = [axis for axis in AXES if axis in positions]
    if measured and not any(fact.attribute in AXES for fact in said):
        nearest = min(measured, key=lambda axis: abs(positions[axis]))
        said += filter(None, [_fact(nearest, positions[nearest], middle=1)])
    return said


def _fact(attribute: str, place: float | None, middle: float) -> Fact | None:
    words = wording()[attribute]
    if place is not None and abs(place) >= words["from"]:
        degree = "slightly" if abs(place) < _SLIGHT else "strongly" if abs(place) >= _STRONG else "plainly"
        return Fact(attribute, 1 if place > 0 else -1, degree, math.copysign(_AMOUNT[degree], place))
    if place is not None and abs(place) <= middle:
        return Fact(attribute, 0, "plainly", words["middle"].get("states", 0.0))
    return None


def say(fact: Fact, slot: str, lang: str, rng: Random) -> str:
    """The fact in words that fit `slot` (a key of FORMS)."""
    words = wording()[fact.attribute]
    if fact.pole == 0:
        return str(rng.choice(words["middle"][lang]))
    form = rng.choice(FORMS[slot][lang])
    text = str(rng.choice(words["positive" if fact.pole > 0 else "negative"][lang][form]))
    adverb = rng.choice(_ADVERBS[fact.degree][lang]) if words["graded"] else ""
    if form == "degrees":
        return text.format(adverb)
    return adverb + text if form == "adjectives" else text


def joined(parts: list[str], comma: str, last: str) -> str:
    """Parts as in "a, b and c", with the language's own separators."""
    return comma.join(parts[:-1]) + (last if len(parts) > 1 else "") + parts[-1]


@cache
def wording() -> dict[str, Any]:
    """The checked content of wording.yaml."""
    return load_wording(FOLDER / "wording.yaml")


def load_wording(path: Path) -> dict[str, Any]:
    """Read and check a wording file.

    Raises:
        InputError: an attribute lacks a form, or is none that is measured; all mistakes at once.
    """
    content = read_yaml(path)
    problems = [f"{axis}: every control axis must be there" for axis in AXES if axis not in content]
    for attribute, words in content.items():
        if attribute not in ATTRIBUTES:
            problems.append(f"{attribute}: must be a measured attribute ({', '.join(ATTRIBUTES)})")
        if set(words) != {"from", "graded", "middle", "positive", "negative"} or not 0 < words["from"] < 1:
            problems.append(
                f"{attribute}: must have from (between 0 and 1), graded, middle, positive and negative, "
                f"received {sorted(words)}"
            )
            continue
        for pole in ("positive", "negative"):
            for lang, forms in _REQUIRED.items():
                lacking = sorted(form for form in forms if not are_texts(words[pole].get(lang, {}).get(form)))
                problems += [f"{attribute}, {pole}, {lang}: {form} must be a list of texts" for form in lacking]
        problems += [
            f"{attribute}, middle, {lang}: must be a list of texts"
            for lang in _REQUIRED
            if not are_texts(words["middle"].get(lang))
        ]
    if problems:
        raise InputError(f"{path} has {len(problems)} mistakes:\n" + "\n".join(problems))
    return dict(content)
