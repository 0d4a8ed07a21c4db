"""How much of a piece some segment of it explains by coming back: fitness of segments, and structureness.

Sources: M. Müller, N. Jiang and P. Grosche, A robust fitness measure for capturing repetitions in music recordings
(IEEE TASLP 21, 2013); S.-L. Wu and Y.-H. Yang, The Jazz Transformer on the front line (ISMIR 2020), section 5.4, with
the settings of its authors' code. There features are of audio, two a second; here they are the notes', one a quarter.
"""

from typing import Final

import numpy as np

from fairseq_meloformer.measures.passage import Floats, Passage

RANGES: Final = {"3 to 8 s": (3, 8), "8 to 15 s": (8, 15), "15 s and more": (15, np.inf)}
_BLUR: Final = 4  # quarters over which pitch classes are averaged
_DIAGONAL: Final = 16  # quarters along which likeness is averaged
_KEPT: Final = 0.15  # share of the likenesses that count
_PENALTY: Final = -2.0  # what the others count


def structureness(passage: Passage) -> dict[str, float]:
    """Largest fitness (0..1) of a segment of each length of `RANGES`; nothing of music without pitched notes."""
    chroma = _pitch_classes(passage.pitched)
    if not chroma.any():
        return {}
    seconds = passage.seconds / len(chroma) * np.arange(1, len(chroma) + 1)  # of a segment of so many quarters
    scape = fitness(self_similarity(chroma))
    return {
        name: float(scape[(seconds >= shortest) & (seconds < longest)].max(initial=0))
        for name, (shortest, longest) in RANGES.items()
    }


def _pitch_classes(passage: Passage) -> Floats:
    """Sounding time of the pitch classes in every quarter, (quarters, 12)."""
    edges = passage.lines[0] + np.arange(max(1, round(passage.quarters)) + 1)
    first, last = passage.onset[:, None], (passage.onset + passage.duration)[:, None]
    sounding = np.clip(np.minimum(last, edges[1:]) - np.maximum(first, edges[:-1]), 0, None)  # (notes, quarters)
    return np.stack([sounding[passage.pitch % 12 == one].sum(0) for one in range(12)], axis=1)


def self_similarity(chroma: Floats) -> Floats:
    """Likeness of every two quarters of pitch classes (quarters, 12), in whatever transposition: (quarters, quarters).

    Cosines, averaged along diagonals; the largest `_KEPT` of them are scaled to 0..1, and the others are `_PENALTY`.
    """
    blurred = np.stack([np.convolve(one, np.ones(_BLUR) / _BLUR, mode="same")[: len(chroma)] for one in chroma.T], 1)
    norm = np.linalg.norm(blurred, axis=1, keepdims=True)
    unit = np.where(norm > 0, blurred / np.where(norm > 0, norm, 1), 12**-0.5)
    likeness = np.max([_along_diagonals(unit @ np.roll(unit, shift, axis=1).T) for shift in range(12)], axis=0)
    least = np.quantile(likeness, 1 - _KEPT)
    scaled = (likeness - least) / max(likeness.max() - least, 1e-9)
    found: Floats = np.where(likeness >= least, np.clip(scaled, 0, 1), _PENALTY)
    np.fill_diagonal(found, 1)
    return found


def _along_diagonals(likeness: Floats) -> Floats:
    """The larger of the means of the next and of the last few values of each diagonal."""
    count, span = len(likeness), _DIAGONAL
    padded = np.pad(likeness, span)
    shifted = [padded[place : place + count, place : place + count] for place in range(1, 2 * span)]
    larger: Floats = np.maximum(sum(shifted[span - 1 :]), sum(shifted[:span])) / span
    return larger


def fitness(likeness: Floats) -> Floats:
    """Fitness of every segment: (lengths, starts), lengths from 1 quarter on, 0 where a segment would not end in time.

    For each segment the family of paths through its columns that has the largest score, by dynamic programming over
    the rows (Müller et al., section III); fitness is the harmonic mean of its normalised score and coverage.
    """
    count = len(likeness)
    found = np.zeros((count, count))
    for length in range(1, count + 1):  # at a time those of one length, which have as many columns
        paths = _Paths(count - length + 1, length)
        for row, columns in enumerate(np.lib.stride_tricks.sliding_window_view(likeness, length, axis=1)):
            paths.advance(row, columns)
        score, cells, covered, _ = paths.between(count)
        normalised = np.maximum(score - length, 0) / np.maximum(cells, 1)
        coverage = np.maximum(covered - length, 0) / count
        found[length - 1, : len(score)] = 2 * normalised * coverage / np.maximum(normalised + coverage, 1e-9)
    return found


class _Paths:
    """Best families of paths that end in each column, or between paths (column 0), for segments of one length.

    Four values (4, segments, columns + 1): score, cells of the paths, rows that finished paths cover, first row of the
    last path.
    """

    def __init__(self, segments: int, length: int) -> None:
        self._before = np.zeros((4, segments, length + 1))
        self._before[0] = -np.inf
        self._last = self._before.copy()
        self._last[0, :, 0] = 0

    def advance(self, row: int, likeness: Floats) -> None:
        """One more row of likeness (segments, columns)."""
        now = np.empty_like(self._last)
        now[..., 0] = now[..., 1] = self.between(row)
        now[3, :, 1] = row
        now[..., 2:] = self._last[..., 1:-1]
        _take_better(now[..., 2:], self._before[..., 1:-1])
        _take_better(now[..., 3:], self._last[..., 1:-2])
        now[0, :, 1:] += likeness
        now[1, :, 1:] += 1
        self._before, self._last = self._last, now

    def between(self, row: int) -> Floats:
        """Before a row no path is under way, (4, segments): none was, or one ended in the row before."""
        ended = self._last[..., -1].copy()
        ended[2] += row - ended[3]
        found = self._last[..., 0].copy()
        _take_better(found, ended)
        return found


def _take_better(best: Floats, other: Floats) -> None:
    """Put columns (4, ...) in the place of those that have a lower score."""
    np.copyto(best, other, where=other[0] > best[0])
