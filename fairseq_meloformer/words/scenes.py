"""Scenes and moods as a musician writes them in YAML: read, checked, and composed with modifiers."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES

LANGUAGES: Final = ("zh", "en")

_FAINT: Final = 0.3  # weaker than this, an axis is not implied
_STRONG: Final = 0.5  # from here on, a modifier that says the opposite contradicts the scene
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
_ARTICLE: Final = re.compile(r"\((a|an|the)\) ")

# Ten times faster where PyYAML was built with libyaml, as its wheels are.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Profile = Mapping[str, float]


@dataclass(frozen=True)
class Word:
    """One way to name a scene: `text` bare as in a prompt ("storm"), `full` as in a sentence ("a storm")."""

    text: str
    full: str

    @classmethod
    def read(cls, text: str) -> "Word":
        """Read "(a) storm": the article in brackets is said in sentences only."""
        return cls(_ARTICLE.sub("", text), re.sub(r"[()]", "", text))

    def within(self, pattern: str) -> "Word":
        """The word in a modifier's pattern; its article moves to the front, as in "a distant storm"."""
        if "{full}" in pattern:
            text = pattern.format(full=self.full)
            return Word(text, text)
        text = pattern.format(self.text)
        article = self.full.removesuffix(self.text)
        return Word(text, (with_article(text) if article in ("a ", "an ") else article + text))


def with_article(text: str) -> str:
    """English text with "a" or "an" before it."""
    return ("an " if text[0].lower() in "aeiou" else "a ") + text


@dataclass(frozen=True)
class Scene:
    """A scene or mood, plain or modified ("storm at night").

    kind: "scene" (a noun) or "mood" (an adjective). theme: the file it stands in. profile: implied position on some of
    the control axes, each in [-1, 1]. words: by language. base: id of the plain entry.
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


@dataclass(frozen=True)
class Modifier:
    """What can be said of a scene besides its name; lexicon/modifiers.yaml explains the fields."""

    id: str
    patterns: Mapping[str, tuple[str, ...]]
    profile: Profile
    themes: frozenset[str]
    excluded: frozenset[str]
    despite: frozenset[str]
    scale: float
    longest: int | None

    def apply(self, entry: Scene) -> Scene | None:
        """The entry so modified; None where the two do not go together or too little would be left to hear."""
        if entry.theme not in self.themes or entry.id in self.excluded or self._contradicts(entry):
            return None
        profile = {}
        for axis in AXES:
            value = entry.profile.get(axis, 0.0) * self.scale + self.profile.get(axis, 0.0)
            if abs(value) >= _FAINT:
                profile[axis] = round(min(max(value, -1.0), 1.0), 2)
        words = {lang: tuple(self._modified(entry, lang)) for lang in LANGUAGES}
        if len(profile) < 2 or not all(words.values()):
            return None
        return Scene(f"{entry.id}+{self.id}", entry.kind, entry.theme, profile, words, entry.why, entry.base)

    def _contradicts(self, entry: Scene) -> bool:
        opposed = (axis for axis, value in self.profile.items() if value * entry.profile.get(axis, 0.0) < 0)
        return any(
            axis not in self.despite and abs(self.profile[axis]) >= _STRONG and abs(entry.profile[axis]) >= _STRONG
            for axis in opposed
        )

    def _modified(self, entry: Scene, lang: str) -> Iterator[Word]:
        word = entry.words[lang][0]
        if lang != "zh" or self.longest is None or len(word.text) <= self.longest:
            yield from (word.within(pattern) for pattern in self.patterns[lang])


def read_yaml(path: Path) -> Any:  # noqa: ANN401 - whatever YAML holds; every caller checks it
    """Content of a YAML file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - both loaders are the safe kind
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} must be readable YAML: {error}") from error


def read_entries(path: Path, problems: list[str]) -> Iterator[Scene]:
    """Entries of one theme; broken ones are left out and described in `problems`."""
    content = read_yaml(path)
    form = isinstance(content, dict) and isinstance(content.get("entries"), dict)
    if not form or content.get("kind") not in ("scene", "mood"):
        problems.append(f"{path.name}: must have 'kind: scene' or 'kind: mood', and 'entries:' with a mapping for each")
        return
    kind = content["kind"]
    for name, entry in content["entries"].items():
        faults = list(_entry_faults(entry, kind))
        problems += [f"{path.name}, entry {name!r}: {fault}" for fault in faults]
        if not faults:
            words = {lang: tuple(Word.read(text) for text in entry[lang]) for lang in LANGUAGES}
            profile = {axis: float(value) for axis, value in entry["profile"].items()}
            yield Scene(str(name), kind, path.stem, profile, words, entry["why"], str(name))


def read_modifiers(path: Path, entries: list[Scene], problems: list[str]) -> Iterator[Modifier]:
    """Modifiers; broken ones are left out and described in `problems`."""
    for name, content in (read_yaml(path) or {}).items():
        faults = list(_modifier_faults(content, entries))
        problems += [f"{path.name}, entry {name!r}: {fault}" for fault in faults]
        if not faults:
            yield Modifier(
                str(name),
                {lang: tuple(content[lang]) for lang in LANGUAGES},
                {axis: float(value) for axis, value in content["profile"].items()},
                frozenset(content["themes"]),
                frozenset(content.get("except", ())),
                frozenset(content.get("despite", ())),
                float(content.get("scale", 1)),
                content.get("longest"),
            )


def repeated(entries: list[Scene]) -> Iterator[str]:
    """Complaints about words that stand in two entries, for they would mean two things."""
    for lang in LANGUAGES:
        owner: dict[str, str] = {}
        for entry in entries:
            for word in entry.words[lang]:
                first = owner.setdefault(word.text.casefold(), entry.id)
                if first != entry.id:
                    place = f"{entry.theme}.yaml, entry {entry.id!r}"
                    yield f"{place}: {word.text!r} already stands in entry {first!r}; each word belongs to one entry"


def _entry_faults(entry: Any, kind: str) -> Iterator[str]:  # noqa: ANN401 - unchecked YAML
    if not isinstance(entry, dict) or set(entry) != {"zh", "en", "profile", "why"}:
        yield f"must have exactly zh, en, profile and why, received {_keys(entry)}"
        return
    for lang, language in zip(LANGUAGES, ("Chinese", "English"), strict=True):
        if not are_texts(entry[lang]):
            yield f"{lang} must be a list of words, received {entry[lang]!r} (quote 'no' and the like)"
        elif wrong := [text for text in entry[lang] if bool(_HAN.search(text)) != (lang == "zh")]:
            yield f"{lang} must be {language}, received {wrong}"
    if kind == "mood" and any(str(text).endswith("的") for text in entry["zh"] or ()):
        yield "zh moods must come without 的, which the sentences add"
    if not entry["profile"]:
        yield "profile must name at least one axis"
    yield from _profile_faults(entry["profile"], least=_FAINT)
    if not isinstance(entry["why"], str) or not entry["why"].strip():
        yield "why must say in a few words what in the scene implies this profile"


def _modifier_faults(content: Any, entries: list[Scene]) -> Iterator[str]:  # noqa: ANN401 - unchecked YAML
    required, optional = {"zh", "en", "profile", "themes"}, {"except", "despite", "scale", "longest"}
    if not isinstance(content, dict) or not required <= set(content) <= required | optional:
        yield f"must have zh, en, profile, themes, and may have {_keys(optional)}; received {_keys(content)}"
        return
    for lang in LANGUAGES:
        if not are_texts(content[lang]) or any(len(re.findall(r"{(full)?}", text)) != 1 for text in content[lang]):
            yield f"{lang} must be a list of patterns with one {{}} or {{full}} each, received {content[lang]!r}"
    themes, names = {entry.theme for entry in entries}, {entry.id for entry in entries}
    if unknown := sorted(set(content.get("except", ())) - names):
        yield f"except must list entries, received unknown {unknown}"
    if not isinstance(content["themes"], list) or not set(content["themes"]) <= themes:
        yield f"themes must be among {_keys(themes)}, received {content['themes']!r}"
    if not set(content.get("despite", ())) <= set(AXES):
        yield f"despite must list axes ({', '.join(AXES)}), received {content['despite']!r}"
    yield from _profile_faults(content["profile"], least=0.1)


def _profile_faults(profile: Any, least: float) -> Iterator[str]:  # noqa: ANN401 - unchecked YAML
    if not isinstance(profile, dict):
        yield f"profile must map axes to numbers, received {profile!r}"
        return
    if unknown := sorted(map(str, set(profile) - set(AXES))):
        yield f"profile knows the axes {', '.join(AXES)}, received {unknown}"
    wrong = {axis: value for axis, value in profile.items() if not _within(value, least)}
    if wrong:
        yield f"profile values must be {least}..1 or -1..-{least} (leave out what is not implied), received {wrong}"


def _within(value: object, least: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= abs(value) <= 1


def are_texts(value: object) -> bool:
    """Whether this is a list of texts, at least one and none empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text.strip() for text in value)


def _keys(content: object) -> str:
    return ", ".join(sorted(map(str, content))) if isinstance(content, (dict, set)) else repr(content)
