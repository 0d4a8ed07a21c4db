"""Bars: where they begin, and the time signatures that MuseFormer's tokens can name.

Positions are the grid of the tokens, 1/12 of a quarter note. Bars whose length is not a whole number of positions
(such as 1/32) begin at the nearest position.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from miditoolkit import MidiFile

from fairseq_meloformer.errors import InputError

POSITIONS: Final = 12
"""Positions in a quarter note."""

METRES: Final = tuple(
    (numerator, denominator) for denominator in (1, 2, 4, 8, 16, 32, 64) for numerator in range(1, 2 * denominator + 1)
)
"""Time signature of `s-<index>`."""

INDICES: Final = {metre: index for index, metre in enumerate(METRES)}
COMMON: Final = INDICES[4, 4]
LENGTHS: Final = tuple(4 * POSITIONS * numerator / denominator for numerator, denominator in METRES)
"""Positions in a bar of `s-<index>`."""

_SIXTEENTH: Final = POSITIONS // 4


@dataclass(frozen=True)
class Grid:
    """Bars of a song: `lines` (bars + 1) are their beginnings and the last one's end, in positions; `metres` (bars)."""

    lines: npt.NDArray[np.int64]
    metres: npt.NDArray[np.int64]


def to_positions(ticks: npt.ArrayLike, ticks_per_beat: int) -> npt.NDArray[np.int64]:
    """Nearest positions of ticks; halves go to the even position, as Python's round does."""
    return np.rint(np.asarray(ticks) * POSITIONS / ticks_per_beat).astype(np.int64)


def bar_grid(midi: MidiFile, last: int) -> Grid:
    """Bars from tick 0 to the bar that holds position `last`; 4/4 until a time signature says otherwise.

    A time signature that comes in the middle of a bar begins a new one. The bar that it cuts short gets the metre of
    its own length when this is a number of sixteenths; else it is completed first, and the change comes late. So bars
    always touch, and no note moves.

    Raises:
        InputError: a time signature is not one of `METRES`.
    """
    starts: list[npt.NDArray[np.float64]] = []
    metres: list[int] = []
    at, metre = 0.0, COMMON

    def add(count: int, metre: int) -> float:
        starts.append(at + LENGTHS[metre] * np.arange(count, dtype=np.float64))
        metres.extend([metre] * count)
        return at + LENGTHS[metre] * count

    for position, following in _changes(midi):
        if position > last + 0.5:
            break
        whole, rest = divmod(max(0.0, position - at + 0.5), LENGTHS[metre])
        at = add(int(whole), metre)
        missing = round(rest - 0.5)
        if missing > 0:
            cut = _of_length(missing)
            at = add(1, metre if cut is None else cut)
        metre = following
    add(max(0, int((last - at) // LENGTHS[metre])) + 2, metre)
    lines = np.rint(np.concatenate(starts)).astype(np.int64)
    bars = int(np.searchsorted(lines, last, side="right"))
    return Grid(lines[: bars + 1], np.array(metres[:bars]))


def lines_of(metres: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Bar lines (bars + 1) in positions, not rounded, when bars of these metres (bars) follow each other from 0."""
    return np.append(0.0, np.cumsum(np.array(LENGTHS)[metres]))


def require_four_four(midi: MidiFile) -> None:
    """Raise InputError unless every bar up to the last note is in 4/4."""
    last = max((note.start for track in midi.instruments for note in track.notes), default=0)
    for change in midi.time_signature_changes:
        if change.time <= last and (change.numerator, change.denominator) != (4, 4):
            raise InputError(
                f"The song must be in 4/4 throughout, but its metre is {change.numerator}/{change.denominator} from "
                f"quarter {change.time / midi.ticks_per_beat:g} on. Use the general vocabulary for other metres."
            )


def _changes(midi: MidiFile) -> list[tuple[float, int]]:
    """(position, metre) of each time signature that differs from the one before."""
    changes: dict[float, int] = {}
    for change in sorted(midi.time_signature_changes, key=lambda change: change.time):
        metre = INDICES.get((change.numerator, change.denominator))
        if metre is None:
            raise InputError(
                f"A time signature must be n/d with d a power of two up to 64 and n at most 2 d, but at quarter "
                f"{change.time / midi.ticks_per_beat:g} it is {change.numerator}/{change.denominator}."
            )
        changes[change.time * POSITIONS / midi.ticks_per_beat] = metre
    kept = [(0.0, COMMON)]
    for position, metre in changes.items():
        if metre != kept[-1][1]:
            kept.append((position, metre))
    return kept[1:]


def _of_length(positions: int) -> int | None:
    """Metre of a bar of that many positions, in sixteenths or larger notes; None when there is none."""
    sixteenths, rest = divmod(positions, _SIXTEENTH)
    if rest:
        return None
    denominator = 16
    while sixteenths % 2 == 0 and denominator > 4:
        sixteenths, denominator = sixteenths // 2, denominator // 2
    return INDICES.get((sixteenths, denominator))
