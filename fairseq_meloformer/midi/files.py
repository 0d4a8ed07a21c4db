"""MIDI files: the one door to reading, writing, note arrays, bar lines and the merge to six tracks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from miditoolkit import MidiFile

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.midi.metre import POSITIONS, one_metre, song_grid, spelled
from fairseq_meloformer.midi.notes import Notes, notes
from fairseq_meloformer.midi.six_tracks import merge_six_tracks
from fairseq_meloformer.midi.smf import LeftOut, Song
from fairseq_meloformer.midi.writing import playable, written

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "LeftOut",
    "MidiFile",
    "Notes",
    "bar_lines",
    "below",
    "merge_six_tracks",
    "metre_of",
    "notes",
    "playable",
    "read",
    "write",
]

_LOG = logging.getLogger(__name__)

SUFFIXES: Final = (".kar", ".mid", ".midi")
"""Of MIDI files, in whatever case."""


def below(folder: Path) -> list[Path]:
    """MIDI files in a folder and all folders in it, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def read(path: str | Path, left_out: list[LeftOut] | None = None) -> MidiFile:
    """Read a MIDI file: notes, programs, track names, tempi, time and key signatures, and markers.

    Args:
        path: the file.
        left_out: a list to which is added what was left out of a damaged file; without one it is logged as a warning.

    Raises:
        InputError: the file is missing or is not a MIDI file that can be used; names it and says what is wrong.
    """
    return opened(path, left_out).midi()


def opened(path: str | Path, left_out: list[LeftOut] | None = None) -> Song:
    """What is read of a MIDI file before it is a `MidiFile`; otherwise as `read`."""
    try:
        song = Song(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"A MIDI file must be readable, but {path} is not: {error.strerror}.") from error
    except InputError as error:
        raise InputError(f"{path} is not a MIDI file that can be used: {error}.") from None
    if left_out is not None:
        left_out.extend(song.left_out)
    else:
        for what, where in song.left_out:
            _LOG.warning("%s: left out %s (%s)", path, what, where)
    return song


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
    lines: npt.NDArray[np.float64] = song_grid(midi).lines / POSITIONS
    return lines


def metre_of(midi: MidiFile) -> str:
    """The metre of a song, such as "3/4".

    Raises:
        InputError: it changes before the last note, or the tokens cannot name it.
    """
    return spelled(one_metre(song_grid(midi)))
