"""Music as arrays: a song read once, and the passages of it that are measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from miditoolkit import MidiFile
from numpy.typing import NDArray

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.files import bar_lines
from fairseq_meloformer.midi.metre import FOUR_FOUR
from fairseq_meloformer.midi.notes import notes
from fairseq_meloformer.tokens import remi

DRUMS: Final = 128
STEPS: Final = 12  # grid steps per quarter, as the tokens have
OVERLAP: Final = 2  # steps: legato playing lets a note run this far into the next one without meaning to

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Passage:
    """Notes whose onsets lie in consecutive bars, sorted by onset; equal-length arrays.

    onset, duration: quarters, from the start of the song. pitch, velocity: MIDI numbers. program: 0..127, 128 =
    drums. track: which instrument of the file plays.
    lines: (bars + 1,) bar lines in quarters. seconds: playing time. metre: time signature of the first bar, such as
    "4/4".
    """

    onset: Floats
    duration: Floats
    pitch: Integers
    velocity: Integers
    program: Integers
    track: Integers
    lines: Floats
    seconds: float
    metre: str

    @property
    def bars(self) -> int:
        """Number of bars."""
        return len(self.lines) - 1

    @property
    def quarters(self) -> float:
        """Length in quarters."""
        return float(self.lines[-1] - self.lines[0])

    def __len__(self) -> int:
        return len(self.onset)

    @cached_property
    def pitched(self) -> "Passage":
        """The same passage without drums."""
        return self if not (self.program == DRUMS).any() else self.where(self.program != DRUMS)

    @cached_property
    def start(self) -> Integers:
        """Onset of each note in grid steps from the first bar line; notes of one (perhaps strummed) chord share it."""
        start: Integers = np.rint((self.onset - self.lines[0]) * STEPS).astype(np.int64)
        return start

    @cached_property
    def bar(self) -> Integers:
        """Bar of each note, from 0."""
        bar: Integers = np.clip(np.searchsorted(self._line_steps, self.start, side="right") - 1, 0, self.bars - 1)
        return bar

    @property
    def step_of_bar(self) -> Integers:
        """Onset of each note in grid steps from its own bar line."""
        step: Integers = self.start - self._line_steps[self.bar]
        return step

    @property
    def _line_steps(self) -> Integers:
        steps: Integers = np.rint((self.lines - self.lines[0]) * STEPS).astype(np.int64)
        return steps

    @cached_property
    def steps(self) -> Integers:
        """Length of each note in grid steps, at least 1, cut at the passage's end."""
        end = np.rint((np.minimum(self.onset + self.duration, self.lines[-1]) - self.lines[0]) * STEPS).astype(np.int64)
        steps: Integers = np.maximum(end - self.start, 1)
        return steps

    @cached_property
    def sounding(self) -> Integers:
        """How many notes sound in each grid step, (steps,)."""
        return np.bincount(_cells(self.start, self.steps))

    @cached_property
    def pitch_classes(self) -> Floats:
        """Sounding time of each pitch class in quarters, (12,), from C on."""
        return np.bincount(self.pitch % 12, weights=self.duration, minlength=12).astype(np.float64)

    @cached_property
    def top_line(self) -> tuple[Integers, Integers]:
        """Onsets in grid steps, as `start`, and pitches of the top line in time order.

        Of each onset the highest note, unless a higher one of an earlier onset is still sounding.

        Source: A. Uitdenbogerd and J. Zobel, Manipulation of music for melody matching (1998), the "skyline" of the
            whole mix.
        """
        if len(self) == 0:
            return self.start, self.pitch
        held = np.maximum(self.steps - OVERLAP, 1)
        top = np.zeros(int((self.start + held).max()), np.int64)
        np.maximum.at(top, _cells(self.start, held), np.repeat(self.pitch, held))
        onsets = np.unique(self.start[self.pitch == top[self.start]])
        return onsets, top[onsets]

    def where(self, chosen: NDArray[np.bool_]) -> "Passage":
        """The same bars with some of the notes only, (notes,) True for those."""
        names = ("onset", "duration", "pitch", "velocity", "program", "track")
        return Passage(
            **{name: getattr(self, name)[chosen] for name in names},
            lines=self.lines,
            seconds=self.seconds,
            metre=self.metre,
        )


def _cells(start: Integers, steps: Integers) -> Integers:
    """Every grid step that every note covers, note after note, (sum of steps,)."""
    first = np.cumsum(steps) - steps
    return np.repeat(start - first, steps) + np.arange(int(steps.sum()))


class Song:
    """A whole song as arrays, from which passages are cut without reading it again."""

    def __init__(self, music: "MidiFile | Sequence[str]", metre: str = FOUR_FOUR) -> None:
        """Read a MidiFile, or a list of tokens (which is decoded first; `metre` is that of its bars)."""
        midi = music if isinstance(music, MidiFile) else remi.decode(list(music), metre)
        self.notes = notes(midi)
        self.lines: Floats = np.asarray(bar_lines(midi), np.float64)
        tick = 1 / midi.ticks_per_beat
        # A file without tempo or metre plays at 120 qpm in 4/4 (Standard MIDI Files 1.0).
        self._tempo_at, self._qpm = _steps([(change.time * tick, change.tempo) for change in midi.tempo_changes], 120.0)
        signatures = sorted(
            (change.time * tick, f"{change.numerator}/{change.denominator}") for change in midi.time_signature_changes
        )
        self._metre_at = np.array([time for time, _ in signatures], np.float64)
        self._metres = [metre for _, metre in signatures]

    @property
    def bars(self) -> int:
        """Number of bars."""
        return len(self.lines) - 1

    def passage(self, first: int = 0, end: int | None = None) -> Passage:
        """Bars first..end, `end` not included; None means up to the last bar."""
        end = self.bars if end is None else end
        if not 0 <= first < end <= self.bars:
            raise InputError(
                f"a passage must be bars first..end with 0 <= first < end <= {self.bars} (this song's bars), "
                f"received {first}..{end}"
            )
        lines = self.lines[first : end + 1]
        # Half a grid step early still belongs to the bar line's own beat.
        low, high = np.searchsorted(self.notes.onset, [lines[0] - 0.5 / STEPS, lines[-1] - 0.5 / STEPS])
        chosen = slice(int(low) if first else 0, int(high) if end < self.bars else len(self.notes.onset))
        return Passage(
            onset=np.maximum(self.notes.onset[chosen], lines[0]),
            duration=self.notes.duration[chosen],
            pitch=self.notes.pitch[chosen].astype(np.int64),
            velocity=self.notes.velocity[chosen].astype(np.int64),
            program=self.notes.program[chosen].astype(np.int64),
            track=self.notes.track[chosen].astype(np.int64),
            lines=lines,
            seconds=self._seconds(float(lines[0]), float(lines[-1])),
            metre=self._metre(float(lines[0])),
        )

    def passages(self, bars: int) -> Iterator[Passage]:
        """Consecutive passages of `bars` bars; a shorter rest at the end is left out."""
        for first in range(0, self.bars - bars + 1, bars):
            yield self.passage(first, first + bars)

    def _seconds(self, start: float, end: float) -> float:
        times = np.concatenate([self._tempo_at, [np.inf]]).clip(start, end)
        return float((np.diff(times) * 60 / self._qpm).sum())

    def _metre(self, at: float) -> str:
        index = int(np.searchsorted(self._metre_at, at + 0.5 / STEPS, side="right")) - 1
        return self._metres[index] if index >= 0 else "4/4"


def _steps(changes: list[tuple[float, float]], default: float) -> tuple[Floats, Floats]:
    """A piecewise constant function from its changes: where each piece starts (the first at -inf) and its value."""
    changes = sorted(changes, key=lambda change: change[0])
    if not changes or changes[0][0] > 0:
        changes = [(0.0, default), *changes]
    times = np.array([time for time, _ in changes], np.float64)
    times[0] = -np.inf
    return times, np.array([value for _, value in changes], np.float64)
