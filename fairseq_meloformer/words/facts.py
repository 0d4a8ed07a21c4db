"""Exact facts as they follow a sentence: tempo in bpm, key, instruments that play or do not, metre, number of bars."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import Attributes
from fairseq_meloformer.measures.passage import DRUMS
from fairseq_meloformer.words.lexicon import FOLDER
from fairseq_meloformer.words.scenes import read_yaml
from fairseq_meloformer.words.wording import joined

# Instruments whose absence is worth saying: piano, guitar, bass, strings.
_COMMON: Final = (0, 25, 33, 48)


@dataclass(frozen=True)
class Fact:
    """A fact in words, and what it asks of the control axes, each in [-1, 1]."""

    text: str
    states: Mapping[str, float] = field(default_factory=dict)


def exact(attributes: Attributes, positions: Mapping[str, float], lang: str, rng: Random) -> list[Fact]:
    """All exact facts of a passage in random order.

    Args:
        attributes: what `measure` returned.
        positions: where they lie in the corpus (`Quantiles.positions`).
        lang: "zh" or "en".
        rng: chooses the words.
    """
    found: list[Fact] = []
    if isinstance(tempo := attributes.get("tempo"), float):
        found.append(Fact(_tempo(tempo, lang, rng), {"tempo": positions["tempo"]}))
    if isinstance(key := attributes.get("key"), str):
        found.append(Fact(_key(key, lang, rng), {"mode": 0.7 if key.endswith("major") else -0.7}))
    if isinstance(programs := attributes.get("instruments"), list) and programs:
        found.append(_playing(programs, lang, rng))
        found += _absent(programs, lang, rng)
    if isinstance(metre := attributes.get("metre"), str) and metre != "4/4":
        found.append(Fact(f"in {metre}" if lang == "en" else f"{metre}拍"))
    if isinstance(bars := attributes.get("bars"), float):
        found.append(Fact(f"{bars:.0f} bars" if lang == "en" else f"{bars:.0f}小节"))
    rng.shuffle(found)
    return found


def _tempo(tempo: float, lang: str, rng: Random) -> str:
    english = ("at {} bpm", "{} bpm", "tempo {}", "{} beats per minute")
    chinese = ("每分钟{}拍", "速度{}", "{} bpm", "{}拍每分钟")
    return rng.choice(english if lang == "en" else chinese).format(round(tempo))


def _key(key: str, lang: str, rng: Random) -> str:
    if lang == "en":
        return rng.choice(("in {}", "key of {}", "in the key of {}")).format(key)
    tonic, mode = key.split()
    accidental = {"#": "升", "b": "降"}.get(tonic[1:], "")
    return f"{accidental}{tonic[0]}{'大调' if mode == 'major' else '小调'}"


def _playing(programs: list[int], lang: str, rng: Random) -> Fact:
    chosen = programs[: rng.randint(1, 3)]
    names = _names(chosen, lang)
    if lang == "en":
        text = f"{rng.choice(('for', 'with', 'played by'))} {joined(names, ', ', ' and ')}"
    else:
        text = f"{rng.choice(('用', '有'))}{joined(names, '、', '和')}"
    return Fact(text, {"drums": 0.7} if DRUMS in chosen else {})


def _absent(programs: list[int], lang: str, rng: Random) -> list[Fact]:
    playing = _names(programs, lang)
    missing = [name for name in _names(list(_COMMON), lang) if name not in playing]
    if not missing:
        return []
    pattern = rng.choice(("without {}", "no {}") if lang == "en" else ("没有{}", "不要{}"))
    return [Fact(pattern.format(rng.choice(missing)))]


def _names(programs: list[int], lang: str) -> list[str]:
    return list(dict.fromkeys(instrument_names()[program][lang] for program in programs))


@cache
def instrument_names() -> list[dict[str, str]]:
    """By program 0..128 (128 = drums), its name by language.

    Raises:
        InputError: instruments.yaml leaves out a program.
    """
    path = FOLDER / "instruments.yaml"
    names: dict[int, dict[str, str]] = {}
    for first, last, english, chinese in read_yaml(path):
        names |= {program: {"en": english, "zh": chinese} for program in range(first, last + 1)}
    if missing := [program for program in range(DRUMS + 1) if program not in names]:
        raise InputError(f"{path} must name every program 0..{DRUMS}, but leaves out {missing}")
    return [names[program] for program in range(DRUMS + 1)]
