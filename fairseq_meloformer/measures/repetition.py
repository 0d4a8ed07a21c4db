"""What returns in a piece: figures of its melody, bars, and the groove of its drums."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from fairseq_meloformer.measures.harmony import SIXTEENTH
from fairseq_meloformer.measures.passage import DRUMS, STEPS, Integers, Passage
from fairseq_meloformer.midi.six_tracks import LEAD

FIGURE: Final = 5
"""Notes of a melodic figure."""

Notes = frozenset[tuple[int, ...]]


def melody(passage: Passage) -> tuple[Integers, Integers]:
    """Sixteenth and pitch of each note of the lead, or of the top line where the lead has too few for a figure.

    Of notes that begin together it is the highest.
    """
    lead = passage.where(passage.program == LEAD)
    start, pitch = _highest(lead.start, lead.pitch)
    if len(start) < FIGURE:
        start, pitch = passage.pitched.top_line
    return start // SIXTEENTH, pitch


def figures_again(passage: Passage) -> float | None:
    """Share of the places of the melody whose figure occurs elsewhere in the piece, in whatever transposition.

    A figure is five notes: four intervals and four gaps in sixteenths.
    """
    start, pitch = melody(passage)
    if len(start) < FIGURE:
        return None
    steps = np.stack([np.diff(start), np.diff(pitch)], axis=1)
    figures = [row.tobytes() for row in np.lib.stride_tricks.sliding_window_view(steps, FIGURE - 1, axis=0).copy()]
    times = Counter(figures)
    return sum(times[figure] > 1 for figure in figures) / len(figures)


def like_an_earlier_bar(passage: Passage) -> float | None:
    """Mean over bars 5 on of the largest likeness to an earlier bar.

    Likeness is what two bars have in common of (sixteenth, pitch, program) by what either has (Jaccard); a bar without
    notes says nothing.
    """
    # As a product of matrices, as long songs have many pairs of bars.
    rows = np.stack([passage.step_of_bar // SIXTEENTH, passage.pitch, passage.program], axis=1)
    kinds, kind = np.unique(rows, axis=0, return_inverse=True)
    has = np.zeros((passage.bars, len(kinds)), np.float32)
    has[passage.bar, kind.reshape(-1)] = 1
    common, notes = (has @ has.T).astype(float), has.sum(1)
    likeness = common / np.maximum(notes[:, None] + notes - common, 1)
    return _mean([float(likeness[later, :later].max()) for later in range(4, passage.bars) if notes[later]])


def repeated_bars(passage: Passage) -> float | None:
    """Share of the bars that have the very notes, lengths included, of the bar before; of bars before that have any."""
    bars = bar_notes(passage, 1, passage.pitch, passage.program, passage.steps)
    return _mean([one == other for one, other in pairwise(bars) if one])


def empty_bars(passage: Passage) -> float:
    """Share of the bars in which no note begins."""
    return 1 - len(np.unique(passage.bar)) / passage.bars


def groove_kept(passage: Passage) -> float | None:
    """Mean likeness of neighbouring bars' drums, as (sixteenth, pitch); two bars without drums say nothing."""
    drums = passage.where(passage.program == DRUMS)
    bars = bar_notes(drums, SIXTEENTH, drums.pitch)
    return _mean([_jaccard(one, other) for one, other in pairwise(bars) if one or other])


def groove_consistency(passage: Passage) -> float | None:
    """1 less the mean share of grid steps at which only one of two neighbouring bars has an onset.

    Source: `groove_consistency` of MusPy, at the tokens' 12 steps a quarter.
    """
    longest = round(float(np.diff(passage.lines).max()) * STEPS)
    onsets = np.zeros((passage.bars, longest), bool)
    onsets[passage.bar, passage.step_of_bar] = True
    return float(1 - (onsets[1:] != onsets[:-1]).mean()) if passage.bars > 1 else None


def bar_notes(passage: Passage, unit: int, *columns: Integers) -> list[Notes]:
    """The notes of each bar as rows: place in the bar in units of so many grid steps, then the given columns."""
    rows = np.stack([passage.step_of_bar // unit, *columns], axis=1)
    return [frozenset(map(tuple, rows[passage.bar == bar].tolist())) for bar in range(passage.bars)]


def _highest(start: Integers, pitch: Integers) -> tuple[Integers, Integers]:
    """Of notes that begin together only the highest, in time order."""
    order = np.lexsort((pitch, start))
    last = np.append(np.diff(start[order]) > 0, True)[: len(order)]
    return start[order][last], pitch[order][last]


def _jaccard(one: Notes, other: Notes) -> float:
    return len(one & other) / len(one | other)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
