"""What sounds together and which pitch classes are used: measures of harmony that tell music from noise."""

from typing import Final

import numpy as np

from fairseq_meloformer.measures.passage import STEPS, Floats, Integers, Passage
from fairseq_meloformer.midi.notes import CLASHES, TRIADS

SIXTEENTH: Final = STEPS // 4
"""Grid steps in a sixteenth."""
_SCALES: Final = np.array(
    [
        np.roll(np.isin(np.arange(12), scale), root)
        for scale in ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # major, natural minor
        for root in range(12)
    ]
)
_TRIADS: Final = np.array([np.isin(np.arange(12), triad) for triad in TRIADS])


def pitch_class_entropy(passage: Passage) -> float | None:
    """Entropy of the pitch classes of all notes without drums, in bits (MusPy's `pitch_class_entropy`)."""
    return _entropy(_pitch_classes(passage.pitched.pitch))


def scale_consistency(passage: Passage) -> float | None:
    """Largest share of the notes without drums that one major or minor scale has (MusPy's `scale_consistency`)."""
    counts = _pitch_classes(passage.pitched.pitch)
    return float((_SCALES @ counts).max() / counts.sum()) if counts.any() else None


def window_entropy(passage: Passage, bars: int) -> float | None:
    """Mean over all windows of so many bars of the entropy of their pitch classes, in bits; silent ones do not count.

    Source: H of Wu and Yang, The Jazz Transformer on the front line (ISMIR 2020), section 5.1; H1 has one bar, H4 four.
    """
    notes = passage.pitched
    of_bars = np.zeros((passage.bars, 12))
    np.add.at(of_bars, (notes.bar, notes.pitch % 12), 1)
    windows = np.lib.stride_tricks.sliding_window_view(of_bars, min(bars, passage.bars), axis=0).sum(-1)
    found = [entropy for row in windows if (entropy := _entropy(row)) is not None]
    return float(np.mean(found)) if found else None


def chords(passage: Passage, per_bar: int = 2) -> Integers:
    """The triad that has most of what sounds in each part of a bar, (bars * per_bar,).

    0..11 are major triads from C upwards, 12..23 minor ones, -1 is silence; drums do not count.
    """
    notes = passage.pitched
    edges = np.interp(np.arange(passage.bars * per_bar + 1) / per_bar, np.arange(passage.bars + 1), passage.lines)
    end = (notes.onset + notes.duration)[:, None]
    sounding = np.clip(np.minimum(end, edges[1:]) - np.maximum(notes.onset[:, None], edges[:-1]), 0, None)
    weights = np.stack([sounding[notes.pitch % 12 == pitch_class].sum(0) for pitch_class in range(12)], axis=1)
    best: Integers = (weights @ _TRIADS.T).argmax(1)
    return np.where(weights.any(1), best, -1)


def chord_kept(passage: Passage) -> float | None:
    """Share of bars whose chord is that of the bar before, of those that have one and follow one."""
    found = chords(passage, per_bar=1)
    follows = (found[1:] >= 0) & (found[:-1] >= 0)
    return float((found[1:] == found[:-1])[follows].mean()) if follows.any() else None


def chord_irregularity(passage: Passage) -> float | None:
    """Share of different ones among the successions of three chords, chords being told apart by half bars.

    Source: chord progression irregularity of Wu and Yang (2020), section 5.3, whose data names its chords; here they
    are `chords`, and one that lasts counts once.
    """
    found = chords(passage)
    found = found[found >= 0]
    changed = found[np.diff(found, prepend=-1) != 0]
    triples = np.lib.stride_tricks.sliding_window_view(changed, 3) if len(changed) > 2 else np.empty((0, 3))
    return len(np.unique(triples, axis=0)) / len(triples) if len(triples) else None


def semitone_clashes(passage: Passage) -> float | None:
    """Share of the sixteenths in which two pitches clash, of those in which two or more pitches sound; without drums.

    Two pitches clash that form a minor second, a major seventh or a minor ninth.
    """
    sounding = _piano_roll(passage.pitched)
    several = sounding.sum(1) > 1
    clash = np.zeros(len(sounding), bool)
    for interval in CLASHES:
        clash |= (sounding[:, interval:] & sounding[:, :-interval]).any(1)
    return float(clash[several].mean()) if several.any() else None


def _piano_roll(passage: Passage) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Which pitches sound at the beginning of each sixteenth or begin in it, (sixteenths, 128)."""
    first = passage.start // SIXTEENTH
    last = np.maximum(first, (passage.start + passage.steps - 1) // SIXTEENTH)
    roll = np.zeros((int(last.max(initial=-1)) + 1, 128), bool)
    for pitch, begin, end in zip(passage.pitch.tolist(), first.tolist(), last.tolist(), strict=True):
        roll[begin : end + 1, pitch] = True
    return roll


def _pitch_classes(pitches: Integers) -> Floats:
    return np.bincount(pitches % 12, minlength=12).astype(np.float64)


def _entropy(counts: Floats) -> float | None:
    """Entropy in bits of what was counted; None of nothing."""
    shares = counts[counts > 0] / max(1.0, counts.sum())
    return float(-(shares * np.log2(shares)).sum()) + 0.0 if len(shares) else None
