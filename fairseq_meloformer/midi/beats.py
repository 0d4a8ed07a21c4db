"""Where the bars of a 4/4 song begin, for files whose own bar lines say nothing.

POP909 was exported without bar lines: its time signature is mostly 1/4, and its notes lie on a perfect grid of
sixteenths that begins anywhere between the file's beats. As it is, such a song has its strong beats in random places.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from miditoolkit import MidiFile, TimeSignature

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.metre import require_four_four
from fairseq_meloformer.midi.notes import DRUMS, Notes, notes

if TYPE_CHECKING:
    from miditoolkit import Instrument

Floats = npt.NDArray[np.float64]

_BAR: Final = 16
"""Sixteenths in a bar."""

_STRESS: Final = np.array([4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0], np.float64)
"""How strong each sixteenth of a 4/4 bar is: notes are longer and basses lower where it is stronger."""

_RENEWAL: Final = np.array([2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], np.float64)
"""Where harmony changes: at bar lines, less often in the middle of a bar."""

_TOLERANCE: Final = 1 / 48
_BASS_BELOW: Final = 60
_LONGEST: Final = 4.0
_CLEAR: Final = 0.5
"""Least length of the mean phase vector for notes that follow a grid; random onsets have 0, quantised ones 1."""


def align(midi: MidiFile) -> MidiFile:
    """The song in 4/4 with its first bar at tick 0: itself if its bar lines can be believed, else shifted to later.

    The bar lines of a file are not believed if the metre is 1/4, or if all onsets have the same distance from the
    sixteenths of the file. Then the grid comes from the onsets, and the bar line is the one of its 16 sixteenths where
    notes are long, basses lie and harmony changes. On 142 songs of MuseFormer's training data that had their bar lines
    hidden, 85 % got the right one and 92 % a right half bar.

    Raises:
        InputError: the metre is neither 4/4 nor 1/4, or the notes of a song in 1/4 follow no grid.
    """
    beats_only = bool(midi.time_signature_changes) and (
        {(change.numerator, change.denominator) for change in _in_force(midi)} == {(1, 4)}
    )
    if not beats_only:
        require_four_four(midi)
    song = notes(midi)
    offset, clarity = _grid(song.onset)
    if beats_only and clarity < _CLEAR:
        raise InputError(
            "A song in 1/4 must have its notes on a grid, to find its bars, but these lie anywhere. Leave the file out."
        )
    if not beats_only and (clarity < _CLEAR or abs(offset) <= _TOLERANCE):
        return midi
    first = offset + _bar_line(song, offset) / 4
    return _shifted(midi, round(-first % 4 * midi.ticks_per_beat))


def _in_force(midi: MidiFile) -> list[TimeSignature]:
    """Time signatures that hold for more than no time."""
    return list({change.time: change for change in midi.time_signature_changes}.values())


def _grid(onset: Floats) -> tuple[float, float]:
    """Distance of the onsets from the file's sixteenths in quarters (-1/8..1/8), and their agreement on it (0..1)."""
    if not len(onset):
        return 0.0, 0.0
    mean = complex(np.exp(2j * np.pi * 4 * onset).mean())
    return float(np.angle(mean)) / (8 * np.pi), abs(mean)


def _bar_line(song: Notes, offset: float) -> int:
    """The sixteenth (0..15) after `offset` that is the most likely bar line."""
    pitched = song.program != DRUMS
    if not pitched.any():
        return 0
    pitch = song.pitch[pitched]
    step = np.rint((song.onset[pitched] - offset) * 4).astype(np.int64)
    step -= min(0, int(step.min() // _BAR) * _BAR)
    length = np.minimum(song.duration[pitched], _LONGEST)
    lowest = _lowest(step, pitch)
    lowest = lowest[pitch[lowest] < _BASS_BELOW]
    change = _renewal(step, pitch, length)
    return int(
        (
            _standard(_strength(step, length, _STRESS))
            + _standard(_strength(step[lowest], length[lowest], _STRESS))
            + 2 * _standard(_strength(np.arange(len(change)), change, _RENEWAL))
        ).argmax()
    )


def _lowest(step: npt.NDArray[np.int64], pitch: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices of the lowest note of each step."""
    order = np.lexsort((pitch, step))
    return order[np.unique(step[order], return_index=True)[1]]


def _renewal(step: npt.NDArray[np.int64], pitch: npt.NDArray[np.int64], length: Floats) -> Floats:
    """(steps,) how different the pitch classes of the half bar before each step are from those of the one after."""
    half = _BAR // 2
    size = int(step.max()) + 3 * _BAR
    end = np.maximum(step + 1, step + np.rint(length * 4).astype(np.int64))
    sounding = np.zeros((size, 12))
    np.add.at(sounding, (step + half, pitch % 12), 1)
    np.add.at(sounding, (end + half, pitch % 12), -1)
    total = np.concatenate([np.zeros((1, 12)), sounding.cumsum(0).cumsum(0)])
    past, coming = total[half:-half] - total[: -2 * half], total[2 * half :] - total[half:-half]
    norm = np.linalg.norm(past, axis=1) * np.linalg.norm(coming, axis=1)
    product = (past * coming).sum(1)
    return 1 - np.where(norm > 0, product / np.maximum(norm, 1), 1.0)


def _strength(step: npt.NDArray[np.int64], weight: Floats, template: Floats) -> Floats:
    """(16,) how well the weights at the steps fit the template when the bar begins at each sixteenth."""
    sums = np.bincount(step % _BAR, weights=weight, minlength=_BAR)
    return np.array([float(np.roll(sums, -start) @ template) for start in range(_BAR)])


def _standard(score: Floats) -> Floats:
    standard: Floats = (score - score.mean()) / (score.std() + 1e-9)
    return standard


def _shifted(midi: MidiFile, ticks: int) -> MidiFile:
    moved = MidiFile(ticks_per_beat=midi.ticks_per_beat)
    moved.max_tick = midi.max_tick + ticks
    moved.time_signature_changes = [TimeSignature(4, 4, 0)]
    moved.tempo_changes = [
        replace(change, time=change.time + ticks if change.time else 0) for change in midi.tempo_changes
    ]
    moved.instruments = [_later(instrument, ticks) for instrument in midi.instruments]
    return moved


def _later(instrument: Instrument, ticks: int) -> Instrument:
    later = copy.copy(instrument)
    later.notes = [replace(note, start=note.start + ticks, end=note.end + ticks) for note in instrument.notes]
    return later
