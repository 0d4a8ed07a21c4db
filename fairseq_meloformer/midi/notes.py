"""Notes of a song as arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
from miditoolkit import MidiFile, Note

from fairseq_meloformer.errors import InputError

DRUMS: Final = 128
"""Stands for the drum kit where programs are numbers."""
CLASHES: Final = (1, 11, 13)
"""Semitones of a minor second, a major seventh and a minor ninth."""
TRIADS: Final = tuple((root, (root + third) % 12, (root + 7) % 12) for third in (4, 3) for root in range(12))
"""Pitch classes of the major triads from C upwards, then of the minor ones, root first."""

_PIECE = 6


@dataclass(frozen=True)
class Notes:
    """Arrays of one length, a note each, sorted by onset, then track, then pitch.

    onset, duration: quarters. pitch, velocity: MIDI, 0..127. program: 0..127, 128 = drums. track: index of the
    instrument in the MidiFile.
    """

    onset: npt.NDArray[np.float64]
    duration: npt.NDArray[np.float64]
    pitch: npt.NDArray[np.int64]
    velocity: npt.NDArray[np.int64]
    program: npt.NDArray[np.int64]
    track: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.onset)


def notes(midi: MidiFile) -> Notes:
    """All notes of a song.

    Raises:
        InputError: a note has a pitch, velocity, program or time that MIDI does not have.
    """
    start, end, pitch, velocity, program, track = note_table(midi)
    order = np.lexsort((pitch, track, start))
    ticks = midi.ticks_per_beat
    return Notes(
        start[order] / ticks,
        (end - start)[order] / ticks,
        pitch[order],
        velocity[order],
        program[order],
        track[order],
    )


def note_table(midi: MidiFile) -> npt.NDArray[np.int64]:
    """(6, notes): start and end in ticks, pitch, velocity, program (128 = drums), track; in the order of the file.

    A note that ends before it starts is given no length.

    Raises:
        InputError: a number is out of MIDI's range.
    """
    sizes = [len(instrument.notes) for instrument in midi.instruments]
    table = np.empty((_PIECE, sum(sizes)), np.int64)
    table[:4] = np.fromiter(
        chain.from_iterable(
            (note.start, note.end, note.pitch, note.velocity) for track in midi.instruments for note in track.notes
        ),
        np.int64,
        4 * sum(sizes),
    ).reshape(-1, 4).T  # fmt: skip
    programs = [DRUMS if instrument.is_drum else int(instrument.program) for instrument in midi.instruments]
    table[4] = np.repeat(np.array(programs, np.int64), sizes)
    table[5] = np.repeat(np.arange(len(sizes)), sizes)
    np.maximum(table[1], table[0], out=table[1])
    for row, name, most in ((0, "start", None), (2, "pitch", 127), (3, "velocity", 127), (4, "program", DRUMS)):
        _check(table[row], name, most)
    return table


def one_voice(parts: Sequence[Note], onsets: Iterable[int]) -> list[Note]:
    """Notes sorted by onset in which no pitch sounds twice at once, as one instrument can play them.

    Args:
        parts: the notes.
        onsets: of each note, on the grid that tells which notes begin together. Of equal pitches that do, the longest
            stays; one that begins later ends the one before.
    """
    kept: list[Note] = []
    last: dict[int, tuple[int, int]] = {}
    order = sorted(zip(onsets, (-note.end for note in parts), range(len(parts)), strict=True))
    for onset, _, index in order:
        note = parts[index]
        previous = last.get(note.pitch)
        if previous is not None:
            if previous[0] == onset:
                continue
            before = kept[previous[1]]
            if before.end > note.start:
                kept[previous[1]] = Note(before.velocity, before.pitch, before.start, note.start)
        last[note.pitch] = (onset, len(kept))
        kept.append(note)
    return kept


def _check(values: npt.NDArray[np.int64], name: str, most: int | None) -> None:
    if not len(values):
        return
    for value in (values.min(), values.max()):
        if value < 0 or (most is not None and value > most):
            raise InputError(f"The {name} of every note must be in 0..{most or ''}, but one is {value}.")
