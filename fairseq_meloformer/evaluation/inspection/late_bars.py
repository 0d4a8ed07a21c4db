"""Whether a model knows its way in late bars: if not, it should compose long pieces in passes (`most_bars`)."""

import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.nn import functional

from fairseq_meloformer.composing.composer import ids_of
from fairseq_meloformer.evaluation.inspection.music import InspectedSong
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.tokens.remi import bars as cut

_GROUP: Final = 4  # bars of a row
_CONTEXT: Final = 4  # bars that a shortened song must have before those that are compared


def late_bars(model: MuseFormer, songs: Sequence[InspectedSong]) -> list[dict[str, Any]]:
    """Perplexity of the second halves of songs, as they stand and as if the songs began in their middle.

    A model reads most in the bars right before, so both should be alike; where a bar is much harder to predict as it
    stands, the model has not learnt bars of its number.

    Returns:
        A row for each four bars: `first` and `last` bar (from 1), tokens that were predicted (`tokens`), perplexity
        as they stand (`whole`) and in the shortened song (`shortened`).
    """
    sums: dict[int, list[float]] = {}
    for song in songs:
        bars = cut(song.tokens)
        middle = len(bars) // 2
        compared = range(middle + _CONTEXT, len(bars))
        if not compared:
            continue
        whole, shortened = _losses(model, bars), _losses(model, bars[middle:])
        for bar in compared:
            row = sums.setdefault(bar // _GROUP, [0.0, 0.0, 0.0])
            for place, value in enumerate((len(bars[bar]), whole[bar], shortened[bar - middle])):
                row[place] += value
    return [
        {
            "first": group * _GROUP + 1,
            "last": (group + 1) * _GROUP,
            "tokens": int(tokens),
            "whole": math.exp(whole / tokens),
            "shortened": math.exp(shortened / tokens),
        }
        for group, (tokens, whole, shortened) in sorted(sums.items())
    ]


@torch.inference_mode()
def _losses(model: MuseFormer, bars: Sequence[Sequence[str]]) -> list[float]:
    """Loss of each bar of a song, in nats."""
    tokens = ids_of(model, [token for bar in bars for token in bar])
    logits = model(tokens, model.config.chunking)[0, :-1].float()
    losses = functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
    return [float(part.sum()) for part in torch.split(losses, [len(bar) for bar in bars])]
