"""The reference: attention with a `scaled_dot_product_attention` for each bar, in autograd's hands throughout."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from fairseq_meloformer.museformer import MuseFormer, layout
from fairseq_meloformer.museformer import model as model_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from fairseq_meloformer.museformer.attention import Read
    from fairseq_meloformer.museformer.config import Chunking


class AttentionBySegment:
    """In the place of `AttentionByBar`."""

    def __init__(self, reads: Sequence[Read], summaries: int, device: torch.device) -> None:
        self._reads = reads
        self._summaries = summaries
        self._masks = [_mask(read).to(device) if read.causal else None for read in reads]
        borders = {border for read in reads for places in read.tokens for border in (places.start, places.stop)}
        self._borders = sorted({0, *borders})

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """Attention of (queries, heads, head_dim) to (keys, heads, head_dim) -> (queries, dim)."""
        if not self._reads:
            return query.flatten(1)
        keys, values = self._segments(key), self._segments(value)
        mixed = []
        queries = query.split([len(read.queries) for read in self._reads])
        for own, read, mask in zip(queries, self._reads, self._masks, strict=True):
            chosen = [place for places in read.tokens for place in self._borders if place in places]
            rows = torch.tensor(read.summaries, dtype=torch.long, device=query.device)
            gathered = (
                torch.cat([table.index_select(0, rows), *(tokens[place] for place in chosen)])
                for table, tokens in ((key, keys), (value, values))
            )
            inputs = (x.transpose(0, 1)[None] for x in (own, *gathered))
            attended = functional.scaled_dot_product_attention(*inputs, attn_mask=mask, dropout_p=dropout)
            mixed.append(attended[0].transpose(0, 1).flatten(1))
        return torch.cat(mixed)

    def _segments(self, rows: Tensor) -> dict[int, Tensor]:
        """Tokens between borders, by their first place. In one split: the gradient of a slice is as long as all."""
        tokens = rows[self._summaries :]
        borders = sorted({*self._borders, len(tokens)})
        lengths = [end - start for start, end in pairwise(borders)]
        return dict(zip(borders, tokens.split(lengths), strict=False))


def _mask(read: Read) -> Tensor:
    """(queries, keys) True where a token reads; its own bar comes last."""
    queries, keys = len(read.queries), len(read.summaries) + sum(map(len, read.tokens))
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


@contextmanager
def by_segment() -> Iterator[None]:
    """Let all MuseFormers attend so, on GPUs too."""
    originals = layout.AttentionByBar, MuseFormer.summaries, model_module.pads
    layout.AttentionByBar, MuseFormer.summaries, model_module.pads = AttentionBySegment, _summaries, lambda _: False
    try:
        yield
    finally:
        layout.AttentionByBar, MuseFormer.summaries, model_module.pads = originals


def _summaries(
    model: MuseFormer,
    tokens: Tensor,
    chunking: Chunking = "infer",
    bars: int | None = None,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    """Summaries of a whole pass, in which the last layer's tokens are updated although nothing reads them."""
    songs = layout.lay_out(tokens, chunking, model.config, model.first_bars)
    return songs.by_song(torch.stack([output.summarised for output in model.run(songs)], dim=-2))
