"""A tilt of the logits towards what is asked: louder velocities, longer durations, higher pitches, fuller bars.

Every token of a kind stands for a known number x (a velocity, a pitch). Adding k x / s to its logits, with s the
number's standard deviation in the corpus, is exponential tilting (Esscher 1932): it moves a normal distribution by k
of its standard deviations and leaves its shape alone. What the model finds impossible stays impossible, and within
what it finds likely it still decides. Leaps are tilted likewise: there x is how far a note moves the top line.

The full system uses it; "bridge only" never does.
"""

from collections.abc import Collection, Mapping
from typing import Final

import torch
from torch import Tensor

from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.tokens.codes import DRUM_PITCHES
from fairseq_meloformer.tokens.vocabulary import BAR_END, Vocabulary

# Standard deviations of the numbers of tokens, and middles of those whose absolute value counts, over 5,710 passages'
# bars of the corpus that the embedded model was trained on.
_TEMPO: Final = 5.6
_VELOCITY, _VELOCITY_MIDDLE = 6.4, 24.0
_PITCH, _PITCH_MIDDLE = 15.6, 56.3
_DURATION: Final = 6.6
_ONSET, _ONSET_MIDDLE = 13.9, 22.3
_BAR: Final = 48
# Where a tilt has its far side, in the units above: beyond, what is asked becomes what no song has. Of 2,181 songs one
# in a hundred is softer than 53 in the mean (code 13, -1.7) or has a mean pitch below 40 or above 76 (-1.0, 1.3).
_SOFTEST: Final = -1.4
_FARTHEST: Final = 1.3
_BEYOND: Final = 1.0  # nats a deviation from there on, however little is tilted: the plan goes there too

# Notes are nearly as loud as those before them, which leaves a tilt little to choose from: a soft section after a loud
# one would stay loud. So what is on the wrong side of the middle loses more.
_WRONG_SIDE: Final = 3.0

# How much a note more at the same moment counts against the next onset, in the units above; drums against the others.
_NOTE: Final = 1.0
_DRUM_KIT: Final = 2.0
_REQUIRED: Final = 3.0
# Semitones of the top line from moment to moment, up to an octave, in 143 validation passages.
_LEAP: Final = 4.2

# Krumhansl and Kessler's profiles (1982) of C major minus A minor, the two keys of normalised music, per pitch class.
_MAJOR: Final = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR: Final = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_MODE: Final = tuple(major - _MINOR[(pitch - 9) % 12] for pitch, major in enumerate(_MAJOR))
_MODE_SPREAD: Final = 2.0


def tilt(vocabulary: Vocabulary, asked: Mapping[str, float], required: Collection[int] = ()) -> Tensor:
    """What to add to the logits.

    Args:
        vocabulary: whose tokens.
        asked: standard deviations by which the axes are moved; those that are missing are left alone.
        required: programs that should be heard.

    Returns:
        (vocabulary,) in nats.
    """
    bias = torch.zeros(len(vocabulary))
    numbers = {kind: _numbers(vocabulary, kind) for kind in "tvpdoi"}

    def add(kind: str, values: Tensor) -> None:
        ids = vocabulary.range(kind)
        bias[ids.start : ids.stop] += values

    add("t", asked.get("tempo", 0.0) * numbers["t"] / _TEMPO)
    loud = asked.get("loudness", 0.0)
    volume = (numbers["v"] - _VELOCITY_MIDDLE) / _VELOCITY
    add("v", loud * volume * torch.where(volume * loud < 0, _WRONG_SIDE, 1.0))
    if loud < 0:
        add("v", (loud - _BEYOND) * (_SOFTEST - volume).clamp(min=0))
    add("d", asked.get("sustain", 0.0) * numbers["d"].clamp(max=_BAR) / _DURATION)
    # After a note, another at the same moment competes with the next onset: pitches are counted from their middle,
    # so that asking for high ones does not ask for more of them. Beyond a deviation none is better than another, and
    # the far side is worse: a low piece has the low notes of its instruments, and few that are below them all.
    pitched = numbers["p"] < DRUM_PITCHES
    height = (numbers["p"] - _PITCH_MIDDLE) / _PITCH
    high = asked.get("register", 0.0)
    add("p", high * height.clamp(-1, 1) * pitched)
    add("p", -(high * height - abs(high) * _FARTHEST).clamp(min=0) * pitched)
    add("p", asked.get("mode", 0.0) * torch.tensor(_MODE)[numbers["p"].long() % 12] * pitched / _MODE_SPREAD)
    # A bar is dense if its next onset comes soon, its end late, and notes sound together. After a note, all of these
    # stand to choice; elsewhere the kinds are alone, and what is added to all of a kind cancels.
    dense = asked.get("density", 0.0)
    add("o", -dense * (numbers["o"] - _ONSET_MIDDLE) / _ONSET)
    bias[BAR_END] -= dense * (_BAR - _ONSET_MIDDLE) / _ONSET
    add("p", torch.full_like(numbers["p"], dense * _NOTE))
    add("i", torch.full_like(numbers["i"], dense * _NOTE))
    add("i", asked.get("drums", 0.0) * _DRUM_KIT * (numbers["i"] == DRUMS))
    add("i", _REQUIRED * torch.isin(numbers["i"], torch.tensor(sorted(required), dtype=torch.float)))
    return bias


def leap_tilt(asked: Mapping[str, float]) -> float:
    """What to add to the logits for each semitone by which a note moves the top line; `asked` as for `tilt`."""
    return asked.get("leaps", 0.0) / _LEAP


def _numbers(vocabulary: Vocabulary, kind: str) -> Tensor:
    """Numbers of the tokens of a kind, float."""
    ids = vocabulary.range(kind)
    return torch.tensor([float(symbol.partition("-")[2]) for symbol in vocabulary.symbols[ids.start : ids.stop]])
