"""Requests for training the probe: many ways to ask for music outright, composed from requests.yaml."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words.scenes import LANGUAGES, read_yaml

FILE: Final = Path(__file__).with_name("requests.yaml")
FORMS: Final = ("is", "more", "has", "asks")
POLES: Final = {"positive": 1, "negative": -1}
_PARTS: Final = {
    *("axes", "kinds", "measures", "changes", "pairs", "patterns"),
    *("numbers", "keys", "joins", "openings", "endings", "neutral"),
}

# Shares of the texts that: ask for no axis; change language between requests; begin or end with something that
# changes nothing.
_NEUTRAL: Final = 0.06
_MIXED: Final = 0.08
_AROUND: Final = 0.12
# How many axes a text asks for: weights of 1, 2, 3, 4.
_COUNTS: Final = (45, 32, 16, 7)
# Share of the requests for tempo and mode that are a number or a key.
_EXACT: Final = 0.2
# Weights of words in patterns, things with qualities, and measures that change; share of pairs where they fit.
_WAYS: Final = (60, 22, 18)
_PAIRED: Final = 0.3

Profile = dict[str, float]


@dataclass(frozen=True)
class TrainingRequest:
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
        self.content = read_yaml(path)
        problems = list(_problems(self.content))
        if problems:
            raise InputError(f"{path} has {len(problems)} mistakes:\n" + "\n".join(problems))

    def draw(self, seed: int | str, lang: str) -> TrainingRequest:
        """Text for a seed: one to four axes, or none; "zh" or "en", some of them mixed."""
        rng = Random(f"{seed}/{lang}")
        if rng.random() < _NEUTRAL:
            return TrainingRequest(rng.choice(self.content["neutral"][lang]), lang, {})
        mixed = rng.random() < _MIXED
        profile: Profile = {}
        (count,) = rng.choices(range(1, len(_COUNTS) + 1), _COUNTS)
        axes = rng.sample(AXES, count)
        parts = []
        if count > 1 and rng.random() < _PAIRED:
            text, stated = self._pair(axes[:2], lang, rng)
            parts.append(text)
            profile |= stated
        for axis in axes[len(profile) :]:
            text, profile[axis] = self._say(axis, rng.choice(LANGUAGES) if mixed else lang, rng)
            parts.append(text)
        return TrainingRequest(self._joined(parts, lang, rng), lang, profile)

    def _joined(self, parts: list[str], lang: str, rng: Random) -> str:
        text = parts[0]
        for part in parts[1:]:
            text += rng.choice(self.content["joins"][lang]) + part
        if rng.random() < _AROUND:
            text = rng.choice(self.content["openings"][lang]) + text
        if rng.random() < _AROUND:
            text = text.rstrip("!?！？") + rng.choice(self.content["endings"][lang])
        if lang == "en" and rng.random() < 0.5:
            text = text[0].upper() + text[1:]
        if text[-1] not in ".!?。！？" and rng.random() < 0.5:
            text += "." if lang == "en" else "。"
        return text

    def _pair(self, axes: list[str], lang: str, rng: Random) -> tuple[str, Profile]:
        pattern, amount = rng.choice(self.content["pairs"][lang])
        poles = [rng.choice(list(POLES)) for _ in axes]
        first, second = (
            rng.choice(self.content["axes"][axis][pole][lang]["is"]) for axis, pole in zip(axes, poles, strict=True)
        )
        stated = {axis: POLES[pole] * amount for axis, pole in zip(axes, poles, strict=True)}
        return pattern.format(first=first, second=second), stated

    def _say(self, axis: str, lang: str, rng: Random) -> tuple[str, float]:
        if rng.random() < _EXACT and axis in ("tempo", "mode"):
            return self._number(lang, rng) if axis == "tempo" else self._key(lang, rng)
        (way,) = rng.choices((self._words, self._kind, self._change), _WAYS)
        return way(axis, lang, rng)

    def _words(self, axis: str, lang: str, rng: Random) -> tuple[str, float]:
        pole = rng.choice(list(POLES))
        form = rng.choice(FORMS)
        pattern, amount = rng.choice(self.content["patterns"][lang][form])
        words = self.content["axes"][axis]
        other = rng.choice(words["negative" if pole == "positive" else "positive"][lang]["is"])
        return pattern.format_map({form: rng.choice(words[pole][lang][form]), "other": other}), POLES[pole] * amount

    def _kind(self, axis: str, lang: str, rng: Random) -> tuple[str, float]:
        pole = rng.choice(list(POLES))
        words, counted = self.content["kinds"][axis][lang], self.content["kinds"][axis].get("counted", False)
        between = " " if lang == "en" else "" if counted else "的"
        kind = rng.choice(words[pole]) + between + rng.choice(words["things"])
        patterns = self.content["patterns"][lang]["has"]
        pattern, amount = rng.choice([entry for entry in patterns if entry[1] > 0 or not counted])
        return pattern.format(has=kind), POLES[pole] * amount

    def _change(self, axis: str, lang: str, rng: Random) -> tuple[str, float]:
        pattern, amount = rng.choice(self.content["changes"][lang])
        return pattern.format(rng.choice(self.content["measures"][axis][lang])), amount

    def _number(self, lang: str, rng: Random) -> tuple[str, float]:
        number = rng.randint(40, 200)
        return rng.choice(self.content["numbers"][lang]).format(number), tempo_asked(number)

    def _key(self, lang: str, rng: Random) -> tuple[str, float]:
        keys = self.content["keys"][lang]
        pole = rng.choice(list(POLES))
        return rng.choice(keys[pole]).format(rng.choice(keys["notes"])), 0.8 * POLES[pole]


def tempo_asked(beats: float) -> float:
    """What so many beats per minute ask of the tempo, in [-1, 1]; 0 between 80 and 130."""
    amount = max(-1.0, min(1.0, (beats - 105) / 50))
    return amount if abs(amount) >= 0.5 else 0.0


def _problems(content: Any) -> Iterator[str]:  # noqa: ANN401 - unchecked YAML
    if not isinstance(content, dict) or set(content) != _PARTS:
        yield f"must have exactly {', '.join(sorted(_PARTS))}, received {content if content is None else list(content)}"
        return
    yield from _axis_problems(content)
    for lang in LANGUAGES:
        for form in FORMS:
            yield from _pattern_problems(content["patterns"].get(lang, {}).get(form), f"patterns, {lang}, {form}", form)
        yield from _pattern_problems(content["pairs"].get(lang), f"pairs, {lang}", "first", "second")
        yield from _pattern_problems(content["changes"].get(lang), f"changes, {lang}", "")
        for part in ("numbers", "joins", "openings", "endings", "neutral"):
            if not _texts(content[part].get(lang)):
                yield f"{part}, {lang}: must be a list of texts"
        for part in ("notes", *POLES):
            if not _texts(content["keys"].get(lang, {}).get(part)):
                yield f"keys, {lang}: {part} must be a list of texts"


def _axis_problems(content: Mapping[str, Any]) -> Iterator[str]:
    for part in ("axes", "kinds", "measures"):
        if set(content[part]) != set(AXES):
            yield f"{part} must be of {', '.join(AXES)}, received {', '.join(map(str, content[part]))}"
    for axis, lang in product(AXES, LANGUAGES):
        for pole in POLES:
            words = content["axes"].get(axis, {}).get(pole, {}).get(lang, {})
            lacking = [form for form in FORMS if not _texts(words.get(form))]
            yield from (f"axes, {axis}, {pole}, {lang}: {form} must be a list of texts" for form in lacking)
        kinds = content["kinds"].get(axis, {}).get(lang, {})
        lacking = [part for part in ("things", *POLES) if not _texts(kinds.get(part))]
        yield from (f"kinds, {axis}, {lang}: {part} must be a list of texts" for part in lacking)
        if not _texts(content["measures"].get(axis, {}).get(lang)):
            yield f"measures, {axis}, {lang}: must be a list of texts"


def _pattern_problems(patterns: object, where: str, *slots: str) -> Iterator[str]:
    if not isinstance(patterns, list) or not patterns:
        yield f"{where}: must be a list of [pattern, amount]"
        return
    for entry in patterns:
        if (
            not (isinstance(entry, list) and len(entry) == 2)
            or any(f"{{{slot}}}" not in str(entry[0]) for slot in slots)
            or not isinstance(entry[1], (int, float))
            or not 0 < abs(entry[1]) <= 1
        ):
            wanted = " ".join(f"{{{slot}}}" for slot in slots)
            yield f'{where}: must be ["text with {wanted}", amount in -1..1 but not 0], received {entry!r}'


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(text, str) and text for text in value)
