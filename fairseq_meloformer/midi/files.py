"""MIDI files: the one door to reading, writing, note arrays, bar lines and the merge to six tracks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from miditoolkit import Instrument, MidiFile

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.midi import smf
from fairseq_meloformer.midi.metre import POSITIONS, bar_grid, require_four_four, to_positions
from fairseq_meloformer.midi.notes import Notes, notes
from fairseq_meloformer.midi.six_tracks import merge_six_tracks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from miditoolkit import Note

__all__ = ["MidiFile", "Notes", "bar_lines", "merge_six_tracks", "notes", "read", "require_four_four", "write"]


def read(path: str | Path) -> MidiFile:
    """Read a MIDI file: notes, programs, track names, tempi and time signatures.

    Raises:
        InputError: the file is missing or is not a MIDI file that can be used; names it and says what is wrong.
    """
    try:
        return smf.parse(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"A MIDI file must be readable, but {path} is not: {error.strerror}.") from error
    except InputError as error:
        raise InputError(f"{path} is not a MIDI file that can be used: {error}.") from None


def write(midi: MidiFile, path: str | Path) -> None:
    """Write a MIDI file through a temporary name, so that it is there completely or not at all.

    A note that starts while the same pitch of its track still sounds goes to a further track of the same program, and
    every note lasts at least one tick: so `read` gives back the notes that were written.

    Raises:
        InputError: a number is out of MIDI's range.
    """
    notes(midi)
    playable = copy.copy(midi)
    playable.instruments = [voice for instrument in midi.instruments for voice in _voices(instrument)]
    write_atomic(path, lambda file: playable.dump(file=file, charset="utf-8"))


def bar_lines(midi: MidiFile) -> npt.NDArray[np.float64]:
    """Beginnings of the bars in quarters (bars + 1), the last being the end of the bar with the last onset.

    They are rounded to the grid of the tokens, 1/12 quarter, as are the onsets that decide which bar is the last: bar
    k here is bar k of `remi.encode`, counted with the empty bars that it drops. A song without notes has one bar.

    Raises:
        InputError: a time signature that the tokens cannot name.
    """
    last = max((note.start for track in midi.instruments for note in track.notes), default=0)
    lines: npt.NDArray[np.float64] = bar_grid(midi, int(to_positions(last, midi.ticks_per_beat))).lines / POSITIONS
    return lines


def _voices(instrument: Instrument) -> list[Instrument]:
    """The instrument as few tracks in which no pitch sounds twice at once, and no note is without length."""
    voices: list[tuple[dict[int, int], Instrument]] = []
    for note in sorted(instrument.notes, key=lambda note: (note.start, note.end)):
        free = next((voice for voice in voices if voice[0].get(note.pitch, -1) <= note.start), None)
        if free is None:
            free = {}, Instrument(instrument.program, instrument.is_drum, instrument.name)
            voices.append(free)
        ends, voice = free
        voice.notes.append(_audible(note))
        ends[note.pitch] = voice.notes[-1].end
    if voices:
        voices[0][1].control_changes = instrument.control_changes
        voices[0][1].pitch_bends = instrument.pitch_bends
        voices[0][1].pedals = instrument.pedals
    return [voice for _, voice in voices]


def _audible(note: Note) -> Note:
    if note.end > note.start:
        return note
    longer = copy.copy(note)
    longer.end = note.start + 1
    return longer
