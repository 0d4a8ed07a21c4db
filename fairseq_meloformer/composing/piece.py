"""How pieces are made, what comes of it, and what can be told of one while it is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from miditoolkit import MidiFile

from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.measures.attributes import Attributes, measure
from fairseq_meloformer.midi.events import EventFile
from fairseq_meloformer.midi.metre import FOUR_FOUR
from fairseq_meloformer.midi.writing import written
from fairseq_meloformer.museformer.config import Scope
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.render import audio, musicxml, page, pictures
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.prompts import Request

MANIFEST: Final = "manifest.jsonl"
"""File beside pieces, with a line on each."""


@dataclass(frozen=True)
class Settings:
    """How pieces are made.

    Attributes:
        sampling: how tokens are chosen; a piece ends with its bars, not with `max_tokens`.
        injected: whether the plan is injected at all; without it this is plain MuseFormer.
        scope: see `inject`; the model's own if None.
        layers: see `inject`; those that the bridge makes if None.
        strength: see `inject`.
        guidance_scale: weight of the text in the bridge against no text.
        nfe: evaluations of the bridge's network.
        bar_tokens: most tokens in a bar.
        recall: whether what was written returns, by a form that is drawn and as `Recall` has it; never in bars of an
            existing piece.
        steady_tempo: whether a piece, or each section of a timeline, keeps the tempo that it begins with.
    """

    sampling: Sampling = field(default_factory=Sampling)
    injected: bool = True
    scope: Scope | None = None
    layers: tuple[int, ...] | None = None
    strength: float = 1.0
    guidance_scale: float = 2.0
    nfe: int = 10
    bar_tokens: int = 512
    recall: bool = True
    steady_tempo: bool = True


@dataclass(frozen=True)
class Piece:
    """A composed piece.

    Attributes:
        request: what was wanted.
        tokens: in the model's key.
        midi: six tracks, in the key of the piece.
        metre: of its bars.
        understood: what was read in the text, in words.
        not_honoured: what of it the piece does not keep, each with the reason.
        about: what its maker has to say for the manifest.
        file: the file that it is saved as; None to write one of `midi`.
    """

    request: Request
    tokens: list[str]
    midi: MidiFile
    metre: str = FOUR_FOUR
    understood: Sequence[str] = ()
    not_honoured: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    file: EventFile | None = None

    @cached_property
    def attributes(self) -> Attributes:
        """What is measured in it, see `measures.attributes.measure`."""
        return measure(self.midi)

    def save(self, path: str | Path) -> None:
        """Write the MIDI file; its first text says the prompt and the seed, but if it is an existing piece's file."""
        write_atomic(path, lambda file: file.write(self.data))

    @cached_property
    def data(self) -> bytes:
        """The MIDI file's bytes."""
        return (
            written(self.midi, f"{self.request.text}\n{self.request.seed_text}")
            if self.file is None
            else self.file.dump()
        )

    def score(self, path: str | Path) -> None:
        """Write the score as MusicXML, under the text."""
        musicxml.write(self.midi, path, self.request.text)

    def picture(self, path: str | Path, title: str | None = None) -> None:
        """Draw the piano roll as a PNG file, under the text or another title."""
        pictures.piano_roll(self.midi, path, title=self.request.text if title is None else title)

    def page(self, path: str | Path) -> bool:
        """Write a page of its own: roll, player and what was understood; False if it has to do without sound."""
        seed = self.request.seed if self.request.given_seed is None else self.request.given_seed
        told = {"understood": list(self.understood), "not_kept": list(self.not_honoured), "seed": seed}
        return page.write(path, self.midi, self.data, self.request.text, told)

    def sound(self, path: str | Path) -> bool:
        """Render a WAV file; False if no synthesiser and soundfont are installed."""
        return audio.render(self.midi, path)


@dataclass(frozen=True)
class Progress:
    """A bar was finished.

    All candidates of a piece are written side by side, and which is kept is known when all are finished: until then
    each is a draft. What has one candidate and no key to be moved to will begin as it does here.

    Attributes:
        request: the piece's.
        piece: its number among those that are composed together, from 0.
        candidate: number of the draft, from 0.
        candidates: how many there are.
        bars: finished ones.
        total: bars that the piece will have.
        tokens: of the finished bars, in the model's key.
        metre: of the bars.
        settled: whether the piece will begin with these very notes.
    """

    request: Request
    piece: int
    candidate: int
    candidates: int
    bars: int
    total: int
    tokens: list[str]
    metre: str
    settled: bool

    @property
    def midi(self) -> MidiFile:
        """The finished bars."""
        return remi.decode(remi.transpose(self.tokens, self.request.transposition), self.metre)


OnBar = Callable[[Progress], None]
"""Told of every finished bar. What it raises ends the composing."""
