"""The same model with dense attention: one product of all queries with all keys, and a mask that forbids most."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from fairseq_meloformer.museformer import layout
from fairseq_meloformer.museformer import model as model_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from fairseq_meloformer.museformer.attention import Read

    Masks = dict[tuple[int, int, int], Tensor]
    """Of one song, by queries, summaries and tokens."""


class AttentionByMask:
    """In the place of `AttentionByBar`."""

    def __init__(self, masks: Masks, reads: Sequence[Read], summaries: int, device: torch.device) -> None:
        queries, tokens = ([read.queries.stop for read in reads], [read.tokens[-1].stop for read in reads])
        shape = (max(queries, default=0), summaries, max(tokens, default=0))
        if shape not in masks:
            masks[shape] = _mask(reads, summaries, shape).to(device)
        self._mask = masks[shape]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """Attention of (queries, heads, head_dim) to (keys, heads, head_dim) -> (queries, dim)."""
        mask = functional.pad(self._mask, (0, len(key) - self._mask.shape[1]))
        inputs = (x.transpose(0, 1)[None] for x in (query, key, value))
        mixed = functional.scaled_dot_product_attention(*inputs, attn_mask=mask, dropout_p=dropout)
        return mixed[0].transpose(0, 1).flatten(1)


@contextmanager
def dense(masks: Masks) -> Iterator[None]:
    """Let all MuseFormers read densely.

    Args:
        masks: what is known of a song's masks, to which new ones are added: so repeats measure the attention alone.
    """
    originals = layout.AttentionByBar, model_module.pads
    layout.AttentionByBar, model_module.pads = partial(AttentionByMask, masks), lambda _: False  # on GPUs too
    try:
        yield
    finally:
        layout.AttentionByBar, model_module.pads = originals


def _mask(reads: Sequence[Read], summaries: int, shape: tuple[int, int, int]) -> Tensor:
    """(queries, summaries + tokens) True where a query reads."""
    mask = torch.zeros(shape[0], shape[1] + shape[2], dtype=torch.bool)
    for read in reads:
        rows = slice(read.queries.start, read.queries.stop)
        mask[rows, list(read.summaries)] = True
        for places in read.tokens:
            mask[rows, summaries + places.start : summaries + places.stop] = True
        if read.causal:  # the last places are the queries themselves
            own = summaries + read.queries.start
            mask[rows, own : own + len(read.queries)] = torch.ones(2 * [len(read.queries)], dtype=torch.bool).tril()
    return mask


def language_loss(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    """Mean cross-entropy in nats of each next token of one song (1, length)."""
    return functional.cross_entropy(model(tokens)[0, :-1].float(), tokens[0, 1:])
