"""Key and mode of a passage by the Krumhansl-Schmuckler algorithm.

Source: C. L. Krumhansl, Cognitive Foundations of Musical Pitch (1990), chapter 4; probe-tone profiles of Krumhansl
and Kessler (1982).
"""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairseq_meloformer.midi.keys import key_name

PITCH_NAMES: Final = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MODES: Final = ("major", "minor")

_KRUMHANSL_KESSLER: Final = np.array(
    [
        [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88],  # major
        [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17],  # minor
    ]
)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows made zero-mean and of length 1, so that a dot product of two of them is Pearson's correlation."""
    centred = rows - rows.mean(axis=-1, keepdims=True)
    normalised: NDArray[np.float64] = centred / np.linalg.norm(centred, axis=-1, keepdims=True)
    return normalised


# (24, 12): every key's profile, twelve major keys from C upwards, then twelve minor ones.
_KEYS: Final = _unit(
    np.concatenate([[np.roll(profile, tonic) for tonic in range(12)] for profile in _KRUMHANSL_KESSLER])
)


# A capital that follows "in" or "of", for "A minor change" is no key.
_ENGLISH_KEY: Final = re.compile(r"(?<=\b(?:in|of) )([A-G])(#|b|[ -]sharp|[ -]flat)? (major|minor)\b")
_CHINESE_KEY: Final = re.compile(r"(升|降)?([A-G])([大小]调)")


@dataclass(frozen=True)
class Tonality:
    """What the profiles say of one pitch-class histogram.

    tonic is a pitch class (0 = C), mode "major" or "minor". major and minor are the best correlations among the keys
    of that mode, in [-1, 1]: their difference says how clearly the passage is one or the other (relative keys share
    their notes, so it is often small).
    """

    tonic: int
    mode: str
    major: float
    minor: float

    @property
    def name(self) -> str:
        """For example "F# minor"."""
        return f"{PITCH_NAMES[self.tonic]} {self.mode}"


def tonality(weights: NDArray[np.float64]) -> Tonality | None:
    """Best key for pitch-class `weights` (12,), usually sounding time; None when they favour no pitch class at all."""
    if np.ptp(weights) <= 0:
        return None
    correlations = _KEYS @ _unit(weights)
    best = int(correlations.argmax())
    return Tonality(best % 12, MODES[best // 12], float(correlations[:12].max()), float(correlations[12:].max()))


def transposed(key: str, semitones: int) -> str:
    """A key's name so many semitones higher, such as "C minor" for ("A minor", 3)."""
    tonic, mode = key.split()
    return f"{PITCH_NAMES[(PITCH_NAMES.index(tonic) + semitones) % 12]} {mode}"


def signature(key: str) -> str:
    """MIDI's name of a key, of two that sound alike the one of fewer accidentals: "Db" for "C# major"."""
    tonic, mode = key.split()
    fifths = 7 * (PITCH_NAMES.index(tonic) + 3 * (mode == "minor")) % 12
    sharps = fifths - 12 if fifths > 6 or (fifths == 6 and "b" in tonic) else fifths
    return key_name(sharps, minor=mode == "minor")


def transposed_text(text: str, semitones: int) -> str:
    """A text in which the keys that it names ("in F# minor", 降E大调) are so many semitones higher."""
    text = _ENGLISH_KEY.sub(lambda found: _moved(found, semitones), text)
    return _CHINESE_KEY.sub(lambda found: _moved_chinese(found, semitones), text)


def _tonic(letter: str, accidental: str) -> int:
    step = {"#": 1, "sharp": 1, "升": 1, "b": -1, "flat": -1, "降": -1}.get(accidental.strip(" -"), 0)
    return (PITCH_NAMES.index(letter) + step) % 12


def _moved(found: re.Match[str], semitones: int) -> str:
    letter, accidental, mode = found.groups(default="")
    return f"{PITCH_NAMES[(_tonic(letter, accidental) + semitones) % 12]} {mode}"


def _moved_chinese(found: re.Match[str], semitones: int) -> str:
    accidental, letter, mode = found.groups(default="")
    name = PITCH_NAMES[(_tonic(letter, accidental) + semitones) % 12]
    return {"#": "升", "b": "降"}.get(name[1:], "") + name[0] + mode
