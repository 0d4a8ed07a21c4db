"""Requests for training the probe: many ways to ask for music outright, composed from requests.yaml."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.music.attributes import AXES
from fairseq_meloformer.music.scenes import LANGUAGES, read_yaml

FILE: Final = Path(__file__).with_name("requests.yaml")
_FORMS: Final = ("is", "more", "has", "asks")
_POLES: Final = {"positive": 1, "negative": -1}

# Shares of the texts that: ask for no axis; change language between requests; begin or end with something that
# changes nothing.
_NEUTRAL: Final = 0.06
_MIXED: Final = 0.08
_AROUND: Final = 0.12
# How many axes a text asks for: weights of 1, 2, 3, 4.
_COUNTS: Final = (45, 32, 16, 7)
# Share of the requests for tempo and mode that are a number or a key.
_EXACT: Final = 0.2

Profile = dict[str, float]


@dataclass(frozen=True)
class Request:
    """A text, its language ("zh", "en", of mixed texts the first's), and what it asks of the axes, each in [-1, 1]."""

    text: str
    lang: str
    profile: Profile


class Requests:
    """The wording of a requests file, and texts drawn from it."""

    def __init__(self, path: Path = FILE) -> None:
        """Read and check the file.

        Raises:
            InputError: it is not of the form that the file itself explains; all mistakes at once.
        """
        self._content = read_yaml(path)
        problems = list(_problems(self._content))
        if problems:
            raise InputError(f"{path} has {len(problems)} mistakes:\n" + "\n".join(problems))

    def draw(self, seed: int | str, lang: str) -> Request:
        """Text for a seed: one to four axes, or none; "zh" or "en", some of them mixed."""
        rng = Random(f"{seed}/{lang}")
        if rng.random() < _NEUTRAL:
            return Request(rng.choice(self._content["neutral"][lang]), lang, {})
        mixed = rng.random() < _MIXED
        profile: Profile = {}
        parts = []
        (count,) = rng.choices(range(1, len(_COUNTS) + 1), _COUNTS)
        for axis in rng.sample(AXES, count):
            text, profile[axis] = self._say(axis, rng.choice(LANGUAGES) if mixed else lang, rng)
            parts.append(text)
        text = parts[0]
        for part in parts[1:]:
            text += rng.choice(self._content["joins"][lang]) + part
        if rng.random() < _AROUND:
            text = rng.choice(self._content["openings"][lang]) + text
        if rng.random() < _AROUND:
            text = text.rstrip("!?！？") + rng.choice(self._content["endings"][lang])
        return Request(self._finished(text, lang, rng), lang, profile)

    def _say(self, axis: str, lang: str, rng: Random) -> tuple[str, float]:
        if rng.random() < _EXACT:
            if axis == "tempo":
                return self._number(lang, rng)
            if axis == "mode":
                return self._key(lang, rng)
        pole = rng.choice(list(_POLES))
        pattern, amount, form = rng.choice(self._patterns[lang])
        words = self._content["axes"][axis]
        fill = {form: rng.choice(words[pole][lang][form])}
        fill["other"] = rng.choice(words["negative" if pole == "positive" else "positive"][lang]["is"])
        return pattern.format_map(fill), _POLES[pole] * amount

    @cached_property
    def _patterns(self) -> Mapping[str, list[tuple[str, float, str]]]:
        """By language, patterns with their amount and form; every form as often as another."""
        patterns = self._content["patterns"]
        most = max(len(patterns[lang][form]) for lang in LANGUAGES for form in _FORMS)
        return {
            lang: [
                (text, float(amount), form)
                for form in _FORMS
                for text, amount in patterns[lang][form] * (most // len(patterns[lang][form]))
            ]
            for lang in LANGUAGES
        }

    def _number(self, lang: str, rng: Random) -> tuple[str, float]:
        number = rng.randint(40, 200)
        amount = max(-1.0, min(1.0, (number - 105) / 50))
        return rng.choice(self._content["numbers"][lang]).format(number), amount if abs(amount) >= 0.5 else 0.0

    def _key(self, lang: str, rng: Random) -> tuple[str, float]:
        keys = self._content["keys"][lang]
        pole = rng.choice(list(_POLES))
        return rng.choice(keys[pole]).format(rng.choice(keys["notes"])), 0.8 * _POLES[pole]

    @staticmethod
    def _finished(text: str, lang: str, rng: Random) -> str:
        if lang == "en" and rng.random() < 0.5:
            text = text[0].upper() + text[1:]
        if text[-1] not in ".!?。！？" and rng.random() < 0.5:
            text += "." if lang == "en" else "。"
        return text


def _problems(content: Any) -> Iterator[str]:  # noqa: ANN401 - unchecked YAML
    needed = {"axes", "patterns", "numbers", "keys", "joins", "openings", "endings", "neutral"}
    if not isinstance(content, dict) or set(content) != needed:
        yield f"must have exactly {', '.join(sorted(needed))}, received {content if content is None else list(content)}"
        return
    yield from _axis_problems(content["axes"])
    for lang in LANGUAGES:
        for form in _FORMS:
            yield from _pattern_problems(content["patterns"].get(lang, {}).get(form), f"patterns, {lang}, {form}", form)
        for part in ("numbers", "joins", "openings", "endings", "neutral"):
            if not _texts(content[part].get(lang)):
                yield f"{part}, {lang}: must be a list of texts"
        for part in ("notes", *_POLES):
            if not _texts(content["keys"].get(lang, {}).get(part)):
                yield f"keys, {lang}: {part} must be a list of texts"


def _axis_problems(axes: Mapping[str, Any]) -> Iterator[str]:
    if set(axes) != set(AXES):
        yield f"axes must be {', '.join(AXES)}, received {', '.join(map(str, axes))}"
    for axis, poles in axes.items():
        for pole, lang in product(_POLES, LANGUAGES):
            words = poles.get(pole, {}).get(lang, {})
            lacking = [form for form in _FORMS if not _texts(words.get(form))]
            yield from (f"axes, {axis}, {pole}, {lang}: {form} must be a list of texts" for form in lacking)


def _pattern_problems(patterns: object, where: str, form: str) -> Iterator[str]:
    if not isinstance(patterns, list) or not patterns:
        yield f"{where}: must be a list of [pattern, amount]"
        return
    for entry in patterns:
        if (
            not (isinstance(entry, list) and len(entry) == 2)
            or f"{{{form}}}" not in str(entry[0])
            or not isinstance(entry[1], (int, float))
            or not 0 < abs(entry[1]) <= 1
        ):
            yield f'{where}: must be ["text with {{{form}}}", amount in -1..1 but not 0], received {entry!r}'


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(text, str) and text for text in value)
