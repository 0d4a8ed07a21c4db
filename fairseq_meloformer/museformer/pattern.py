"""Which bars a token reads note by note, and which only through their summary token.

Bars are told apart by their *offset*: the bar that is read minus the bar that reads, so the past is negative. A span is
one offset or a pair (first, end) with the end excluded and None for unbounded, as in MuseFormer's `--con2con` and
`--con2sum`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

Span = int | tuple[int | None, int | None]

PUBLISHED_NEAR: tuple[Span, ...] = ((-2, 0), -4, -8, -12, -16, -24, -32)
PUBLISHED_FAR: tuple[Span, ...] = ((None, -32), (-31, -24), (-23, -16), (-15, -12), (-11, -8), (-7, -4), -3)


def contains(spans: Iterable[Span], offset: int) -> bool:
    """Whether an offset lies in one of the spans."""
    for span in spans:
        if isinstance(span, int):
            if offset == span:
                return True
        elif (span[0] is None or offset >= span[0]) and (span[1] is None or offset < span[1]):
            return True
    return False


@lru_cache(maxsize=1024)
def _distances(spans: tuple[Span, ...], limit: int) -> tuple[int, ...]:
    """How many bars back the spans reach: all distances from 1 to `limit` that they hold, descending."""
    return tuple(distance for distance in range(limit, 0, -1) if contains(spans, -distance))


@dataclass(frozen=True)
class BarPattern:
    """The attention scheme of one layer.

    Attributes:
        near: spans of past bars whose tokens are read directly (con2con). The own bar is always read, causally.
        far: spans of past bars that are read through their summary (con2sum).
    """

    near: tuple[Span, ...] = PUBLISHED_NEAR
    far: tuple[Span, ...] = PUBLISHED_FAR

    def near_bars(self, bar: int) -> list[int]:
        """Earlier bars that a token of `bar` reads note by note, ascending."""
        return _read(self.near, bar, 0)

    def far_bars(self, bar: int, first: int = 0) -> list[int]:
        """Earlier bars that are read as summaries, ascending; `first` is negative if there are bars never written."""
        return _read(self.far, bar, first)

    @property
    def reach(self) -> int:
        """How many bars back tokens can be read directly; older keys and values need not be kept."""
        lows = [span if isinstance(span, int) else span[0] for span in self.near]
        if any(low is None for low in lows):
            return 1 << 30
        return -min((low for low in lows if low is not None), default=0)

    def only_near(self, offsets: Sequence[int]) -> "BarPattern":
        """The same scheme with fewer bars read directly; what is no longer near is read as a summary, no bar twice.

        Args:
            offsets: the distances (positive numbers of bars) that stay near; ones that were not near are ignored.
        """
        near = tuple(-offset for offset in offsets if contains(self.near, -offset))
        dropped = tuple(
            -d for d in range(1, min(self.reach, 1 << 10) + 1) if contains(self.near, -d) and -d not in near
        )
        return replace(self, near=near, far=self.far + dropped)


def _read(spans: tuple[Span, ...], bar: int, first: int) -> list[int]:
    span = bar - first
    limit = 1 << max(span, 1).bit_length()  # few distinct limits, so that the table is made once
    return [bar - distance for distance in _distances(spans, limit) if distance <= span]
