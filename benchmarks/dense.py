"""The same model with dense attention: one product of all queries with all keys, and a mask that forbids most."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from fairseq_meloformer.museformer.layers import SelfAttention

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from fairseq_meloformer.museformer.layout import Read


_MASK: dict[tuple[int, ...], Tensor] = {}


@contextmanager
def dense() -> Iterator[None]:
    """Let all MuseFormers read densely, for batches of one song."""

    def read(
        self: SelfAttention,
        query: Sequence[Tensor],
        key: Sequence[Tensor],
        value: Sequence[Tensor],
        key2: Tensor,
        value2: Tensor,
        reads: Sequence[Read],
    ) -> Tensor:
        lengths = [len(queries) for queries in query]
        shape = (len(key2), *lengths)
        if shape not in _MASK:  # made once for all layers and repeats: what is measured is the attention
            _MASK.clear()
            _MASK[shape] = _mask(reads, lengths, len(key2))
        queries = torch.cat(list(query))
        keys, values = torch.cat([key2, *key]), torch.cat([value2, *value])
        return self.attend(queries, keys, values, _MASK[shape])

    original = SelfAttention.read
    SelfAttention.read = read
    try:
        yield
    finally:
        SelfAttention.read = original


def _mask(reads: Sequence[Read], lengths: Sequence[int], rows: int) -> Tensor:
    """(tokens, summaries + tokens) True where a token reads."""
    places = torch.arange(rows, rows + sum(lengths)).split(list(lengths))
    mask = torch.zeros(sum(lengths), rows + sum(lengths), dtype=torch.bool)
    for own, read in zip(places, reads, strict=True):
        columns = torch.cat([*(() if read.rows is None else (read.rows,)), *(places[s] for s in read.segments)])
        mask[own[:, None] - rows, columns] = True if read.mask is None else read.mask
    return mask


def language_loss(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    """Mean cross-entropy in nats of each next token of one song (1, length)."""
    return functional.cross_entropy(model(tokens)[0, :-1].float(), tokens[0, 1:])
