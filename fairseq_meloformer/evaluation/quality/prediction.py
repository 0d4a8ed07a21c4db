"""How well held-out songs are foretold: what reading distant bars buys, and perplexity beside that of n-grams."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer.evaluation.quality.ngram import NGram
from fairseq_meloformer.injection.prefix_training import cross_entropy
from fairseq_meloformer.summaries.extraction import extract
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, PAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairseq_meloformer.museformer.model import MuseFormer

_BATCH: Final = 16
_ORDERS: Final = (1, 3, 5)
_FIRST_BAR: Final = 8  # counted from 0: earlier bars have few distant ones
NEAR: Final = {"all near bars": None, "bars -1 and -2": (1, 2), "no near bars": ()}
"""Distances of the bars that are read note by note; None for all of the model's pattern."""


@torch.inference_mode()
def distant_bars(model: MuseFormer, songs: Sequence[Sequence[int]]) -> dict[str, float]:
    """Nats a token of songs from bar 9 on while the model reads all near bars, bars -1 and -2, and none of them.

    A mean over songs. Bars that are not read note by note are read as summaries. What distant bars buy is what the
    second has more than the first.

    Returns:
        By which bars are read; nothing if no song has nine bars.
    """
    parts = [songs[first : first + _BATCH] for first in range(0, len(songs), _BATCH)]
    nats = {name: torch.cat([_late_nats(reading(model, near), part) for part in parts]) for name, near in NEAR.items()}
    return {name: float(values.nanmean()) for name, values in nats.items() if not values.isnan().all()}


def reading(model: MuseFormer, near: Sequence[int] | None) -> MuseFormer:
    """The same model, weights shared, that reads only bars at these distances note by note."""
    if near is None:
        return model
    narrow = copy.copy(model)
    patterns = tuple(pattern.only_near(near) for pattern in model.config.patterns)
    narrow.config = replace(model.config, patterns=patterns)
    return narrow


def _late_nats(model: MuseFormer, songs: Sequence[Sequence[int]]) -> Tensor:
    """Nats a token of each song's bars from the ninth on, (songs,); NaN where there are none."""
    ids = padded([[BOS, *song] for song in songs])
    errors = functional.cross_entropy(
        model(ids, model.config.chunking)[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none"
    )
    bar = (ids[:, :-1] == BAR_END).cumsum(1)  # of the token that is foretold
    late = (bar >= _FIRST_BAR) & (ids[:, 1:] != PAD)
    return errors.masked_fill(~late, 0).sum(1) / late.sum(1)


@torch.no_grad()
def perplexity(
    model: MuseFormer, songs: Sequence[Sequence[int]], training: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Of songs without a plan, with their own plans, and under n-gram models of other songs.

    A mean over songs of each one's nats a token, so that long songs count no more than short ones.
    """
    nats: dict[str, list[float]] = {"no plan": [], "own plans": []}
    for first in range(0, len(songs), _BATCH):
        ids = padded(songs[first : first + _BATCH])
        plan, mask = extract(model, torch.cat([ids.new_full((len(ids), 1), BOS), ids], 1))
        nats["no plan"] += cross_entropy(model, ids, None, None, model.config.scope).tolist()
        nats["own plans"] += cross_entropy(model, ids, plan, mask, model.config.scope).tolist()
    for order in _ORDERS:
        ngram = NGram(training, order, model.config.vocabulary_size)
        nats[f"{order}-gram"] = [float(np.mean(ngram.nats(song))) for song in songs]
    return {name: float(np.exp(np.mean(values))) for name, values in nats.items()}


def padded(songs: Sequence[Sequence[int]]) -> Tensor:
    """Ids (songs, length)."""
    return pad_sequence([torch.tensor(song) for song in songs], batch_first=True, padding_value=PAD)
