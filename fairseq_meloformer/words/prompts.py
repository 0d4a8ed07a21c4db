"""Prompts, and the pieces that are wanted for them."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words.form import read_form
from fairseq_meloformer.words.timeline import Section, read_timeline

LONGEST_TEXT: Final = 10_000  # characters
MOST_BARS: Final = 1024  # more than a MuseFormer's positions were ever trained for is a slip of the pen
_WIDEST: Final = 60  # semitones: no piece has notes left that far away
_LONGEST_NAME = 40  # characters of a text that make a file name
_NAMING = {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Mn", "Mc", "So", "Sk"}  # among them emoji and their tones


@dataclass(frozen=True)
class Request:
    """One piece that is wanted.

    Attributes:
        text: what it should sound like, in Chinese or English.
        seed: pieces of one text and seed are alike; those of another seed differ.
        bars: how many; None lets the text, or else the bridge, say.
        transposition: semitones by which the finished piece is moved; models of normalised music write in C or A minor.
        sections: what single bars should sound like, if the text is a timeline.
        given_seed: that somebody gave, if `seed` was made of it.

    Raises:
        InputError: a text that is too long or cannot be written as UTF-8, a number that no piece can have, or bars that
            are not the sections'.
    """

    text: str
    seed: int = 0
    bars: int | None = None
    transposition: int = 0
    sections: tuple[Section, ...] = ()
    given_seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what would fail or never end later on."""
        checked_text(self.text)
        if self.bars is not None and not 1 <= self.bars <= MOST_BARS:
            raise InputError(f"a piece must have from 1 to {MOST_BARS} bars, received {shown(self.bars)}")
        if abs(self.transposition) > _WIDEST:
            raise InputError(
                f"a transposition must be from -{_WIDEST} to {_WIDEST} semitones, received {shown(self.transposition)}"
            )
        if self.sections and self.bars != self.sections[-1].last:
            raise InputError(
                f"a piece must have the {self.sections[-1].last} bars of its timeline {self.text!r}, "
                f"received {self.bars} bars: leave the number of bars out"
            )

    @property
    def seed_text(self) -> str:
        """The seed in words, first the one that was given."""
        return f"seed {self.seed}" if self.given_seed is None else f"seed {self.given_seed}, of this piece {self.seed}"


@dataclass(frozen=True)
class Prompt:
    """One line of a prompt file.

    Attributes:
        id: names the piece files.
        text: what is wanted.
        options: `bars`, `seed` and `transposition` where the prompt sets its own.
        about: whatever else the line holds; it is handed on to the manifest.
        sections: what single bars should sound like, if the prompt is a timeline.
    """

    id: str
    text: str
    options: Mapping[str, int] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()

    def request(self, piece: int, defaults: Request) -> Request:
        """The piece of this number, with the prompt's own options, or its timeline's length, before the defaults."""
        length = {"bars": self.sections[-1].last} if self.sections else {}
        chosen = replace(defaults, text=self.text, sections=self.sections, **{**length, **self.options})
        return replace(chosen, seed=seed_of(chosen.seed, self.id, piece), given_seed=chosen.seed)


def seed_of(seed: int, name: str, piece: int) -> int:
    """A seed for one piece, so that it does not depend on which others are composed with it."""
    digest = hashlib.sha256(f"{seed}|{name}|{piece}".encode()).digest()
    return int.from_bytes(digest[:4])


def from_texts(texts: Sequence[str]) -> list[Prompt]:
    """Prompts of the command line; each is named after its text.

    Raises:
        InputError: a text that comes twice, or a timeline with gaps or overlaps.
    """
    if twice := next((text for index, text in enumerate(texts) if text in texts[:index]), None):
        raise InputError(
            f"prompts of the command line must differ, but {shown(twice)} comes twice: "
            "give it once; `compose --count` makes several pieces of it"
        )
    taken: dict[str, str] = {}
    prompts = []
    for text in texts:
        name = _name(checked_text(text))
        if taken.setdefault(same_file(name), text) is not text:
            name = f"{name}_{_digest(text)}"
        prompts.append(Prompt(name, text, sections=sections_of(text)))
    return prompts


def sections_of(text: str) -> tuple[Section, ...]:
    """Sections of a text: of a timeline by bars, or of parts that have names; none for an ordinary text.

    Raises:
        InputError: see `checked_text` and `read_timeline`.
    """
    return read_timeline(checked_text(text)) or read_form(text)


def checked_text(text: str) -> str:
    """The text itself.

    Raises:
        InputError: it is longer than any wish, or cannot be written down.
    """
    if len(text) > LONGEST_TEXT:
        raise InputError(f"a prompt must have at most {LONGEST_TEXT} characters, received {len(text)}: say it in fewer")
    if not writable(text):
        raise InputError(f"a prompt must be text, received half a character (a lone surrogate) in {text[:60]!r}")
    return text


def same_file(name: str) -> str:
    """Alike for names that some file system would not tell apart: by case, or by how accents are written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def writable(text: str) -> bool:
    """Whether a text can be written as UTF-8: it has no half characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def shown(value: object) -> str:
    """A value for a message, no longer than a message can be."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _name(text: str) -> str:
    """A text as a file name: letters, digits and pictures; a long one is cut and told apart by a hash."""
    kept = "".join(character if _is_named(character) else " " for character in text)
    name = "_".join(kept.split()).strip("_") or "piece"
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME].rstrip('_')}_{_digest(text)}"


def _is_named(character: str) -> bool:
    return character in "-_\u200d" or unicodedata.category(character) in _NAMING


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
