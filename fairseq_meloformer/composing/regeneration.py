"""Composing some bars of an existing piece anew, and leaving every other note where it was."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from miditoolkit import Instrument, MidiFile, Note, TempoChange
from torch import Tensor

from fairseq_meloformer import midi as midi_files
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import read_jsonl
from fairseq_meloformer.midi.metre import POSITIONS, to_positions
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.prompts import Prompt
from fairseq_meloformer.words.timeline import Section

_BAR = 4 * POSITIONS  # positions of a bar of 4/4
_DEFAULT_QPM = 120.0


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
        if not path.is_file() and path.with_name(f"{path.name}.mid").is_file():
            path = path.with_name(f"{path.name}.mid")
        if not path.is_file():
            raise InputError(
                f"a piece to start from must be a MIDI file or a piece's name in its folder; no file {path}"
            )
        manifest = path.parent / "manifest.jsonl"
        rows = read_jsonl(manifest) if manifest.is_file() else iter(())
        return cls(path, next((row for row in rows if row.get("files", {}).get("midi") == path.name), None))

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
    """Bars of a piece that are to be composed anew.

    Attributes:
        song: the piece: six instruments, 4/4.
        first, last: the bars, counted from 1, both included.
        shift: semitones by which the piece is moved so that it is in the model's key.
        bars: tokens of the piece's bars in the model's key; of none before the first note.
        lead: bars before the first note.
        new_tempo: whether the tempo may change where the new bars begin.
    """

    song: MidiFile
    first: int
    last: int
    shift: int
    bars: tuple[tuple[str, ...], ...]
    lead: int
    new_tempo: bool = False

    @classmethod
    def of(
        cls, song: MidiFile, first: int, last: int, shift: int | None = None, *, new_tempo: bool = False
    ) -> "Infilling":
        """Bars first..last of a song.

        Args:
            song: six instruments in 4/4, as `merge_six_tracks` makes them.
            first: first bar, counted from 1.
            last: last bar.
            shift: semitones to the model's key if they are known; else the song is moved to C major or A minor.
            new_tempo: whether the tempo may change where the new bars begin.

        Raises:
            InputError: there are no such bars, or a song that has no notes or is not in 4/4.
        """
        shift = remi.transposition(song) if shift is None else shift
        tokens = remi.encode(song, ignore_time_signature=True, instrument_order="six_tracks")
        bars = tuple(tuple(bar) for bar in remi.bars(remi.transpose(tokens, shift)))
        total = len(midi_files.bar_lines(song)) - 1
        if not 1 <= first <= last <= total:
            raise InputError(
                f"bars to compose anew must be in 1..{total} (the piece's), from a first one to a last one, "
                f"received {first}-{last}"
            )
        return cls(song, first, last, shift, bars, total - len(bars), new_tempo)

    @property
    def total(self) -> int:
        """Bars of the piece, those before its first note included."""
        return self.lead + len(self.bars)

    @property
    def begin(self) -> int:
        """Bars of the piece that come before what the model writes or reads: no song begins with empty bars."""
        return min(self.first - 1, self.lead)

    @property
    def written(self) -> int:
        """Bars of the model's song up to the last new one."""
        return self.last - self.begin

    @property
    def before(self) -> list[str]:
        """Tokens with which the model's song begins."""
        return list(chain.from_iterable(self.bars[: max(0, self.first - 1 - self.lead)]))

    @property
    def after(self) -> list[str]:
        """Tokens that follow the new bars."""
        return list(chain.from_iterable(self.bars[max(0, self.last - self.lead) :]))

    @property
    def tokens(self) -> list[str]:
        """All tokens of the piece."""
        return list(chain.from_iterable(self.bars))

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
        music[:, self.last - self.begin :] = own[max(0, self.last - self.lead) :]
        return plan

    def splice(self, new: Sequence[str]) -> MidiFile:
        """The piece with other notes and tempi in the new bars; all else is as it was, to the tick.

        Args:
            new: tokens of the new bars, in the model's key.
        """
        passage = remi.decode(remi.transpose(new, -self.shift))
        song = copy.deepcopy(self.song)
        tick = song.ticks_per_beat
        begin, end = ((bar * _BAR * tick) // POSITIONS for bar in (self.first - 1, self.last))

        def moved(time: int) -> int:
            tick_after: int = begin + time * tick // passage.ticks_per_beat
            return tick_after

        for track in song.instruments:
            track.notes = [note for note in track.notes if not self._is_new(note.start)]
        for part in passage.instruments:
            notes = [Note(note.velocity, note.pitch, moved(note.start), moved(note.end)) for note in part.notes]
            _track_like(song, part).notes.extend(notes)
        for track in song.instruments:
            track.notes.sort(key=lambda note: note.start)
        changes = [TempoChange(change.tempo, moved(change.time)) for change in passage.tempo_changes]
        song.tempo_changes = self._tempi(changes, begin, end)
        song.max_tick = max([end - 1, *(note.end for track in song.instruments for note in track.notes)]) + 1
        return song

    def _is_new(self, time: int) -> bool:
        """Whether a note that starts at this tick belongs to the new bars, by the rounding of the tokens."""
        position = int(to_positions([time], self.song.ticks_per_beat)[0])
        return self.first - 1 <= position // _BAR < self.last

    def _tempi(self, new: Sequence[TempoChange], begin: int, end: int) -> list[TempoChange]:
        """Tempo changes of the piece with new ones from tick `begin` to `end`, where the piece's own tempo returns."""
        own = sorted(self.song.tempo_changes, key=lambda change: change.time)
        kept = [change for change in own if not begin <= change.time <= end]
        if self.last < self.total:
            returning = next((change.tempo for change in reversed(own) if change.time <= end), _DEFAULT_QPM)
            kept.append(TempoChange(returning, end))
        return sorted([*kept, *new], key=lambda change: change.time)


def _track_like(song: MidiFile, part: Instrument) -> Instrument:
    """The song's track of the same instrument, made if it has none."""
    for track in song.instruments:
        if track.is_drum == part.is_drum and (part.is_drum or track.program == part.program):
            return track
    song.instruments.append(Instrument(part.program, part.is_drum, part.name))
    return song.instruments[-1]
