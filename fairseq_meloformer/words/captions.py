"""From measured attributes to what somebody might have asked for, in Chinese and English.

Everything said is true of the passage: facts by its place in the corpus, scenes by how well they fit. What is left
unsaid is left open, so any subset of the facts may be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

import numpy as np

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES, Attributes
from fairseq_meloformer.words.facts import exact
from fairseq_meloformer.words.lexicon import Lexicon, default_lexicon
from fairseq_meloformer.words.scenes import LANGUAGES, Scene, with_article
from fairseq_meloformer.words.sentences import default_sentences, phrase
from fairseq_meloformer.words.wording import Fact, facts, say

if TYPE_CHECKING:
    from collections.abc import Container

    from fairseq_meloformer.measures.quantiles import Quantiles

STYLES: Final = ("labels", "phrase", "sentence", "scene", "prompt")
SOURCE: Final = "measured"
LICENCE: Final = "CC0-1.0"

_COMMAS: Final = {"en": (", ", ", ", "; "), "zh": ("，", "、", " ")}
_CLAUSE: Final = {"en": ", ", "zh": "，"}

# Shares of captions that have something more: another word in a prompt, a fact near the median, exact facts.
_SECOND_WORD: Final = 0.3
_MIDDLE: Final = 0.12
_EXACT: Final = 0.25
_TRIES: Final = 40


@dataclass(frozen=True)
class Caption:
    """A text for a passage.

    lang: "zh" or "en"; of mixed texts, the language of the sentence. style: one of STYLES. profile: what it asks of the
    control axes, each in [-1, 1], 0 being "medium"; axes that are not in it are free. scene: id of the lexicon's entry
    that it names, if any.
    """

    text: str
    lang: str
    style: str
    profile: dict[str, float]
    scene: str | None

    def row(self) -> dict[str, str]:
        """As prepared data hold captions."""
        return {"text": self.text, "lang": self.lang, "style": self.style, "source": SOURCE, "licence": LICENCE}


class Captioner:
    """Writes captions for the passages of one corpus."""

    def __init__(self, quantiles: Quantiles, lexicon: Lexicon | None = None) -> None:
        """Use a corpus's `quantiles`, and a lexicon (the one that comes with MeloFormer by default)."""
        self.quantiles = quantiles
        self.lexicon = lexicon or default_lexicon()

    def caption(self, attributes: Attributes, *, lang: str, style: str, seed: int | str) -> Caption:
        """One caption; the same arguments give the same text.

        Args:
            attributes: what `measure` returned.
            lang: "zh", "en" or "mixed".
            style: one of STYLES. Where no scene fits, "scene" becomes "phrase" and "prompt" becomes "labels".
            seed: any number or text, such as the item's id.

        Raises:
            InputError: unknown language or style, or a passage of which no control axis is measured.
        """
        if lang not in (*LANGUAGES, "mixed") or style not in STYLES:
            raise InputError(
                f"a caption's lang must be zh, en or mixed and its style one of {', '.join(STYLES)}, "
                f"received {lang!r} and {style!r}"
            )
        rng = Random(f"{seed}/{lang}/{style}")
        sentence_lang = rng.choice(LANGUAGES) if lang == "mixed" else lang
        return _Writer(self._read(attributes), rng, sentence_lang, mixed=lang == "mixed").write(style)

    def captions(
        self, attributes: Attributes, *, item: str, count: int, mixed: float = 0.1, taken: set[str] | None = None
    ) -> list[Caption]:
        """Different captions of one passage, half Chinese and half English, styles in turn.

        Args:
            attributes: what `measure` returned.
            item: the passage's id, which seeds everything.
            count: how many; of an odd number the odd one's language is drawn.
            mixed: share of texts that mix both languages.
            taken: texts of the corpus so far, which are avoided and added to, so that no two passages share a wording.
                Bare prompts may repeat: there are only so many words for so much music.

        Raises:
            InputError: no control axis of the passage is measured.
        """
        rng = Random(f"{item}/plan")
        reading = self._read(attributes)
        odd, turn = rng.getrandbits(1), rng.randrange(len(STYLES))
        languages = [LANGUAGES[(index + odd) % 2] for index in range(count)]
        rng.shuffle(languages)
        used: set[str] = set()
        written = []
        for index, lang in enumerate(languages):
            style = STYLES[(index + turn) % len(STYLES)]
            elsewhere = taken if taken is not None and style != "prompt" else ()
            caption = self._unlike((used, elsewhere), reading, f"{item}/{index}", lang, style, mixed=mixed)
            written.append(caption)
            used.add(caption.text)
        if taken is not None:
            taken |= used
        return written

    def _unlike(
        self, texts: tuple[Container[str], ...], reading: _Reading, seed: str, lang: str, style: str, *, mixed: float
    ) -> Caption:
        """A caption that is in none of `texts`; after a few vain tries a sentence is written, which can say more."""
        for attempt in range(_TRIES):
            rng = Random(f"{seed}/{attempt}")
            writer = _Writer(reading, rng, lang, mixed=rng.random() < mixed)
            caption = writer.write(style if attempt < _TRIES // 4 else "sentence")
            if not any(caption.text in known for known in texts):
                break
        return caption

    def _read(self, attributes: Attributes) -> _Reading:
        positions = self.quantiles.positions(attributes)
        said = facts(positions)
        if not said:
            raise InputError(
                f"a caption needs a passage with at least one control axis measured ({', '.join(AXES)}), "
                f"received {sorted(attributes)}; leave out passages without notes"
            )
        match = self.lexicon.match(positions)
        fitting = np.flatnonzero(match)
        chances = np.cumsum(match[fitting] ** 2 * self.lexicon.weights[fitting]).tolist()
        scenes = [self.lexicon.scenes[index] for index in fitting]
        return _Reading(attributes, positions, said, scenes, chances)


def describe(attributes: Attributes, quantiles: Quantiles, *, lang: str, style: str, seed: int | str) -> str:
    """The text of one caption; see `Captioner.caption`."""
    return Captioner(quantiles).caption(attributes, lang=lang, style=style, seed=seed).text


@dataclass(frozen=True)
class _Reading:
    """What can be said of a passage: facts, and the scenes that fit with the running sum of their weights."""

    attributes: Attributes
    positions: dict[str, float]
    facts: list[Fact]
    scenes: list[Scene]
    chances: list[float]


@dataclass
class _Writer:
    """One caption in the making: its random numbers, its language, and what it has stated so far."""

    reading: _Reading
    rng: Random
    lang: str
    mixed: bool
    profile: dict[str, float] = field(default_factory=dict)

    def write(self, style: str) -> Caption:
        """The caption."""
        scene = None
        if style in ("scene", "prompt"):
            scene = self._scene()
            if scene is None:
                style = "phrase" if style == "scene" else "labels"
        if scene is not None and style == "prompt":
            text = self._prompt(scene)
        elif style == "labels":
            text = self._labels(self.rng.randint(1, 6))
        else:
            text = self._sentence(style, scene)
        return Caption(text, self.lang, style, self.profile, scene.id if scene else None)

    def _tongue(self) -> str:
        """Language of the next element: in mixed texts either."""
        return self.rng.choice(LANGUAGES) if self.mixed else self.lang

    def _scene(self) -> Scene | None:
        if not self.reading.scenes:
            return None
        scene = self.rng.choices(self.reading.scenes, cum_weights=self.reading.chances)[0]
        self.profile |= scene.profile
        return scene

    def _facts(self, most: int) -> list[Fact]:
        """At most `most` facts away from the median, in random order, control axes first more often than not."""
        poles = [fact for fact in self.reading.facts if fact.pole]
        poles.sort(key=lambda fact: self.rng.random() ** (3 if fact.attribute in AXES else 1))
        return poles[:most]

    def _middle(self) -> Fact | None:
        middles = [fact for fact in self.reading.facts if not fact.pole and fact.attribute in AXES]
        return self.rng.choice(middles) if middles else None

    def _say(self, fact: Fact, slot: str) -> str:
        if fact.attribute in AXES:
            self.profile[fact.attribute] = fact.stated
        return say(fact, slot, self._tongue(), self.rng)

    def _exact(self, most: int) -> list[str]:
        chosen = exact(self.reading.attributes, self.reading.positions, self._tongue(), self.rng)[:most]
        for fact in chosen:
            self.profile |= fact.states
        return [fact.text for fact in chosen]

    def _prompt(self, scene: Scene) -> str:
        """A word, sometimes with a second one: a mood for a scene, or a label."""
        word = self.rng.choice(scene.words[self._tongue()]).text
        if self.rng.random() >= _SECOND_WORD:
            return word
        other = self._scene()
        if other is not None and {other.kind, scene.kind} == {"scene", "mood"}:
            second = self.rng.choice(other.words[self.lang]).text
            mood, noun = (word, second) if scene.kind == "mood" else (second, word)
            return f"{mood} {noun}" if self.lang == "en" else f"{mood}的{noun}"
        self.profile = dict(scene.profile)
        labels = [self._say(fact, "labels") for fact in self._facts(1)]
        return self.rng.choice(_COMMAS[self.lang]).join([word, *labels])

    def _labels(self, most: int) -> str:
        chosen = self._facts(most)
        middle = self._middle()
        if middle is not None and (not chosen or self.rng.random() < _MIDDLE):
            chosen.append(middle)
        slot = self.rng.choice(("labels", "any"))
        parts = [self._say(fact, slot) for fact in chosen]
        if self.rng.random() < _EXACT:
            parts += self._exact(1)
        return self.rng.choice(_COMMAS[self.lang]).join(parts)

    def _sentence(self, style: str, scene: Scene | None) -> str:
        most = self.rng.randint(0 if scene else 1, 5 if style == "sentence" else 3)
        chosen = self._facts(most)
        sentences = default_sentences()
        second = self._second(scene) if scene and scene.kind == "scene" else None
        patterns = [
            pattern
            for pattern in sentences.patterns[self.lang][scene.kind if scene else style]
            if pattern.takes(len(chosen)) and (second or not pattern.pairs)
        ]
        if not patterns:
            return self._labels(most)
        pattern = self.rng.choice(patterns)
        words = {"noun": self.rng.choice(sentences.nouns[self.lang])}
        if scene is not None:
            words |= self._named(scene)
        if second is not None and pattern.pairs:
            self.profile |= second.profile
            words["second"] = self._named(second)["scene"]
        for slot, share in pattern.deal(chosen, self.rng).items():
            words[slot] = phrase(slot, share, self.lang, self._say)
        words["tail"] = "".join(_CLAUSE[self.lang] + part for part in self._tail())
        return pattern.fill(words)

    def _second(self, scene: Scene) -> Scene | None:
        """Another scene that fits, if one is found soon."""
        others = self.rng.choices(self.reading.scenes, cum_weights=self.reading.chances, k=4)
        return next((other for other in others if other.kind == "scene" and other.base != scene.base), None)

    def _tail(self) -> list[str]:
        middle = self._middle() if self.rng.random() < _MIDDLE else None
        parts = [self._say(middle, "labels")] if middle else []
        if self.rng.random() < _EXACT:
            parts += self._exact(self.rng.randint(1, 2))
        return parts

    def _named(self, scene: Scene) -> dict[str, str]:
        word = self.rng.choice(scene.words[self._tongue()])
        if scene.kind == "mood":
            return {"mood": word.text, "a_mood": with_article(word.text)}
        return {"scene": word.full if self.lang == "en" else word.text}
