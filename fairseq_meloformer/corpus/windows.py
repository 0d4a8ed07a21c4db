"""Passages of songs to train on: consecutive windows of a fixed or drawn number of bars."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairseq_meloformer.errors import InputError

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True)
class Windows:
    """How songs are cut.

    Attributes:
        shortest, longest: bars of a window, drawn anew for every window; None for whole songs.
        hop: bars from one window's start to the next one's; None for windows that touch without overlap.
    """

    shortest: int | None = None
    longest: int | None = None
    hop: int | None = None

    @classmethod
    def parse(cls, bars: str | None, hop: int | None) -> Windows:
        """Read "16" or "8-64" (None: whole songs), and the hop.

        Raises:
            InputError: if it is neither, or a number is below 1.
        """
        if hop is not None and (bars is None or hop < 1):
            raise InputError(f"a hop must be at least 1 bar and needs a number of bars per window, received {hop}")
        if bars is None:
            return cls()
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", bars)
        shortest, longest = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= shortest <= longest:
            raise InputError(f"a window's bars must be a number such as 16 or a range such as 8-64, received {bars!r}")
        return cls(shortest, longest, hop)

    def cut(self, bars: int, rng: Random) -> list[tuple[int, int]]:
        """Windows [first, end) of a song of `bars` bars.

        What is left at the end is a window of its own if it is long enough: the least that may be drawn, or half of a
        fixed length. A song that is too short even for that is one window.
        """
        if self.shortest is None or self.longest is None:
            return [(0, bars)]
        least = self.shortest if self.shortest < self.longest else (self.shortest + 1) // 2
        windows: list[tuple[int, int]] = []
        first = 0
        while bars - first >= least and (not windows or windows[-1][1] < bars):
            end = min(bars, first + rng.randint(self.shortest, self.longest))
            windows.append((first, end))
            first = first + self.hop if self.hop else end
        return windows or [(0, bars)]
