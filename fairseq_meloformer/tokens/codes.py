"""Numbers of the tokens: durations, velocities and tempi on MuseFormer's scales."""

from typing import Final

import numpy as np
import numpy.typing as npt

from fairseq_meloformer.midi.metre import POSITIONS

_OCTAVES: Final = 8
SPANS: Final = np.repeat(2 ** np.arange(_OCTAVES), POSITIONS)
"""(96,) how many durations share each code: 1 in the first octave, then twice as many in each octave."""

SHORTEST: Final = np.concatenate([[0], np.cumsum(SPANS)[:-1]])
"""(96,) shortest duration of each code, in positions."""

_CODES: Final = np.repeat(np.arange(len(SPANS)), SPANS)

TEMPI: Final = 16.0 * 2.0 ** (np.arange(49) / 12)
"""(49,) quarters per minute of each tempo code."""

WHOLE_TEMPI: Final = np.rint(TEMPI)
"""(49,) the same in whole numbers, which are what metronomes have and songs are decoded to."""

VELOCITY_STEP: Final = 4

DRUM_PITCHES: Final = 128
"""Number of the first pitch token that is a drum's."""


def duration_code(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Code 0..95 of durations in positions; whatever is longer than 3,059 positions (63 bars of 4/4) gets 95."""
    return _CODES[np.minimum(positions, len(_CODES) - 1)]


def tempo_code(qpm: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Code 0..48 of tempi in quarters per minute."""
    octaves: npt.NDArray[np.float64] = np.log2(np.clip(qpm, TEMPI[0], TEMPI[-1]) / TEMPI[0])
    return np.rint(12 * octaves).astype(np.int64)
