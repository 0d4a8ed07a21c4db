"""How music is to move: swing and pentatonic scales as a bias on tokens, growing loudness, a kick on every beat."""

from collections.abc import Collection, Sequence
from typing import Final

import torch
from torch import Tensor

from fairseq_meloformer.composing.parts import Part, part_at
from fairseq_meloformer.midi.metre import POSITIONS, beat_of, index_of, length_of
from fairseq_meloformer.tokens.codes import DRUM_PITCHES
from fairseq_meloformer.tokens.vocabulary import Vocabulary

# Nats: what they must overcome to be heard all the same.
_OUTSIDE: Final = -4.0
_GROWTH: Final = 2.0
_THIRDS: Final = POSITIONS // 3
_PENTATONIC: Final = (0, 2, 4, 7, 9)
"""Pitch classes of both C major and A minor, the keys of normalised music, without fourth and seventh of the former."""


def feel(vocabulary: Vocabulary, traits: Collection[str], metre: str) -> Tensor:
    """What traits of styles add to the logits of tokens, whatever stands before them: (vocabulary,) nats.

    Swing leaves the places where triplets are, of which the model chooses; eighths of compound metres are thirds of a
    beat already.
    """
    bias = torch.zeros(len(vocabulary))
    if "swing" in traits and beat_of(index_of(metre)) == POSITIONS:
        onsets = vocabulary.range("o")
        straight = torch.arange(len(onsets)) % _THIRDS != 0
        bias[onsets.start : onsets.stop] += _OUTSIDE * straight
    if "pentatonic" in traits:
        pitches = vocabulary.range("p")[:DRUM_PITCHES]
        classes = torch.arange(len(pitches)) % 12
        bias[pitches.start : pitches.stop] += _OUTSIDE * ~torch.isin(classes, torch.tensor(_PENTATONIC))
    return bias


def growth(part: Part, bar: int, bars: int) -> float:
    """How much louder (softer below 0) than in its middle a part is to be in a bar of a piece of so many.

    In standard deviations of the velocity, in steps of an eighth of the way, so that few tables of bias are needed.
    """
    asked = part.profile.get("dynamics", 0.0)
    length = (bars if part.last is None else min(part.last, bars)) - part.first
    if not asked or length < 2:
        return 0.0
    way = min(1.0, max(0.0, (bar - part.first) / (length - 1)))
    return _GROWTH * asked * (round(8 * way) / 4 - 1)


def kicks(songs: Sequence[Sequence[Part]], bars: int, metres: Sequence[str]) -> Tensor | None:
    """Positions of the bars that have a bass drum on every beat, 0 of the others: (songs, bars); None if none has."""
    lengths = torch.tensor(
        [
            [int(length_of(metre)) * ("kick" in part_at(parts, bar).traits) for bar in range(bars)]
            for parts, metre in zip(songs, metres, strict=True)
        ]
    )
    return lengths if bool(lengths.any()) else None
