"""How single facts are said.

Degrees, negations, comparisons and exact values in both languages, from the lexicon's wording files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.music.attributes import ATTRIBUTES, AXES, Attributes
from fairseq_meloformer.music.lexicon import FOLDER
from fairseq_meloformer.music.passage import DRUMS
from fairseq_meloformer.music.scenes import read_yaml

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

    pole: 1 or -1, 0 for near the median. degree: "slightly", "plainly" or "strongly".
    """

    attribute: str
    pole: int
    degree: str

    @property
    def stated(self) -> float:
        """What it states on its attribute's axis, -1..1."""
        return self.pole * _AMOUNT[self.degree]


def facts(positions: Mapping[str, float]) -> list[Fact]:
    """Everything of which a passage at `positions` lies clearly on one side, or clearly near the median."""
    said = []
    for attribute, words in wording().items():
        place = positions.get(attribute)
        if place is None:
            continue
        if abs(place) >= words["from"]:
            degree = "slightly" if abs(place) < _SLIGHT else "strongly" if abs(place) >= _STRONG else "plainly"
            said.append(Fact(attribute, 1 if place > 0 else -1, degree))
        elif abs(place) <= _MIDDLE:
            said.append(Fact(attribute, 0, "plainly"))
    return said


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


def exact(attributes: Attributes, lang: str, rng: Random) -> list[tuple[str, dict[str, float]]]:
    """Exact facts as they follow a sentence ("in A minor"), in random order.

    Each comes with what it states on the control axes.
    """
    said = [
        _tempo(attributes, lang, rng),
        _key(attributes, lang, rng),
        _instruments(attributes, lang, rng),
        _absent(attributes, lang, rng),
        _metre(attributes, lang),
        _bars(attributes, lang),
    ]
    found = [item for item in said if item is not None]
    rng.shuffle(found)
    return found


def _tempo(attributes: Attributes, lang: str, rng: Random) -> tuple[str, dict[str, float]] | None:
    tempo = attributes.get("tempo")
    if not isinstance(tempo, float):
        return None
    patterns = {
        "en": ("at {} bpm", "{} bpm", "tempo {}", "{} beats per minute"),
        "zh": ("每分钟{}拍", "速度{}", "{} bpm", "{}拍每分钟"),
    }
    return rng.choice(patterns[lang]).format(round(tempo)), {}


def _key(attributes: Attributes, lang: str, rng: Random) -> tuple[str, dict[str, float]] | None:
    key = attributes.get("key")
    if not isinstance(key, str):
        return None
    tonic, mode = key.split()
    if lang == "en":
        return rng.choice(("in {}", "key of {}", "in the key of {}")).format(key), {
            "mode": 0.7 if mode == "major" else -0.7
        }
    accidental = "升" if tonic.endswith("#") else "降" if tonic.endswith("b") else ""
    return f"{accidental}{tonic[0]}{'大调' if mode == 'major' else '小调'}", {"mode": 0.7 if mode == "major" else -0.7}


def _names(programs: list[int], lang: str) -> list[str]:
    return list(dict.fromkeys(instrument_names()[program][lang] for program in programs))


def _instruments(attributes: Attributes, lang: str, rng: Random) -> tuple[str, dict[str, float]] | None:
    programs = attributes.get("instruments")
    if not isinstance(programs, list):
        return None
    chosen = programs[: rng.randint(1, 3)]
    states = {"drums": 0.7} if DRUMS in chosen else {}
    names = _names(chosen, lang)
    return (
        f"{rng.choice(('for', 'with', 'played by'))} {joined(names, ', ', ' and ')}"
        if lang == "en"
        else f"{rng.choice(('用', '有'))}{joined(names, '、', '和')}"
    ), states


def _absent(attributes: Attributes, lang: str, rng: Random) -> tuple[str, dict[str, float]] | None:
    programs = attributes.get("instruments")
    if not isinstance(programs, list):
        return None
    playing = _names(programs, lang)
    common = [name for name in _names([0, 25, 33, 48], lang) if name not in playing]
    if not common:
        return None
    return rng.choice(("without {}", "no {}") if lang == "en" else ("没有{}", "不要{}")).format(rng.choice(common)), {}


def _metre(attributes: Attributes, lang: str) -> tuple[str, dict[str, float]] | None:
    metre = attributes.get("metre")
    if not isinstance(metre, str) or metre == "4/4":
        return None
    return (f"in {metre}" if lang == "en" else f"{metre}拍"), {}


def _bars(attributes: Attributes, lang: str) -> tuple[str, dict[str, float]] | None:
    bars = attributes.get("bars")
    if not isinstance(bars, float):
        return None
    return (f"{bars:.0f} bars" if lang == "en" else f"{bars:.0f}小节"), {}


def joined(parts: list[str], comma: str, last: str) -> str:
    """Parts as in "a, b and c", with the language's own separators."""
    return comma.join(parts[:-1]) + (last if len(parts) > 1 else "") + parts[-1]


@cache
def instrument_names() -> list[dict[str, str]]:
    """By program 0..128, its name in both languages."""
    names: dict[int, dict[str, str]] = {}
    for first, last, english, chinese in read_yaml(FOLDER / "instruments.yaml"):
        names.update({program: {"en": english, "zh": chinese} for program in range(first, last + 1)})
    missing = [program for program in range(DRUMS + 1) if program not in names]
    if missing:
        raise InputError(f"{FOLDER / 'instruments.yaml'} must name every program 0..{DRUMS}, but leaves out {missing}")
    return [names[program] for program in range(DRUMS + 1)]


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
                lacking = sorted(form for form in forms if not _texts(words[pole].get(lang, {}).get(form)))
                problems += [f"{attribute}, {pole}, {lang}: {form} must be a list of texts" for form in lacking]
        problems += [
            f"{attribute}, middle, {lang}: must be a list of texts"
            for lang in _REQUIRED
            if not _texts(words["middle"].get(lang))
        ]
    if problems:
        raise InputError(f"{path} has {len(problems)} mistakes:\n" + "\n".join(problems))
    return dict(content)


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(text, str) and text for text in value)
