"""What tells music from noise, measured: likeness of bars at a distance, distributions of notes, and plain faults.

Measures are of a corpus, a list of passages, so that composed pieces and real ones are compared as corpora.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from fairseq_meloformer.measures.passage import DRUMS, STEPS, Floats, Integers, Passage
from fairseq_meloformer.midi.six_tracks import BASS

LONGEST: Final = 40
"""Distances of bars in the similarity error, as in the MuseFormer paper (Yu et al. 2022, arXiv:2210.10349)."""
_BASSES: Final = (*range(32, 40), BASS)  # programs of General MIDI

Notes = frozenset[tuple[int, ...]]


def bar_notes(passage: Passage) -> list[Notes]:
    """The notes of each bar: steps from the bar line, pitch, length in steps, and whether it is a drum."""
    lines = np.rint((passage.lines - passage.lines[0]) * STEPS).astype(int)
    bar = np.clip(np.searchsorted(lines, passage.start, side="right") - 1, 0, passage.bars - 1)
    columns = np.stack([passage.start - lines[bar], passage.pitch, passage.steps, passage.program == DRUMS], axis=1)
    return [frozenset(map(tuple, columns[bar == index].tolist())) for index in range(passage.bars)]


def similarity(passages: Sequence[Passage], longest: int = LONGEST) -> Floats:
    """Mean likeness of bars at each distance 1..longest, (longest,); NaN where no passage is long enough.

    Likeness is the number of common notes by that of notes in either; two bars without notes say nothing.
    """
    found: list[list[float]] = [[] for _ in range(longest)]
    for bars in map(bar_notes, passages):
        for distance in range(1, min(longest, len(bars) - 1) + 1):
            pairs = zip(bars, bars[distance:], strict=False)
            found[distance - 1] += [len(one & other) / len(one | other) for one, other in pairs if one or other]
    return np.array([np.mean(values) if values else np.nan for values in found], np.float64)


def similarity_error(passages: Sequence[Passage], real: Sequence[Passage], longest: int = LONGEST) -> float:
    """Mean absolute difference of two corpora's likeness of bars, over the distances that both have."""
    return float(np.nanmean(np.abs(similarity(passages, longest) - similarity(real, longest))))


DISTRIBUTIONS: Final[Mapping[str, Callable[[Passage], Integers]]] = {
    "pitch": lambda passage: passage.pitched.pitch,
    "pitch class": lambda passage: passage.pitched.pitch % 12,
    "length": lambda passage: np.minimum(passage.steps, 8 * STEPS),
    "velocity": lambda passage: passage.velocity // 8,
    "gap to the next onset": lambda passage: np.minimum(np.diff(np.unique(passage.start)), 8 * STEPS),
    "notes per bar": lambda passage: np.array([len(bar) // 4 for bar in bar_notes(passage)], np.int64),
}
"""What is drawn from each passage, in whole numbers, for `overlap`."""


def overlap(passages: Sequence[Passage], real: Sequence[Passage], values: Callable[[Passage], Integers]) -> float:
    """Area that the distributions of two corpora have in common, 0..1."""
    drawn = [np.concatenate([values(passage) for passage in corpus]) for corpus in (passages, real)]
    size = max(int(part.max(initial=0)) for part in drawn) + 1
    shares = [np.bincount(part, minlength=size) / max(1, len(part)) for part in drawn]
    return float(np.minimum(*shares).sum())


def faults(passages: Sequence[Passage]) -> dict[str, float]:
    """Shares of what should be rare, or common, in music; means over bars or notes of all passages.

    empty bars: without a note. repeated bars: the same notes as the bar before. longest repetition: bars in a row with
    the same notes, the mean of the passages' longest. drums, bass on the beat: onsets on an eighth of a 4/4 bar.
    """
    bars = [bar_notes(passage) for passage in passages]
    every = [bar for passage in bars for bar in passage]
    pairs = [one == other for passage in bars for one, other in pairwise(passage) if one]
    return {
        "empty bars": _share([not bar for bar in every]),
        "repeated bars": _share(pairs),
        "longest repetition": float(np.mean([_longest_run(passage) for passage in bars])),
        "drums on the beat": _on_the_beat(passages, lambda program: program == DRUMS),
        "bass on the beat": _on_the_beat(passages, lambda program: np.isin(program, _BASSES)),
    }


def _share(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _longest_run(bars: Sequence[Notes]) -> int:
    longest = run = 1
    for one, other in pairwise(bars):
        run = run + 1 if one and one == other else 1
        longest = max(longest, run)
    return longest


def _on_the_beat(passages: Sequence[Passage], kind: Callable[[np.ndarray], np.ndarray]) -> float:
    starts = np.concatenate([passage.start[kind(passage.program)] for passage in passages])
    return _share((starts % (STEPS // 2) == 0).tolist())
