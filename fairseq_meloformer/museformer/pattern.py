"""Which bars a token reads note by note, and which only through their summary token.

A distance is an *offset*: bar that is read minus bar that reads, so the past is negative. A span is one offset or a pair
(first, end) with the end excluded and None for unbounded, as in MuseFormer's `--con2con` and `--con2sum`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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
        return [other for other in range(max(0, bar - self.reach), bar) if contains(self.near, other - bar)]

    def far_bars(self, bar: int, first: int = 0) -> list[int]:
        """Earlier bars from `first` on (negative: bars that were never written) that are read as summaries, ascending."""
        return [other for other in range(first, bar) if contains(self.far, other - bar)]

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
