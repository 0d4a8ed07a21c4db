"""Note values: how long a note or rest is written in a bar, so that the beats can be seen."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from fairseq_meloformer.midi.metre import METRES, POSITIONS, beat_of

_NOTES: Final = frozenset({3, 6, 9, 12, 18, 24, 36, 48})
"""Values from the sixteenth to the whole note, in positions (1/12 quarter)."""
_RESTS: Final = {False: _NOTES - {9, 18, 36}, True: _NOTES - {9}}
"""Those of rests, by whether the beats are compound: rests have dots only there."""
_TRIPLETS: Final = frozenset({2, 4, 6, 8})
_HALF: Final = POSITIONS // 2


class Frame(NamedTuple):
    """A bar without its notes: positions of its ends in the piece, and the index of its metre in `METRES`."""

    start: int
    end: int
    metre: int

    @property
    def beat(self) -> int:
        """Positions in a beat."""
        return beat_of(self.metre)

    def strength(self, position: int) -> int:
        """How strong a position of the piece is: 4 bar line, 3 middle of the bar, 2 beat, 1 half a quarter, 0 other."""
        place, length = position - self.start, self.end - self.start
        if place in {0, length}:
            return 4
        if place % self.beat == 0:
            even = METRES[self.metre][0] % 2 == 0 and length > 2 * POSITIONS
            return 3 if even and 2 * place == length else 2
        return 1 if place % _HALF == 0 else 0


def values(frame: Frame, start: int, end: int, triplets: Mapping[int, int], *, rest: bool) -> Iterator[tuple[int, int]]:
    """Cut a note or a rest inside a bar into values that can be read; nothing for none.

    Args:
        frame: the bar.
        start: in positions of the piece.
        end: likewise.
        triplets: beginnings and ends of the beats that are divided by three.
        rest: whether it is a rest, which shows the beats more strictly.

    Yields:
        Start and end of each value.
    """
    if start >= end:
        return
    whole_bar = rest and (start, end) == (frame.start, frame.end)
    cut = None if whole_bar else _cut(frame, start, end, triplets, rest=rest)
    if cut is None:
        yield start, end
    else:
        yield from values(frame, start, cut, triplets, rest=rest)
        yield from values(frame, cut, end, triplets, rest=rest)


def _cut(frame: Frame, start: int, end: int, triplets: Mapping[int, int], *, rest: bool) -> int | None:
    """Where to cut, which is the strongest place inside; None for a value that can be read."""
    for first, last in triplets.items():
        if first <= start and end <= last and (start, end) != (first, last):
            return _cut_triplet(first, start, end)
        if start < first < end < last or first < start < last < end:
            return first if start < first else last
    inside = range(start + 1, end)
    strongest = max((frame.strength(place) for place in inside), default=0)
    ends = frame.strength(start), frame.strength(end)
    allowed = _RESTS[frame.beat % POSITIONS != 0] if rest else _NOTES
    # A syncopation may hide a place that is one step stronger than its ends, a rest none.
    hidden = max(ends) - 1 if rest else max(ends[0], min(ends) + 1)
    if not inside or (end - start in allowed and (strongest <= hidden or not strongest)):
        return None
    if not strongest:
        return max((place for place in inside if place - start in allowed), default=start + 1)
    return next(place for place in inside if frame.strength(place) == strongest)


def _cut_triplet(first: int, start: int, end: int) -> int | None:
    if end - start in _TRIPLETS:
        return None
    return next((place for place in (first + 4, first + 8) if start < place < end), end - 2)
