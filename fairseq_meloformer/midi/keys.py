"""MIDI's names of keys, and the key of a song, to move every song to C major or A minor as MuseFormer's data were."""

from typing import Final

import numpy as np
import numpy.typing as npt

_DIATONIC: Final = np.isin((np.arange(12)[None] - np.arange(12)[:, None]) % 12, (0, 2, 4, 5, 7, 9, 11))
"""(12, 12): whether a pitch class belongs to the major scale on a tonic."""


def semitones_to_c(pitches: npt.NDArray[np.integer]) -> int:
    """Semitones that bring a song to C major (downwards, 0..-11) or A minor (9..-2), 0 for a song without pitches.

    The scale is the one that most notes belong to; it is minor if its sixth degree sounds more often than its first.
    Every note counts once, whatever its length: this rule was inferred from what MuseFormer's tokeniser did to songs.

    Args:
        pitches: MIDI pitches of the notes (notes,), without drums.
    """
    classes = np.bincount(pitches % 12, minlength=12)
    tonic = int((_DIATONIC @ classes).argmax())
    relative_minor = (tonic + 9) % 12
    if classes[relative_minor] > classes[tonic]:
        return 9 - relative_minor
    return -tonic


def key_name(sharps: int, *, minor: bool) -> str:
    """MIDI's name of the key of so many sharps (-7..7, flats below 0), such as "Bb" or "F#m"."""
    place = sharps + 1 + 3 * minor  # on the line of fifths, from F
    return "FCGDAEB"[place % 7] + ("b", "", "#")[place // 7 + 1] + "m" * minor


def fold(pitches: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pitches moved by whole octaves into 0..127 (a transposed song may leave the range of MIDI at its edges)."""
    folded = np.where(pitches < 0, pitches % 12, pitches)
    return np.where(folded > 127, 116 + (folded - 116) % 12, folded)
