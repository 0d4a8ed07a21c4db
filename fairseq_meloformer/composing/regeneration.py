"""Composing some bars of an existing piece anew, and leaving every other note where it was."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from miditoolkit import Note
from torch import Tensor

from fairseq_meloformer.composing.harmony import harmonised
from fairseq_meloformer.composing.parts import Part
from fairseq_meloformer.composing.piece import MANIFEST
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import read_jsonl
from fairseq_meloformer.measures.tonality import transposed
from fairseq_meloformer.midi.arrangement import Arrangement
from fairseq_meloformer.midi.events import EventFile, metre_event, tempo_event
from fairseq_meloformer.midi.general_midi import SOUNDS
from fairseq_meloformer.midi.metre import METRES, POSITIONS, index_of, to_positions
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import NAMES
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.tokens.codes import tempo_code
from fairseq_meloformer.tokens.given import Given
from fairseq_meloformer.words.instruments import name_of
from fairseq_meloformer.words.prompts import Prompt, Request, sections_of
from fairseq_meloformer.words.timeline import Section
from fairseq_meloformer.words.wishes import Wishes


@dataclass(frozen=True)
class Original:
    """A piece to start from.

    Attributes:
        path: its MIDI file.
        row: its line of the manifest beside it; none if it was made elsewhere.
    """

    path: Path
    row: Mapping[str, Any] | None

    @classmethod
    def read(cls, path: str | Path) -> "Original":
        """Find a MIDI file, or a piece by its name (`DIR/storm-0`), and what the manifest of its folder says of it.

        Raises:
            InputError: there is no such file.
        """
        path = Path(path)
        if path.name and not path.is_file() and path.with_name(f"{path.name}.mid").is_file():
            path = path.with_name(f"{path.name}.mid")
        if not path.is_file():
            raise InputError(
                f"a piece to start from must be a MIDI file or a piece's name in its folder; no file {path}"
            )
        manifest = path.parent / MANIFEST
        rows = read_jsonl(manifest) if manifest.is_file() else iter(())
        return cls(path, next((row for row in rows if row.get("files", {}).get("midi") == path.name), None))

    @cached_property
    def arrangement(self) -> Arrangement:
        """What the model reads of it.

        Raises:
            InputError: it is not a MIDI file that can be used.
        """
        return Arrangement.of(EventFile.read(self.path), players=self._players)

    @property
    def _players(self) -> dict[int, int]:
        """By program, the role of the six that it plays, where the manifest says so."""
        said = {} if self.row is None else self.row.get("full_system", {}).get("players", {})
        return {said[name]: role for role, name in NAMES.items() if name in said}

    @property
    def shift(self) -> int | None:
        """Semitones from the piece to the key it was composed in, if that is known."""
        if self.row is None:
            return None
        return -int(self.row.get("transposition", 0)) - int(self.row.get("full_system", {}).get("moved_to_key", 0))

    def prompt(self, name: str) -> Prompt:
        """What the piece was composed to.

        Raises:
            InputError: no manifest says it.
        """
        if self.row is None:
            raise InputError(
                f"no manifest beside {self.path} says what the piece was composed to: give a text for the new bars"
            )
        sections = tuple(Section(**section) for section in self.row.get("sections", ()))
        return Prompt(name, str(self.row["prompt"]), about=self.row.get("about", {}), sections=sections)


@dataclass(frozen=True)
class Infilling:
    """Bars of a piece that are to be composed: some of its own, or others that follow or precede it.

    Attributes:
        arrangement: the piece.
        first, last: the bars as the model counts them, from 1, both included.
        programs: instruments of the six that are written; the others keep their notes in these bars. None for those
            that the text names, or all if it names none.
        shift: semitones by which the piece is moved so that it is in the model's key.
        bars: tokens of the piece's bars in the model's key; of none before the first note.
        lead: bars before the first note.
        tempi: tempo token of every bar, the new ones included.
        added: how many of the bars the piece did not have.
        tempo: quarters per minute at which bars after the piece go on; None if that is how it ends.
        own: whether the text is the piece's own.
    """

    arrangement: Arrangement
    first: int
    last: int
    programs: frozenset[int] | None
    shift: int
    bars: tuple[tuple[str, ...], ...]
    lead: int
    tempi: tuple[str, ...]
    added: int = 0
    tempo: float | None = None
    own: bool = False

    @classmethod
    def of(
        cls,
        arrangement: Arrangement,
        first: int,
        last: int,
        *,
        shift: int | None = None,
        programs: Collection[int] | None = None,
    ) -> Self:
        """Bars first..last of a piece, counted as its file counts them, a pickup being the first.

        Args:
            arrangement: the piece.
            first: first bar, counted from 1.
            last: last bar.
            shift: semitones to the model's key if they are known; else the piece is moved to C major or A minor.
            programs: see `Infilling`.

        Raises:
            InputError: there are no such bars, or they are parts of bars as the model counts them.
        """
        total = len(arrangement.lines) - 1
        if not 1 <= first <= last <= total:
            raise InputError(
                f"bars to compose anew must be in 1..{total} (the piece's), from a first one to a last one, "
                f"received {first}-{last}"
            )
        span = _span(arrangement, first, last)
        if span is None:
            arrangement = arrangement.in_half_bars()
            span = _span(arrangement, first, last)
        if span is None:
            raise InputError(
                f"bars to compose anew must be whole bars of {arrangement.metre}, in which the model reads the piece, "
                f"received {first}-{last}: give one bar more before or after"
            )
        return cls._of(arrangement, *span, shift, programs)

    @classmethod
    def after(
        cls, arrangement: Arrangement, bars: int, *, shift: int | None = None, programs: Collection[int] | None = None
    ) -> Self:
        """New bars after the last one of a piece, in the tempo that most of it has; see `of`."""
        arrangement, new = _counted(arrangement, bars)
        total = _count(arrangement)
        made = replace(cls._of(arrangement, total + 1, total + new, shift, programs), added=new)
        usual, ending = Counter(made.tempi[:total]).most_common(1)[0][0], made.tempi[total - 1]
        if usual == ending:
            return made
        like = [change.tempo for change in arrangement.song.tempo_changes if f"t-{tempo_code(change.tempo)}" == usual]
        return replace(made, tempi=(*made.tempi[:total], *[usual] * new), tempo=like[-1])

    @classmethod
    def before(
        cls, arrangement: Arrangement, bars: int, *, shift: int | None = None, programs: Collection[int] | None = None
    ) -> Self:
        """New bars before the first one of a piece, which is later by them; see `of`."""
        arrangement, new = _counted(arrangement, bars)
        return replace(cls._of(arrangement.later(new), 1, new, shift, programs), added=new)

    @classmethod
    def _of(
        cls,
        arrangement: Arrangement,
        first: int,
        last: int,
        shift: int | None,
        programs: Collection[int] | None,
    ) -> Self:
        song, total = arrangement.song, _count(arrangement)
        shift = remi.transposition(song) if shift is None else shift
        encoded = remi.encode(song, ignore_time_signature=True, instrument_order="six_tracks")
        bars = remi.bars(remi.transpose(encoded, shift))
        start = min(note.start for track in song.instruments for note in track.notes)
        lead = int(to_positions(start, song.ticks_per_beat)) // arrangement.bar
        tempi = [f"t-{code}" for code in remi.tempi_at(song, arrangement.bar * np.arange(max(total, last)))]
        bars += [[tempo, "b-1"] for tempo in tempi[lead + len(bars) : total]]
        written = None if programs is None else frozenset(programs)
        return cls(arrangement, first, last, written, shift, tuple(map(tuple, bars)), lead, tuple(tempi))

    @property
    def total(self) -> int:
        """Bars of the piece, those before its first note and new ones included."""
        return len(self.tempi)

    @property
    def begin(self) -> int:
        """Bars of the piece that come before what the model writes or reads: no song begins with empty bars."""
        return min(self.first - 1, self.lead)

    @property
    def written(self) -> int:
        """Bars of the model's song up to the last new one."""
        return self.last - self.begin

    @property
    def prompt(self) -> list[str]:
        """Tokens with which the model's song begins."""
        return list(chain.from_iterable(self.bars[: max(0, self.first - 1 - self.lead)]))

    @property
    def rest(self) -> list[str]:
        """Tokens that follow the new bars."""
        empty = [token for tempo in self.tempi[self.last : self.lead] for token in (tempo, "b-1")]
        return [*empty, *chain.from_iterable(self.bars[max(0, self.last - self.lead) :])]

    @property
    def tokens(self) -> list[str]:
        """All tokens of the piece as it is, from its first note on."""
        return list(chain.from_iterable(self.bars))

    def given(self, programs: Collection[int]) -> Given:
        """What the model's song keeps of the new bars: tempi, and the notes of instruments that are not written."""
        given = {}
        for bar in range(self.first - 1, self.last):
            own = self.bars[bar - self.lead] if self.lead <= bar < self.lead + len(self.bars) else ()
            given[bar - self.begin] = [self.tempi[bar], *_notes_without(programs, own)]
        # A file may begin within its first bar.
        late = int(to_positions(self.arrangement.late, self.arrangement.song.ticks_per_beat))
        return Given(given, programs, {0: late} if self.first == 1 else {})

    def in_whole(self, request: Request) -> Request:
        """A request for the bars as one for the whole piece: so bars in the middle do not sound like a beginning.

        A timeline may have the bars of the whole piece, or of the new bars (unless it is the piece's own), or of the
        piece as it was; what is beside these bars is like the nearest section.

        Raises:
            InputError: a timeline of any other length.
        """
        if not request.sections:
            return replace(request, bars=self.total)
        begin = self._begins.get(request.sections[-1].last)
        if begin is None:
            raise InputError(
                f"a timeline for bars of an existing piece must have all of its {self.total} bars, or the "
                f"{self._new} that are written, received {request.text!r}"
            )
        moved = [
            replace(section, first=section.first + begin, last=section.last + begin) for section in request.sections
        ]
        moved[0] = replace(moved[0], first=1)
        moved[-1] = replace(moved[-1], last=self.total)
        return replace(request, bars=self.total, sections=tuple(moved))

    def kept(self, request: Request, parts: Sequence[Part]) -> list[Part]:
        """What is understood of a request for the new bars, with what cannot act there since the piece has its own.

        Chords of a text are counted from the first new bar, those of a timeline's section from the section's, and those
        of the piece's own text from the piece's.

        Args:
            request: for the bars, or for the whole piece, see `in_whole`.
            parts: of it in whole.
        """
        about = self._about(request)
        return [self._kept(part, about) for part in parts]

    def _kept(self, part: Part, about: range) -> Part:
        key = transposed("C major", -self.shift)
        # In whole, sections at the ends of a timeline have more bars than are theirs.
        since = max(0, about.start - part.first)
        bars = None if self.own else min(part.last or about.stop, about.stop) - part.first
        part = harmonised(replace(part, tempo=None), key, -self.shift, bars, since=since)
        return part if self.own else part.but(*self._unkept(part.wishes))

    @property
    def _new(self) -> int:
        """How many bars are written."""
        return self.last - self.first + 1

    @property
    def _begins(self) -> dict[int, int]:
        """By the bars that a timeline may have, the piece's bar, from 0, with which it begins."""
        was = {self.total - self.added: self.added if self.first == 1 else 0}
        return {**was, **({} if self.own else {self._new: self.first - 1}), self.total: 0}

    def _about(self, request: Request) -> range:
        """The piece's bars, from 0, that a request's text is about; only the text says it where that is in whole."""
        if self.own:
            return range(self._begins[self.total - self.added], self.total)
        timeline = request.sections and (sections_of(request.text) or request.sections)
        length = timeline[-1].last if timeline else self._new
        return range(self._begins.get(length, 0), self.last if length == self._new else self.total)

    def _unkept(self, asked: Wishes) -> Iterator[str]:
        tempo, key = self.tempi[self.first - 1], transposed("C major", -self.shift)
        if asked.tempo is not None and f"t-{tempo_code(asked.tempo)}" != tempo:
            yield f"{asked.tempo:g} bpm (the bars have the piece's tempo)"
        if asked.key not in (None, key, transposed("A minor", -self.shift)):
            yield f"{asked.key} (the bars are in the piece's key)"
        if asked.metre not in (None, self.arrangement.metre):
            yield f"{asked.metre} (the bars have the piece's metre)"
        if asked.bars not in (None, self.total, self._new):
            yield f"{asked.bars} bars (bars {self.first}-{self.last} are written)"
        if asked.seconds is not None:
            yield f"{asked.seconds:g} seconds (bars {self.first}-{self.last} are written)"
        there = self._programs
        for role, program in asked.players.items():
            if there[role] != program and role != DRUMS:
                yield f"{name_of(program)} (its part is played by the piece's {name_of(there[role])})"

    @property
    def _programs(self) -> dict[int, int]:
        """By role of the six, what plays it in the new bars."""
        return self.arrangement.programs((self.first - 1) * self.arrangement.bar, self.last * self.arrangement.bar)

    @property
    def pitches(self) -> dict[int, range]:
        """By program of the six, the pitches in the model's key that can be played on what plays it in the file."""
        ranges = {role: SOUNDS[program].pitches for role, program in self._programs.items()}
        moved = {role: range(own.start + self.shift, own.stop + self.shift) for role, own in ranges.items()}
        return moved | {DRUMS: SOUNDS[DRUMS].pitches}

    def held(self, planned: Tensor, real: Tensor, outside: int) -> Tensor:
        """A plan in which only the new bars are as planned, and the others as they are.

        Args:
            planned: (batch, bars, layers, dim) plans of the whole piece.
            real: (bars, layers, dim) summaries of the piece from its first note on.
            outside: bars of plans and summaries before the first bar of music.

        Returns:
            (batch, bars, layers, dim) for the model's song.
        """
        plan = torch.cat([planned[:, :outside], planned[:, outside + self.begin :]], dim=1)
        plan[:, :outside] = real[:outside]
        music, own = plan[:, outside:], real[outside:]
        kept = max(0, self.first - 1 - self.lead)
        music[:, :kept] = own[:kept]
        music[:, max(self.last, self.lead) - self.begin :] = own[max(0, self.last - self.lead) :]
        return plan

    def splice(self, new: Sequence[str], programs: Collection[int]) -> EventFile:
        """The piece's file with other notes in the new bars; all else is as it was, see `Arrangement.rewritten`.

        Args:
            new: tokens of the new bars, in the model's key.
            programs: instruments of the six that are written.
        """
        passage = remi.decode(remi.transpose(new, -self.shift), self.arrangement.metre)
        resolution, bar = self.arrangement.song.ticks_per_beat, self.arrangement.bar
        begin, end = (self.first - 1) * bar, self.last * bar

        def moved(time: int) -> int:
            tick: int = begin * resolution // POSITIONS + time * resolution // passage.ticks_per_beat
            return tick

        parts = {
            DRUMS if part.is_drum else part.program: [
                Note(note.velocity, note.pitch, moved(note.start), moved(note.end)) for note in part.notes
            ]
            for part in passage.instruments
        }
        file, joint = self.arrangement.rewritten(begin, end, programs, parts), moved(0) - self.arrangement.late
        added = [] if self.tempo is None else [tempo_event(joint, self.tempo)]
        if self.added and self.first > 1 and self.arrangement.lines[-1] % bar:  # after a last bar that is short
            added.append(metre_event(joint, *METRES[index_of(self.arrangement.metre)]))
        return file.edited((), {0: added})


def _count(arrangement: Arrangement) -> int:
    """Bars of a piece as the model counts them."""
    return -(-arrangement.lines[-1] // arrangement.bar)


def _span(arrangement: Arrangement, first: int, last: int) -> tuple[int, int] | None:
    """Bars of a file as the model counts them; None if they begin or end within such a bar."""
    begin, end = arrangement.lines[first - 1], arrangement.lines[last]
    if begin % arrangement.bar or (end % arrangement.bar and end < arrangement.lines[-1]):
        return None
    return begin // arrangement.bar + 1, -(-end // arrangement.bar)


def _counted(arrangement: Arrangement, bars: int) -> tuple[Arrangement, int]:
    """So many of a file's bars as the model counts them, in the metre in which that is a whole number if there is one.

    One of 12/8 is two of 6/8, two of 2/4 are one of 4/4.
    """
    size = float(np.median(np.diff(arrangement.lines))) / arrangement.bar
    if bars * size % 1:
        arrangement = arrangement.in_half_bars()
        size = float(np.median(np.diff(arrangement.lines))) / arrangement.bar
    return arrangement, math.ceil(bars * size)


def _notes_without(programs: Collection[int], bar: Sequence[str]) -> list[str]:
    """Onsets, instruments and notes of a bar but for those of some instruments."""
    kept: list[str] = []
    onset, written = "", False
    for token in bar[1:-1]:
        if token.startswith("o-"):
            onset = token
            continue
        if token.startswith("i-"):
            written = int(token[2:]) in programs
            kept += [] if written or not onset else [onset]
            onset = onset if written else ""
        if not written:
            kept.append(token)
    return kept
