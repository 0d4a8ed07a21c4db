"""Whether melodies are copied: the longest run of notes that a piece shares with some training song."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fairseq_meloformer.measures.repetition import melody

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from fairseq_meloformer.measures.passage import Passage

    Hashes = NDArray[np.uint64]

_BASE: Final = np.uint64(0x9E3779B97F4A7C15)  # any odd number, so that it has an inverse modulo 2**64
_INVERSE: Final = np.uint64(pow(int(_BASE), -1, 2**64))
_LONGEST_GAP: Final = 64  # sixteenths


class TrainingMelodies:
    """Melodies of training songs, as what each step is: its interval, and its gap in sixteenths.

    Runs are alike in whatever key and tempo they are.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        songs = [_steps(passage) for passage in passages]
        ends = [np.array([-1 - number]) for number in range(len(songs))]  # unlike any step, and unlike each other
        self._hashes = _Windows(np.concatenate([part for pair in zip(songs, ends, strict=True) for part in pair]))

    def longest_runs(self, passages: Sequence[Passage]) -> list[int]:
        """Notes of the longest run of each passage's melody that is in one of the songs."""
        pieces = [_Windows(_steps(passage)) for passage in passages]
        low = np.zeros(len(pieces), np.int64)
        high = np.array([len(piece) for piece in pieces])
        while (low < high).any():
            middle = (low + high + 1) // 2
            for length in np.unique(middle[low < high]).tolist():
                known = np.unique(self._hashes.of(length))
                for index in np.flatnonzero((middle == length) & (low < high)):
                    if np.isin(pieces[index].of(length), known).any():
                        low[index] = length
                    else:
                        high[index] = length - 1
        return [int(steps) + 1 if steps else 0 for steps in low]


def _steps(passage: Passage) -> NDArray[np.int64]:
    start, pitch = melody(passage)
    return np.minimum(np.diff(start), _LONGEST_GAP) * 256 + np.diff(pitch) + 128


class _Windows:
    """Hashes of all runs of a length in a sequence (Karp and Rabin 1987), modulo 2**64."""

    def __init__(self, steps: NDArray[np.int64]) -> None:
        mixed = (steps.astype(np.uint64) + np.uint64(1)) * _BASE
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _BASE  # numbers that are near must not have hashes that are
        powers = np.cumprod(np.full(len(steps), _BASE))
        self._sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed * powers)])
        self._inverse = np.cumprod(np.full(len(steps), _INVERSE))

    def __len__(self) -> int:
        return len(self._inverse)

    def of(self, length: int) -> Hashes:
        """One hash for each place, (places,); none if the sequence is shorter."""
        if length > len(self):
            return np.zeros(0, np.uint64)
        found: Hashes = (self._sums[length:] - self._sums[:-length]) * self._inverse[: len(self) - length + 1]
        return found
