"""MIDI files: the one door to reading, writing, note arrays, bar lines and the merge to six tracks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from miditoolkit import MidiFile

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.midi import smf
from fairseq_meloformer.midi.metre import POSITIONS, bar_grid, require_four_four, to_positions
from fairseq_meloformer.midi.notes import Notes, notes
from fairseq_meloformer.midi.six_tracks import merge_six_tracks
from fairseq_meloformer.midi.writing import playable, written

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "MidiFile",
    "Notes",
    "bar_lines",
    "merge_six_tracks",
    "notes",
    "playable",
    "read",
    "require_four_four",
    "write",
]


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


def write(midi: MidiFile, path: str | Path, text: str = "") -> None:
    """Write a MIDI file through a temporary name, so that it is there completely or not at all.

    Written is what `playable` makes of the song, with its tempi, metres, keys and markers.

    Args:
        midi: the song.
        path: of the file.
        text: its first text event.

    Raises:
        InputError: a number is out of MIDI's range.
    """
    data = written(midi, text)
    write_atomic(path, lambda file: file.write(data))


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
