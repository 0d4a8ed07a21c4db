"""What is measured in each piece, and the quartiles of it over pieces."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from fairseq_meloformer.evaluation.quality.memorisation import TrainingMelodies
from fairseq_meloformer.measures import harmony, repetition
from fairseq_meloformer.measures.attributes import AXES, measure_passage
from fairseq_meloformer.measures.passage import Passage
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.measures.structure import structureness

MEASURES: Final[Mapping[str, Callable[[Passage], float | None]]] = {
    "figures heard again": repetition.figures_again,
    "bar like some earlier bar": repetition.like_an_earlier_bar,
    "semitone clashes": harmony.semitone_clashes,
    "groove kept": repetition.groove_kept,
    "groove consistency": repetition.groove_consistency,
    "in scale": harmony.scale_consistency,
    "pitch-class entropy, bits": harmony.pitch_class_entropy,
    "H1, bits": partial(harmony.window_entropy, bars=1),
    "H4, bits": partial(harmony.window_entropy, bars=4),
    "chord kept": harmony.chord_kept,
    "chord-progression irregularity": harmony.chord_irregularity,
    "repeated bars": repetition.repeated_bars,
    "empty bars": repetition.empty_bars,
}


def arms(pieces: Mapping[str, Sequence[Passage]], melodies: TrainingMelodies, corpus: Quantiles) -> dict[str, Any]:
    """Quartiles of everything by arm, the pieces' own values, and how many of them are extreme.

    Args:
        pieces: by arm.
        melodies: in which copies are looked for.
        corpus: beyond whose 1st or 99th percentile an axis is extreme.
    """
    return {name: _arm(passages, melodies, corpus) for name, passages in pieces.items()}


def _arm(passages: Sequence[Passage], melodies: TrainingMelodies, corpus: Quantiles) -> dict[str, Any]:
    rows = [measured(passage) for passage in passages]
    for row, run in zip(rows, melodies.longest_runs(passages), strict=True):
        row["notes shared with a training song"] = run
    extremes = [corpus.extremes(measure_passage(passage)) for passage in passages]
    return {
        "pieces": len(rows),
        "measures": quartiles(rows),
        "extreme": {
            "on any axis": float(np.mean([bool(axes) for axes in extremes])),
            **{axis: float(np.mean([axis in axes for axes in extremes])) for axis in AXES},
        },
        "rows": rows,
    }


def measured(passage: Passage) -> dict[str, float]:
    """All measures of one piece; what it has nothing to measure of is absent."""
    values = {name: compute(passage) for name, compute in MEASURES.items()}
    structure = {f"structureness, {name}": value for name, value in structureness(passage).items()}
    return {name: value for name, value in values.items() if value is not None} | structure


def quartiles(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Quartiles (`low`, `median`, `high`) of each measure over the pieces that have it, and how many these are."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = {}
    for name in names:
        values = [row[name] for row in rows if name in row]
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        found[name] = {"low": low, "median": median, "high": high, "pieces": len(values)}
    return found
