"""From measured attributes to what somebody might have asked for, in Chinese and English.

Everything said is true of the passage: facts by its place in the corpus, scenes by how well they fit. What is left
unsaid is left open, so any subset of the facts may be drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from string import Formatter
from typing import Final

import numpy as np

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.music.attributes import AXES, Attributes
from fairseq_meloformer.music.levels import Levels
from fairseq_meloformer.music.lexicon import FOLDER, Lexicon, default_lexicon
from fairseq_meloformer.music.scenes import LANGUAGES, Scene, read_yaml, with_article
from fairseq_meloformer.music.wording import FORMS, Fact, exact, facts, joined, say

STYLES: Final = ("labels", "phrase", "sentence", "scene", "prompt")
LICENCE: Final = "CC0-1.0"
SOURCE: Final = "measured"

_COMMAS: Final = {"en": (", ", ", ", ", ", " "), "zh": ("，", "、", " ", "，")}
_ALONE: Final = 0.75  # share of bare prompts that are nothing but the scene's word


@dataclass(frozen=True)
class Caption:
    """A text for a passage.

    lang: "zh" or "en", of mixed texts the language of the sentence. profile: what it asks of the control axes, each in
    [-1, 1]; the others are free.

    scene: id of the lexicon entry it names, if any.
    """

    text: str
    lang: str
    style: str
    profile: dict[str, float]
    scene: str | None = None

    def row(self) -> dict[str, str]:
        """As `captions` in the prepared data want it."""
        return {"text": self.text, "lang": self.lang, "source": SOURCE, "licence": LICENCE}


@dataclass(frozen=True)
class _Reading:
    """What can be said of a passage: facts, and the scenes that fit with the running sum of their weights."""

    attributes: Attributes
    facts: list[Fact]
    scenes: list[Scene]
    chances: list[float]


@dataclass
class _Draft:
    """A caption in the making: its random numbers, its language, and what it has stated so far."""

    rng: Random
    lang: str
    mixed: bool
    profile: dict[str, float] = field(default_factory=dict)

    def tongue(self) -> str:
        """Language of the next element: in mixed texts either."""
        return self.rng.choice(LANGUAGES) if self.mixed else self.lang

    def state(self, fact: Fact) -> None:
        if fact.attribute in AXES:
            self.profile[fact.attribute] = fact.stated


@dataclass(frozen=True)
class _Pattern:
    """A sentence pattern.

    `slots` that state attributes (each needs one at least, but for "with") in order, and the text around them.
    """

    text: str
    slots: tuple[str, ...]

    @property
    def needs(self) -> int:
        return len(self.slots) - ("with" in self.slots)


class Captioner:
    """Writes captions for the passages of one corpus."""

    def __init__(self, levels: Levels, lexicon: Lexicon | None = None) -> None:
        """Use a corpus's `levels`, and a lexicon (the one that comes with MeloFormer by default)."""
        self.levels = levels
        self.lexicon = lexicon or default_lexicon()

    def caption(self, attributes: Attributes, *, lang: str, style: str, seed: int | str) -> Caption:
        """One caption; the same arguments give the same text.

        Args:
            attributes: what `measure` returned.
            lang: "zh", "en" or "mixed".
            style: one of STYLES. A scene or prompt of a passage that no scene fits becomes a phrase or labels.
            seed: any number or text, such as the item's id.

        Raises:
            InputError: unknown language or style, or a passage of which no control axis is measured.
        """
        if lang not in (*LANGUAGES, "mixed") or style not in STYLES:
            raise InputError(
                f"a caption's lang must be zh, en or mixed and its style one of {', '.join(STYLES)}, "
                f"received {lang!r} and {style!r}"
            )
        return _write(self._read(attributes), lang, style, seed)

    def captions(
        self, attributes: Attributes, *, item: str, count: int, mixed: float = 0.1, taken: set[str] | None = None
    ) -> list[Caption]:
        """`count` different captions of one passage, half Chinese and half English (the odd one drawn).

        Styles come in turn, and a share `mixed` of the texts mixes languages.

        Seeded by the item's id. `taken` collects texts over a corpus, so that no two passages share one; only bare
        prompts, of which there are not enough, may repeat.
        """
        rng = Random(f"{item}/plan")
        reading = self._read(attributes)
        languages = [LANGUAGES[(index + rng.getrandbits(1) * (count % 2)) % 2] for index in range(count)]
        rng.shuffle(languages)
        styles = [
            STYLES[(index + offset) % len(STYLES)] for offset in [rng.randrange(len(STYLES))] for index in range(count)
        ]
        used: set[str] = set()
        written = []
        for index, (lang, style) in enumerate(zip(languages, styles, strict=True)):
            caption = _unlike(
                reading,
                "mixed" if rng.random() < mixed else lang,
                lang,
                style,
                f"{item}/{index}",
                used,
                taken if taken is not None else set(),
            )
            written.append(caption)
            used.add(caption.text)
            if taken is not None:
                taken.add(caption.text)
        return written

    def _read(self, attributes: Attributes) -> _Reading:
        positions = self.levels.positions(attributes)
        said = facts(positions)
        if not any(fact.attribute in AXES for fact in said):
            raise InputError(
                f"a caption needs a passage with at least one control axis measured ({', '.join(AXES)}), "
                f"received {sorted(attributes)}; leave out passages without notes"
            )
        match = self.lexicon.match(positions)
        fitting = np.flatnonzero(match)
        chances = np.cumsum(match[fitting] ** 2 * self.lexicon.weights[fitting])
        return _Reading(attributes, said, [self.lexicon.scenes[index] for index in fitting], chances.tolist())


def describe(attributes: Attributes, levels: Levels, *, lang: str, style: str, seed: int | str) -> str:
    """The text of one caption; see `Captioner.caption`."""
    return Captioner(levels).caption(attributes, lang=lang, style=style, seed=seed).text


def _unlike(reading: _Reading, lang: str, base: str, style: str, seed: str, used: set[str], taken: set[str]) -> Caption:
    """A caption not yet used; the more often that fails, the more is said."""
    caption = _write(reading, lang, style, seed, base)
    for attempt in range(1, 40):
        if caption.text not in used and (style == "prompt" or caption.text not in taken):
            return caption
        caption = _write(reading, lang, style if attempt < 10 else "sentence", f"{seed}/{attempt}", base)
    return caption


def _write(reading: _Reading, lang: str, style: str, seed: int | str, base: str | None = None) -> Caption:
    rng = Random(f"{seed}/{lang}/{style}")
    draft = _Draft(rng, (base or rng.choice(LANGUAGES)) if lang == "mixed" else lang, lang == "mixed")
    scene = (
        rng.choices(reading.scenes, cum_weights=reading.chances)[0]
        if style in ("scene", "prompt") and reading.scenes
        else None
    )
    if scene is not None:
        draft.profile.update(scene.profile)
    if style == "prompt":
        text = _prompt(reading, draft, scene)
    elif style == "labels":
        text = _labels(reading, draft, rng.randint(1, 6))
    else:
        text = _sentence(reading, draft, style if style != "scene" or scene else "phrase", scene)
    return Caption(text, draft.lang, style, draft.profile, scene.id if scene else None)


def _drawn(reading: _Reading, draft: _Draft, most: int) -> list[Fact]:
    """At most `most` facts away from the median, control axes first among equals."""
    poles = [fact for fact in reading.facts if fact.pole]
    poles.sort(key=lambda fact: draft.rng.random() ** (3 if fact.attribute in AXES else 1))
    return poles[:most]


def _prompt(reading: _Reading, draft: _Draft, scene: Scene | None) -> str:
    if scene is None:
        return _labels(reading, draft, draft.rng.randint(1, 3))
    word = draft.rng.choice(scene.words[draft.lang]).text
    extra = _drawn(reading, draft, 1)
    if not extra or draft.rng.random() < _ALONE:
        return word
    draft.state(extra[0])
    label = say(extra[0], "labels", draft.tongue(), draft.rng)
    return f"{word}{draft.rng.choice(_COMMAS[draft.lang])}{label}"


def _labels(reading: _Reading, draft: _Draft, most: int) -> str:
    chosen = _drawn(reading, draft, most)
    middles = [fact for fact in reading.facts if fact.pole == 0 and fact.attribute in AXES]
    if middles and (not chosen or draft.rng.random() < 0.15):
        chosen.append(draft.rng.choice(middles))
    parts = [_said(fact, "any", draft) for fact in chosen]
    if draft.rng.random() < 0.2:
        parts += _exact(reading, draft, 1)
    return draft.rng.choice(_COMMAS[draft.lang][: 3 if draft.lang == "en" else 4]).join(parts)


def _said(fact: Fact, slot: str, draft: _Draft) -> str:
    draft.state(fact)
    return say(fact, slot, draft.tongue(), draft.rng)


def _exact(reading: _Reading, draft: _Draft, most: int) -> list[str]:
    parts = []
    for text, states in exact(reading.attributes, draft.tongue(), draft.rng)[:most]:
        parts.append(text)
        draft.profile.update(states)
    return parts


def _sentence(reading: _Reading, draft: _Draft, style: str, scene: Scene | None) -> str:
    rng = draft.rng
    least = 0 if scene else 1
    chosen = _drawn(reading, draft, rng.randint(least, 3 if style in ("phrase", "scene") else 5))
    kind = scene.kind if scene else style
    # A pattern must have room for every fact drawn, and facts enough for every slot.
    fitting = [
        pattern
        for pattern in _patterns(draft.lang, kind)
        if pattern.needs <= len(chosen) and bool(pattern.slots) >= bool(chosen)
    ]
    if not fitting:
        return _labels(reading, draft, 2)
    pattern = rng.choice(fitting)
    shares = _shared(chosen, pattern.slots, rng)
    fill = {slot: _filled(slot, shares.get(slot, []), draft) for slot in pattern.slots}
    fill["noun"] = rng.choice(_nouns(draft.lang))
    fill["tail"] = _tail(reading, draft)
    if scene is not None:
        fill |= _named(scene, draft)
    return _fill(pattern.text, fill)


def _shared(chosen: Sequence[Fact], slots: Sequence[str], rng: Random) -> dict[str, list[Fact]]:
    """Facts dealt to slots: every slot but "with" gets one, the others go anywhere."""
    shares: dict[str, list[Fact]] = {slot: [] for slot in slots}
    needy = [slot for slot in slots if slot != "with"]
    for index, fact in enumerate(chosen):
        shares[needy[index] if index < len(needy) else rng.choice(slots)].append(fact)
    return shares


def _filled(slot: str, chosen: list[Fact], draft: _Draft) -> str:
    if slot == "with":
        return " with " + joined([_said(fact, "nouns", draft) for fact in chosen], ", ", " and ") if chosen else ""
    form = slot.removeprefix("and_").removeprefix("a_")
    parts = [_said(fact, form, draft) for fact in chosen]
    if draft.lang == "zh":
        return (
            draft.rng.choice(("、", "、", "而")).join(parts)
            if form == "labels" and len(parts) == 2
            else ("、" if form == "labels" else "，").join(parts)
        )
    if slot == "a_adjectives":
        return with_article(", ".join(parts))
    return joined(parts, ", ", " and ") if slot.startswith("and_") or form in ("nouns", "clauses") else ", ".join(parts)


def _tail(reading: _Reading, draft: _Draft) -> str:
    middles = [fact for fact in reading.facts if fact.pole == 0 and fact.attribute in AXES]
    parts = []
    if middles and draft.rng.random() < 0.1:
        parts.append(_said(draft.rng.choice(middles), "labels", draft))
    if draft.rng.random() < 0.25:
        parts += _exact(reading, draft, draft.rng.randint(1, 2))
    comma = ", " if draft.lang == "en" else "，"
    return "".join(comma + part for part in parts)


def _named(scene: Scene, draft: _Draft) -> dict[str, str]:
    word = draft.rng.choice(scene.words[draft.tongue()])
    if scene.kind == "scene":
        return {"scene": word.full if draft.lang == "en" else word.text}
    return {"mood": word.text, "a_mood": with_article(word.text)}


def _fill(pattern: str, fill: dict[str, str]) -> str:
    for slot in tuple(fill):
        capital = slot[0].upper() + slot[1:]
        fill[capital] = fill[slot][:1].upper() + fill[slot][1:]
    return pattern.format_map(fill)


@cache
def _sentences() -> dict[str, dict[str, list[str]]]:
    path = FOLDER / "sentences.yaml"
    content = read_yaml(path)
    known = {*FORMS, "with", "and_adjectives", "a_adjectives", "tail", "noun", "scene", "mood", "a_mood"}
    problems = [
        f"{lang}, {kind}: {text!r} must use known slots only, received {unknown}"
        for lang, kinds in content.items()
        for kind, texts in kinds.items()
        for text in texts
        if (unknown := sorted({slot[0].lower() + slot[1:] for slot in _slots(text)} - known))
    ]
    if problems:
        raise InputError(f"{path} has {len(problems)} mistakes:\n" + "\n".join(problems))
    checked: dict[str, dict[str, list[str]]] = content
    return checked


def _slots(text: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(text) if name]


@cache
def _patterns(lang: str, kind: str) -> tuple[_Pattern, ...]:
    stating = {*FORMS, "with", "and_adjectives", "a_adjectives"}
    return tuple(
        _Pattern(text, tuple(lower for slot in _slots(text) if (lower := slot[0].lower() + slot[1:]) in stating))
        for text in _sentences()[lang][kind]
    )


@cache
def _nouns(lang: str) -> tuple[str, ...]:
    return tuple(_sentences()[lang]["noun"])
