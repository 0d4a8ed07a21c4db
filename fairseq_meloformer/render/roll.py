"""What a piano roll shows: notes, bar lines, a colour for each instrument and the lanes of the drum kit."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fairseq_meloformer.midi.files import Notes, bar_lines, notes
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.words.facts import instrument_names

if TYPE_CHECKING:
    from miditoolkit import MidiFile
    from numpy.typing import NDArray

# One colour for each of General MIDI's sixteen families, so that a piano is blue in every picture; spares for a second
# instrument of a family.
FAMILIES: Final = (
    "#3f74b5", "#39a0b3", "#a06a4c", "#4f9d69", "#5d4a9c", "#9a5fb4", "#dd8f26", "#b5533c",
    "#9c8f2f", "#4aa3a2", "#d1495b", "#5b8fd6", "#c06ca8", "#6f8f3a", "#8a7560", "#7b8794",
)  # fmt: skip
SPARES: Final = ("#1f9e9a", "#e07a5f", "#5a9bd8", "#a44a7b", "#87a330", "#6457a6", "#b8860b", "#3d8f5f")
DRUM_COLOUR: Final = "#555b66"

# The lanes of a drum kit, from below, and the General MIDI percussion that is drawn in each.
KIT: Final = (
    ("kick", {35, 36}),
    ("snare", {37, 38, 39, 40}),
    ("toms", {41, 43, 45, 47, 48, 50}),
    ("hi-hat", {42, 44, 46}),
    ("cymbals", {49, 51, 52, 53, 55, 57, 59}),
    ("percussion", set(range(128))),
)


@dataclass(frozen=True)
class RollLayout:
    """A piece as it is drawn.

    names: of every note's instrument. lines: bar lines in quarters (bars + 1). colours: "#rrggbb" by name, in the order
    of the legend. low, high: MIDI pitches to draw. kit: lanes that are played, from below. lanes: every note's lane, -1
    for notes with a pitch. subtitle: size, tempo and metre in words.
    """

    notes: Notes
    names: NDArray[np.str_]
    lines: NDArray[np.float64]
    colours: dict[str, str]
    low: int
    high: int
    kit: tuple[str, ...]
    lanes: NDArray[np.int64]
    subtitle: str

    @classmethod
    def of(cls, midi: MidiFile) -> RollLayout:
        """Read what is drawn out of `midi`.

        Raises:
            InputError: if a note or a time signature is out of MIDI's range.
        """
        played = notes(midi)
        lines = bar_lines(midi)
        english = np.array([name["en"] for name in instrument_names()])
        names = english[played.program]
        pitched = played.pitch[played.program != DRUMS]
        low, high = (int(pitched.min()), int(pitched.max())) if len(pitched) else (60, 71)
        middle = (low + high) // 2
        kit, lanes = _kit(played)
        return cls(
            played,
            names,
            lines,
            _colours(played.program, names),
            min(low - 2, middle - 12),
            max(high + 2, middle + 12),
            kit,
            lanes,
            _subtitle(midi, lines),
        )

    def systems(self) -> list[tuple[int, int]]:
        """[first, last) bars of each system: up to 16 bars, or 32 in a long piece, by fours."""
        bars = len(self.lines) - 1
        rows = -(-bars // (16 if bars <= 96 else 32))
        each = 4 * -(-bars // (4 * rows)) if rows > 1 else bars
        return [(first, min(first + each, bars)) for first in range(0, bars, each)]


def _kit(played: Notes) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the lanes that are played, from below, and every note's lane; -1 for notes with a pitch."""
    lane = np.full(len(played), -1)
    for index in reversed(range(len(KIT))):
        lane[(played.program == DRUMS) & np.isin(played.pitch, list(KIT[index][1]))] = index
    used = sorted(set(lane[lane >= 0].tolist()))
    dense = np.array([used.index(value) if value >= 0 else -1 for value in lane.tolist()], dtype=np.int64)
    return tuple(KIT[index][0] for index in used), dense


def _colours(programs: NDArray[np.int64], names: NDArray[np.str_]) -> dict[str, str]:
    """A colour for each instrument, the most played first, drums last."""
    found, first, counts = np.unique(names, return_index=True, return_counts=True)
    chosen: dict[str, str] = {}
    for index in np.lexsort((-counts, programs[first] == DRUMS)):
        program = int(programs[first[index]])
        home = DRUM_COLOUR if program == DRUMS else FAMILIES[program // 8]
        spares = itertools.chain([home], SPARES, FAMILIES)
        chosen[str(found[index])] = next((colour for colour in spares if colour not in chosen.values()), home)
    return chosen


def _subtitle(midi: MidiFile, lines: NDArray[np.float64]) -> str:
    """For example "16 bars · 120 qpm · 4/4"."""
    bars = len(lines) - 1
    tempos = [round(change.tempo) for change in midi.tempo_changes] or [120]
    metres = list(dict.fromkeys(f"{s.numerator}/{s.denominator}" for s in midi.time_signature_changes)) or ["4/4"]
    tempo = f"{tempos[0]} qpm" if len(set(tempos)) == 1 else f"{min(tempos)} to {max(tempos)} qpm"
    return f"{bars} bar{'s'[: bars != 1]}  ·  {tempo}  ·  {', '.join(metres[:4])}"
