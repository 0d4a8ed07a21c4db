"""Attention in which every bar reads keys of its own. Keys are `[summaries; tokens]`, queries either of the two."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

_ROUNDED = (16, 32)  # queries and keys of a product in bfloat16, for which oneDNN builds a kernel per shape


@dataclass(frozen=True)
class Read:
    """Some queries that read the same keys.

    Attributes:
        queries: their places.
        summaries: the summaries that they read.
        tokens: the tokens that they read.
        causal: the last tokens are the queries themselves, each of which reads only those up to itself.
    """

    queries: range
    summaries: Sequence[int]
    tokens: Sequence[range]
    causal: bool


class AttentionByBar:
    """Bar by bar: what a `Read` reads is gathered, so that cost and memory are linear in it. For CPUs.

    Args:
        reads: every query in one of them.
        summaries: how many there are.
        device: of the tensors.
    """

    def __init__(self, reads: Sequence[Read], summaries: int, device: torch.device) -> None:
        self._groups = [_group(read, summaries, device) for read in reads]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """Attention of (queries, heads, head_dim) to (keys, heads, head_dim) -> (queries, dim)."""
        mixed: Tensor = _ByBar.apply(query, key, value, self._groups, dropout)  # type: ignore[no-untyped-call]
        return mixed.flatten(1)


class AttentionByMask:
    """All queries with all keys, and a mask that forbids most: a handful of kernels, for GPUs.

    Args:
        read: (batch, queries, keys) whether a query reads a key; each at least one.
    """

    def __init__(self, read: Tensor) -> None:
        self._read = read
        self._masks: dict[torch.dtype, Tensor] = {}

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """Attention of (batch, queries, heads, head_dim) to (batch, keys, heads, head_dim) -> (batch, queries, dim)."""
        if query.dtype not in self._masks:  # all layers' alike: what is Boolean is turned into numbers for each call
            mask = torch.zeros_like(self._read, dtype=query.dtype).masked_fill_(~self._read, -torch.inf)
            self._masks[query.dtype] = mask[:, None]
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(query, key, value, self._masks[query.dtype], dropout)
        return mixed.transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class _Group:
    """Rows of queries and keys in tables that begin with a row of zeros.

    Attributes:
        queries: (queries,).
        keys: (keys,).
        mask: (queries, last keys), 0 or -inf, to be added to the scores of the last keys; None for nothing.
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor | None


def _group(read: Read, summaries: int, device: torch.device) -> _Group:
    queries = torch.arange(read.queries.start, read.queries.stop)
    keys = torch.cat(
        [torch.tensor(read.summaries, dtype=torch.long)]
        + [torch.arange(summaries + places.start, summaries + places.stop) for places in read.tokens]
    )
    rounded = _ROUNDED if torch.is_autocast_enabled("cpu") else (1, 1)
    more = -len(queries) % rounded[0] if len(queries) > 1 else 0
    padding = -len(keys) % rounded[1]
    own = len(queries) if read.causal else 0
    mask = torch.zeros(len(queries) + more, own + padding)
    mask[: len(queries)].fill_(-torch.inf).triu_(1) if read.causal else mask[: len(queries)].fill_(-torch.inf)
    return _Group(
        queries=functional.pad(queries + 1, (0, more)).to(device),
        keys=functional.pad(keys + 1, (0, padding)).to(device),
        mask=mask.to(device) if mask.shape[1] else None,
    )


class _ByBar(Function):
    """softmax(Q K' / sqrt(d)) V of each group, and its gradient.

    That is written out, since autograd would make one as long as the whole batch for the keys of every bar.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  torch's
        query: Tensor,
        key: Tensor,
        value: Tensor,
        groups: Sequence[_Group],
        dropout: float,
    ) -> Tensor:
        tables = [_table(x) for x in (query * query.shape[-1] ** -0.5, key, value)]
        mixed = torch.empty_like(tables[0])
        kept: list[Tensor] = []
        for group, (queries, keys, values) in _gathered(groups, tables):
            scores = queries @ keys.mT
            if group.mask is not None:
                scores[..., -group.mask.shape[1] :] += group.mask
            shares = scores.softmax(-1)
            dropped = functional.dropout(torch.ones_like(shares), dropout) if dropout else None
            mixed.index_copy_(1, group.queries, (shares if dropped is None else shares * dropped) @ values)
            if any(ctx.needs_input_grad):
                kept += [shares] if dropped is None else [shares, dropped]
        ctx.groups, ctx.dropout = groups, dropout
        ctx.save_for_backward(*tables, mixed, *kept)
        return _rows(mixed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  torch's
        tables, mixed, kept = ctx.saved_tensors[:3], ctx.saved_tensors[3], iter(ctx.saved_tensors[4:])
        of_mixed = _table(gradient)
        # Over all keys, share times gradient of the share: FlashAttention (Dao et al. 2022, appendix B.2).
        means = (of_mixed * mixed).sum(-1, keepdim=True)
        of_query = torch.empty_like(tables[0])
        # The gradients of many bars are added up, in bfloat16 too coarsely.
        wide = torch.promote_types(of_query.dtype, torch.float32)
        of_key, of_value = (torch.zeros_like(table, dtype=wide) for table in tables[1:])
        for group, (queries, keys, values) in _gathered(ctx.groups, tables):
            mine = of_mixed.index_select(1, group.queries)
            shares = used = next(kept)
            of_shares = mine @ values.mT
            if ctx.dropout:
                dropped = next(kept)
                used, of_shares = shares * dropped, of_shares * dropped
            of_scores = of_shares.sub_(means.index_select(1, group.queries)).mul_(shares)
            of_query.index_copy_(1, group.queries, of_scores @ keys)
            of_key.index_add_(1, group.keys, (of_scores.mT @ queries).to(wide))
            of_value.index_add_(1, group.keys, (used.mT @ mine).to(wide))
        scale = of_query.shape[-1] ** -0.5
        return (_rows(of_query) * scale, _rows(of_key).to(gradient), _rows(of_value).to(gradient), None, None)


def _table(rows: Tensor) -> Tensor:
    """(rows, heads, head_dim) -> (heads, 1 + rows, head_dim): heads first for the products, a row of zeros in front."""
    return functional.pad(rows.transpose(0, 1), (0, 0, 1, 0))


def _rows(table: Tensor) -> Tensor:
    """What `_table` was made of."""
    return table[:, 1:].transpose(0, 1)


def _gathered(groups: Sequence[_Group], tables: Sequence[Tensor]) -> Iterator[tuple[_Group, list[Tensor]]]:
    """Each group with its queries, keys and values (heads, rows, head_dim)."""
    for group in groups:
        places = (group.queries, group.keys, group.keys)
        yield group, [table.index_select(1, rows) for table, rows in zip(tables, places, strict=True)]
