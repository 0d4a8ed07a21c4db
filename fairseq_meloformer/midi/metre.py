"""Bars: where they begin, and the time signatures that MuseFormer's tokens can name.

Positions are the grid of the tokens, 1/12 of a quarter note. Bars whose length is not a whole number of positions
(such as 1/32) begin at the nearest position.
"""

from collections import Counter
from collections.abc import Sequence
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
FOUR_FOUR: Final = "4/4"
COMMON: Final = INDICES[4, 4]
LENGTHS: Final = tuple(4 * POSITIONS * numerator / denominator for numerator, denominator in METRES)
"""Positions in a bar of `s-<index>`."""

_SIXTEENTH: Final = POSITIONS // 4
_MOST_POSITIONS: Final = 64
"""Places of a bar in the published vocabulary."""


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


def spelled(metre: int) -> str:
    """A time signature's name, such as "4/4", from its index."""
    return "{}/{}".format(*METRES[metre])


def index_of(metre: str) -> int:
    """Index of a time signature, such as "4/4", in `METRES`.

    Raises:
        InputError: there is no such one.
    """
    numerator, _, denominator = metre.partition("/")
    if numerator.isdecimal() and denominator.isdecimal():
        index = INDICES.get((int(numerator), int(denominator)))
        if index is not None:
            return index
    raise InputError(
        f"A metre must be n/d with d a power of two up to 64 and n at most 2 d, such as 3/4, but is {metre!r}."
    )


def length_of(metre: str) -> float:
    """Positions in a bar of a metre such as "3/4"."""
    return LENGTHS[index_of(metre)]


def listed(metres: str, most: int) -> list[str]:
    """Metres from a list such as "4/4,3/4" whose bars have no more than `most` positions.

    Raises:
        InputError: one is none, or has more, or its bar lines lie between positions.
    """
    found = [metre.strip() for metre in metres.split(",")]
    for metre in found:
        length = length_of(metre)
        if length > most or length % 1:
            raise InputError(f"A bar must have at most {most} whole positions, but one of {metre} has {length:g}.")
    return found


def beat_of(metre: int) -> int:
    """Positions in a beat: a quarter, or three eighths where eighths come in threes (6/8, 9/8, 12/8)."""
    numerator, denominator = METRES[metre]
    return 3 * POSITIONS // 2 if is_compound(numerator, denominator) else POSITIONS


def is_compound(numerator: int, denominator: int) -> bool:
    """Whether a bar's eighths (or shorter notes) come in threes, as those of 6/8 do."""
    return denominator >= 8 and numerator > 3 and numerator % 3 == 0


def song_grid(midi: MidiFile) -> Grid:
    """Bars up to the one of the last note."""
    last = max((note.start for track in midi.instruments for note in track.notes), default=0)
    return bar_grid(midi, int(to_positions(last, midi.ticks_per_beat)))


def one_metre(grid: Grid) -> int:
    """The metre of all bars.

    Raises:
        InputError: it changes.
    """
    others = np.flatnonzero(grid.metres != grid.metres[0])
    if len(others):
        raise InputError(
            f"The song must keep to one metre, but begins in {spelled(grid.metres[0])} and has a bar of "
            f"{spelled(grid.metres[others[0]])} at quarter {grid.lines[others[0]] / POSITIONS:g}."
        )
    return int(grid.metres[0])


def main_metre(grid: Grid, allowed: Sequence[str]) -> int:
    """The metre, of those allowed, in which most of the song can be counted.

    A bar can be counted in a metre of the same length and kind (2/2 and 8/8 in 4/4, but 3/4 not in 6/8), two in one of
    twice its length (2/4 in 4/4, 3/8 in 6/8), and one that is too long for the tokens in halves (12/8 in 6/8).

    Raises:
        InputError: no part of it can.
    """
    times: dict[int, float] = {}
    for metre, count in Counter(grid.metres.tolist()).items():
        if (counted := _counted(metre, allowed)) is not None:
            times[counted] = times.get(counted, 0.0) + count * LENGTHS[metre]
    if not times:
        raise InputError(
            f"The song must be in {' or '.join(allowed)}, but is in {spelled(grid.metres[0])}. To prepare it, "
            "allow other metres or use the general vocabulary."
        )
    return max(times, key=times.__getitem__)


def regular(grid: Grid, allowed: Sequence[str], first: int) -> tuple[int, int]:
    """The main metre of a song, and by how many positions the song has to begin later so that all its bars have it.

    What comes before the first full bar of the main metre ends a bar: so a pickup is the end of a first bar of its own.
    The last bar may be short or long, and so may those before position `first`, that of the first note.

    Raises:
        InputError: a bar between them is shorter or longer.
    """
    metre = main_metre(grid, allowed)
    bar = LENGTHS[metre]
    lengths = np.diff(grid.lines)
    mine = np.array([_counted(other, allowed) == metre for other in grid.metres.tolist()])
    full = mine & (lengths == bar)
    shift = int(-grid.lines[(full if full.any() else mine).argmax()] % bar)
    begin = (grid.lines[:-1] + shift) % bar
    fits = (begin + lengths <= bar) | ((begin == 0) & (lengths % bar == 0)) | (grid.lines[1:] <= first)
    fits[-1] |= begin[-1] == 0
    if not fits.all():
        wrong = int(np.flatnonzero(~fits)[0])
        raise InputError(
            f"The song must keep to one metre, but is in {spelled(metre)} and has a bar of "
            f"{spelled(grid.metres[wrong])} at quarter {grid.lines[wrong] / POSITIONS:g} that does not fit."
        )
    return metre, shift


def _counted(metre: int, allowed: Sequence[str]) -> int | None:
    """The metre, of those allowed, in which bars of this one can be counted; see `main_metre`."""
    numerator, denominator = METRES[metre]
    ways = [(numerator, denominator), (2 * numerator, denominator)]
    if LENGTHS[metre] > _MOST_POSITIONS and numerator % 2 == 0:
        ways.append((numerator // 2, denominator))
    kinds = {_kind(*METRES[index]): index for index in map(index_of, reversed(allowed))}
    own = next((index for index in map(index_of, allowed) if index == metre), None)
    return own if own is not None else next((kinds[kind] for way in ways if (kind := _kind(*way)) in kinds), None)


def _kind(numerator: int, denominator: int) -> tuple[float, bool]:
    """What metres have in common that differ in spelling alone: quarters of a bar, and whether eighths are threes."""
    return 4 * numerator / denominator, is_compound(numerator, denominator)


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
