"""Scenes and moods: which music a word such as "storm" or 流星雨 asks for, read from YAML that a musician can edit."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.music.attributes import AXES

FOLDER: Final = Path(__file__).parent / "lexicon"
LANGUAGES: Final = ("zh", "en")

# A sum of a scene and its modifier weaker than this says nothing of the axis any more.
_FAINT: Final = 0.3
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
_ARTICLE: Final = re.compile(r"\((a|an|the)\) ")

Profile = Mapping[str, float]


@dataclass(frozen=True)
class Word:
    """One way to name a scene.

    `text` bare as in a prompt ("storm"), `full` with its article as in a sentence ("a storm").
    """

    text: str
    full: str


@dataclass(frozen=True)
class Scene:
    """A scene or mood, plain or modified ("storm at night").

    kind: "scene" (a noun) or "mood" (an adjective). theme: the file it stands in. profile: implied position on some
    of the control axes, each in [-1, 1].
    words: by language. base: id of the plain entry.
    """

    id: str
    kind: str
    theme: str
    profile: Profile
    words: Mapping[str, tuple[Word, ...]]
    why: str
    base: str

    @property
    def composed(self) -> bool:
        """Whether a modifier is part of it."""
        return self.id != self.base


class Lexicon:
    """All scenes, found by word or by fit to measured music."""

    def __init__(self, scenes: list[Scene]) -> None:
        """Index `scenes`; `load` reads them from files."""
        self.scenes = scenes

    @classmethod
    def load(cls, folder: Path = FOLDER) -> "Lexicon":
        """Read every theme of `folder` and compose it with modifiers.yaml.

        Raises:
            InputError: an entry breaks a rule; the message names file, entry and rule, and all broken entries are
                reported at once.
        """
        problems: list[str] = []
        entries: list[Scene] = []
        for path in sorted((folder / "scenes").glob("*.yaml")):
            entries += _entries(path, problems)
        modifiers = _modifiers(folder / "modifiers.yaml", {entry.theme for entry in entries}, problems)
        problems += _repeated(entries)
        if problems:
            raise InputError(
                f"the lexicon in {folder} has {len(problems)} mistakes; mend these entries:\n" + "\n".join(problems)
            )
        scenes = entries + [
            composed for modifier in modifiers for entry in entries if (composed := modifier.apply(entry)) is not None
        ]
        return cls(_distinct(scenes))

    @cached_property
    def words(self) -> dict[str, dict[str, Scene]]:
        """By language, every bare word (case-folded) and its scene."""
        return {
            lang: {word.text.casefold(): scene for scene in self.scenes for word in scene.words[lang]}
            for lang in LANGUAGES
        }

    def find(self, text: str) -> Scene | None:
        """The scene that `text` names, in either language, with or without article.

        None when it is not in the lexicon.
        """
        bare = re.sub(r"^(a|an|the) ", "", text.strip().casefold())
        return next((self.words[lang][bare] for lang in LANGUAGES if bare in self.words[lang]), None)

    def profile(self, text: str) -> dict[str, float] | None:
        """Implied axes of a word of the lexicon, None for other texts."""
        scene = self.find(text)
        return dict(scene.profile) if scene else None

    @cached_property
    def profiles(self) -> NDArray[np.float64]:
        """(scenes, 8) in the order of AXES, 0 where an axis is not implied."""
        return np.array([[scene.profile.get(axis, 0.0) for axis in AXES] for scene in self.scenes])

    def match(self, positions: Mapping[str, float]) -> NDArray[np.float64]:
        """How well each scene fits a passage that lies at `positions` on the control axes, (scenes,).

        0 = does not fit: an implied axis is not measured, or the passage lies less than a third of the way to the
        implied side. 1 = as far out on every implied axis as the scene asks; in between, the mean over implied axes
        of the share that is reached, weighted by how strongly they are implied.
        """
        place = np.array([positions.get(axis, np.nan) for axis in AXES])
        strength = np.abs(self.profiles)
        with np.errstate(invalid="ignore", divide="ignore"):
            reached = np.clip(np.sign(self.profiles) * place / strength, -1, 1)
            fits = ((reached >= 1 / 3) | (strength == 0)).all(axis=1)
        score = np.where(strength > 0, strength * np.nan_to_num(reached), 0).sum(axis=1) / strength.sum(axis=1)
        matched: NDArray[np.float64] = np.where(fits, score, 0.0)
        return matched

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """How often a fitting scene is chosen, (scenes,).

        Doubled per implied axis, since about half of all music lies on the asked side of each, so that specific
        scenes are heard of as often as vague ones; and shared among the variants of an entry, half of the weight
        staying with the plain word.
        """
        variants: dict[str, int] = {}
        for scene in self.scenes:
            variants[scene.base] = variants.get(scene.base, 0) + scene.composed
        share = np.array([1 / max(variants[scene.base], 1) if scene.composed else 1.0 for scene in self.scenes])
        weights: NDArray[np.float64] = share * 2.0 ** (self.profiles != 0).sum(axis=1)
        return weights


@cache
def default_lexicon() -> Lexicon:
    """The lexicon that comes with MeloFormer, read once."""
    return Lexicon.load()


@dataclass(frozen=True)
class _Modifier:
    id: str
    patterns: Mapping[str, tuple[str, ...]]
    profile: Profile
    themes: frozenset[str]
    kind: str

    def apply(self, entry: Scene) -> Scene | None:
        """The entry so modified; None where the two do not go together or nothing would be left to hear."""
        if entry.theme not in self.themes or entry.kind != self.kind or self.id in entry.id:
            return None
        total = {
            axis: float(np.clip(entry.profile.get(axis, 0.0) + self.profile.get(axis, 0.0), -1, 1)) for axis in AXES
        }
        profile = {axis: round(value, 2) for axis, value in total.items() if abs(value) >= _FAINT}
        if len(profile) < 2:
            return None
        words = {
            lang: tuple(_modified(pattern, word) for pattern in self.patterns[lang] for word in entry.words[lang])
            for lang in LANGUAGES
        }
        return Scene(f"{entry.id}+{self.id}", entry.kind, entry.theme, profile, words, entry.why, entry.base)


def _modified(pattern: str, word: Word) -> Word:
    text = pattern.format(word.text)
    article = word.full.removesuffix(word.text)
    if article in ("a ", "an "):
        article = "an " if text[0] in "aeiou" else "a "
    return Word(text, article + text)


def _word(text: str) -> Word:
    """Read "(a) storm": the article is said in sentences only."""
    bare = _ARTICLE.sub("", text)
    return Word(bare, re.sub(r"[()]", "", text))


def read_yaml(path: Path) -> Any:  # noqa: ANN401 - whatever YAML holds; every caller checks it
    """Content of a YAML file, InputError when it cannot be read."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} must be readable YAML: {error}") from error


def _entries(path: Path, problems: list[str]) -> Iterator[Scene]:
    content = read_yaml(path)
    if (
        not isinstance(content, dict)
        or content.get("kind") not in ("scene", "mood")
        or not isinstance(content.get("entries"), dict)
    ):
        problems.append(
            f"{path.name}: must have 'kind: scene' or 'kind: mood' and 'entries:' with one mapping per entry"
        )
        return
    for name, entry in content["entries"].items():
        faults = list(_faults(entry))
        problems += [f"{path.name}, entry {name!r}: {fault}" for fault in faults]
        if not faults:
            words = {lang: tuple(_word(text) for text in entry[lang]) for lang in LANGUAGES}
            yield Scene(
                str(name),
                content["kind"],
                path.stem,
                {axis: float(value) for axis, value in entry["profile"].items()},
                words,
                entry["why"],
                str(name),
            )


def _faults(entry: Any) -> Iterator[str]:  # noqa: ANN401 - unchecked YAML
    if not isinstance(entry, dict) or set(entry) != {"zh", "en", "profile", "why"}:
        yield f"must have exactly zh, en, profile and why, received {_keys(entry)}"
        return
    for lang in LANGUAGES:
        if (
            not isinstance(entry[lang], list)
            or not entry[lang]
            or not all(isinstance(text, str) and text.strip() == text != "" for text in entry[lang])
        ):
            yield (
                f"{lang} must be a list of words or short phrases, received {entry[lang]!r} "
                "(quote words such as 'no' that YAML reads as something else)"
            )
        elif wrong := [text for text in entry[lang] if bool(_HAN.search(text)) != (lang == "zh")]:
            yield f"{lang} must be {'Chinese' if lang == 'zh' else 'English'}, received {wrong}"
    yield from _profile_faults(entry["profile"])
    if not isinstance(entry["why"], str) or not entry["why"].strip():
        yield "why must say in a few words what in the scene implies this profile"


def _keys(entry: object) -> str:
    return ", ".join(sorted(map(str, entry))) if isinstance(entry, dict) else repr(entry)


def _profile_faults(profile: Any, least: float = _FAINT) -> Iterator[str]:  # noqa: ANN401 - unchecked YAML
    if not isinstance(profile, dict) or not profile:
        yield f"profile must name at least one axis, received {profile!r}"
    elif unknown := sorted(set(profile) - set(AXES), key=str):
        yield f"profile knows the axes {', '.join(AXES)}, received {unknown}"
    elif wrong := {
        axis: value
        for axis, value in profile.items()
        if not isinstance(value, (int, float)) or not least <= abs(value) <= 1
    }:
        yield (
            f"profile values must lie in [-1, -{least}] or [{least}, 1] (leave out an axis that is not implied), "
            f"received {wrong}"
        )


def _modifiers(path: Path, themes: set[str], problems: list[str]) -> Iterator[_Modifier]:
    content = read_yaml(path)
    for name, entry in (content or {}).items():
        faults = list(_modifier_faults(entry, themes))
        problems += [f"{path.name}, entry {name!r}: {fault}" for fault in faults]
        if not faults:
            patterns = {lang: tuple(entry[lang]) for lang in LANGUAGES}
            yield _Modifier(str(name), patterns, entry["profile"], frozenset(entry["themes"]), entry["kind"])


def _modifier_faults(entry: Any, themes: set[str]) -> Iterator[str]:  # noqa: ANN401 - unchecked YAML
    if not isinstance(entry, dict) or set(entry) != {"zh", "en", "profile", "themes", "kind"}:
        yield f"must have exactly zh, en, profile, themes and kind, received {_keys(entry)}"
        return
    for lang in LANGUAGES:
        if not isinstance(entry[lang], list) or not all(
            isinstance(text, str) and text.count("{}") == 1 for text in entry[lang]
        ):
            yield f"{lang} must be a list of patterns with one {{}} for the scene, received {entry[lang]!r}"
    if not isinstance(entry["themes"], list) or not set(entry["themes"]) <= themes:
        yield f"themes must be among {', '.join(sorted(themes))}, received {entry['themes']!r}"
    yield from _profile_faults(entry["profile"], least=0.1)


def _repeated(entries: list[Scene]) -> Iterator[str]:
    """A word that stands in two entries would mean two things."""
    for lang in LANGUAGES:
        owner: dict[str, str] = {}
        for entry in entries:
            for word in entry.words[lang]:
                first = owner.setdefault(word.text.casefold(), entry.id)
                if first != entry.id:
                    yield (
                        f"{entry.theme}.yaml, entry {entry.id!r}: {word.text!r} already stands in "
                        f"entry {first!r}; each word belongs to one entry"
                    )


def _distinct(scenes: list[Scene]) -> list[Scene]:
    """Scenes without the composed words that an earlier scene already has.

    A scene left without words in a language goes.
    """
    seen: set[str] = set()
    kept: list[Scene] = []
    for scene in scenes:
        words = {
            lang: tuple(word for word in scene.words[lang] if word.text.casefold() not in seen) for lang in LANGUAGES
        }
        if all(words.values()):
            seen.update(word.text.casefold() for lang in LANGUAGES for word in words[lang])
            kept.append(Scene(scene.id, scene.kind, scene.theme, scene.profile, words, scene.why, scene.base))
    return kept
