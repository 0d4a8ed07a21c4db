"""Sentence patterns of lexicon/sentences.yaml: which slots they have, and how facts fill them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from string import Formatter
from typing import Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words.lexicon import FOLDER
from fairseq_meloformer.words.scenes import LANGUAGES, read_yaml, with_article
from fairseq_meloformer.words.wording import FORMS, Fact, joined

KINDS: Final = ("phrase", "sentence", "scene", "mood")

_STATING: Final = {*FORMS, "with", "and_adjectives", "a_adjectives"}
_NAMING: Final = {"scene", "second", "mood", "a_mood", "noun", "tail"}

Say = Callable[[Fact, str], str]


@dataclass(frozen=True)
class Pattern:
    """A sentence with slots.

    `slots` are those that state facts, in order; each needs a fact, but "with" may be empty.
    """

    text: str
    slots: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Find the slots; {Clauses} is {clauses} with a capital letter."""
        return cls(text, tuple(slot for slot in _slots(text) if slot in _STATING))

    def takes(self, count: int) -> bool:
        """Whether `count` facts fill it: enough for every slot, and none left over."""
        return len(self.slots) - ("with" in self.slots) <= count and (count == 0 or bool(self.slots))

    @property
    def pairs(self) -> bool:
        """Whether it names a second scene."""
        return "{second}" in self.text

    def deal(self, facts: Sequence[Fact], rng: Random) -> dict[str, list[Fact]]:
        """Facts dealt to slots: one for each that needs one, the others anywhere."""
        shares: dict[str, list[Fact]] = {slot: [] for slot in self.slots}
        needy = [slot for slot in self.slots if slot != "with"]
        for index, fact in enumerate(facts):
            shares[needy[index] if index < len(needy) else rng.choice(self.slots)].append(fact)
        return shares

    def fill(self, words: Mapping[str, str]) -> str:
        """The sentence with `words` by slot."""
        capitals = {slot.capitalize(): word[:1].upper() + word[1:] for slot, word in words.items()}
        return self.text.format_map({**words, **capitals})


def phrase(slot: str, facts: Sequence[Fact], lang: str, say: Say) -> str:
    """What stands in a slot that states `facts`; `say` puts one fact in the form of a key of FORMS."""
    if slot == "with":
        return " with " + joined([say(fact, "nouns") for fact in facts], ", ", " and ") if facts else ""
    form = slot.removeprefix("and_").removeprefix("a_")
    parts = [say(fact, form) for fact in facts]
    if lang == "zh":
        return ("、" if form == "labels" else "，").join(parts)
    if slot == "a_adjectives":
        return with_article(", ".join(parts))
    return joined(parts, ", ", " and ") if slot in ("and_adjectives", "nouns", "clauses") else ", ".join(parts)


@dataclass(frozen=True)
class Sentences:
    """Patterns by language and kind, and words for a piece of music by language."""

    patterns: Mapping[str, Mapping[str, tuple[Pattern, ...]]]
    nouns: Mapping[str, tuple[str, ...]]

    @classmethod
    def load(cls, path: Path = FOLDER / "sentences.yaml") -> "Sentences":
        """Read and check a file of patterns.

        Raises:
            InputError: a language or kind is missing, or a slot unknown; all mistakes at once.
        """
        content = read_yaml(path)
        problems = [
            f"{lang}: must have a list of texts for {kind}"
            for lang in LANGUAGES
            for kind in ("noun", *KINDS)
            if not isinstance(content, dict) or not (content.get(lang) or {}).get(kind)
        ]
        if not problems:
            texts = [(lang, kind, text) for lang in LANGUAGES for kind in KINDS for text in content[lang][kind]]
            problems += [
                f"{lang}, {kind}: {text!r} must use known slots only, received {unknown}"
                for lang, kind, text in texts
                if (unknown := sorted(set(_slots(text)) - _STATING - _NAMING))
            ]
        if problems:
            raise InputError(f"{path} has {len(problems)} mistakes:\n" + "\n".join(problems))
        return cls(
            {lang: {kind: tuple(map(Pattern.parse, content[lang][kind])) for kind in KINDS} for lang in LANGUAGES},
            {lang: tuple(content[lang]["noun"]) for lang in LANGUAGES},
        )


@cache
def default_sentences() -> Sentences:
    """The patterns that come with MeloFormer, read once."""
    return Sentences.load()


def _slots(text: str) -> list[str]:
    return [name.lower() for _, name, _, _ in Formatter().parse(text) if name]
