"""One layer of MuseFormer: two streams, regular tokens and one summary token per bar (spec section 5).

Both streams share their projections, so the shared modules appear under two names (`reg_*` and `sum_*`), as in the
published checkpoint.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.layout import Read
from fairseq_meloformer.museformer.precision import Int8Linear


@dataclass(frozen=True)
class LayerOutput:
    """What a layer leaves behind.

    Attributes:
        tokens: (tokens, dim) the regular stream.
        summaries: (finished bars, dim) the summary stream; what comes out of the last layer is never used.
        summarised: (finished bars, dim) the summary tokens themselves, s2 of spec section 5.3.
        key, value: (tokens, heads, head_dim) of the regular stream.
        key2, value2: (rows, heads, head_dim) of the summaries that were read, injected ones included.
    """

    tokens: Tensor
    summaries: Tensor
    summarised: Tensor
    key: Tensor
    value: Tensor
    key2: Tensor
    value2: Tensor


class SelfAttention(nn.Module):
    """Fine-grained attention to near tokens and coarse-grained attention to summaries, in one softmax."""

    def __init__(self, config: MuseFormerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.dropout = config.attention_dropout
        for name in ("query", "key", "value"):
            for stream in ("sum", "reg"):
                self.register_parameter(f"{stream}_{name}_bias", nn.Parameter(torch.zeros(dim)))
            projection = nn.Linear(dim, dim, bias=False)
            self.add_module(f"reg_{name}_proj", projection)
            self.add_module(f"sum_{name}_proj", projection)
        self.reg_out_proj = self.sum_out_proj = nn.Linear(dim, dim)
        self.sum_key2_proj = nn.Linear(dim, dim, bias=False)
        self.sum_value2_proj = nn.Linear(dim, dim, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Upstream's initialisation (spec section 6)."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=1.0 if "out_proj" in name else 1 / math.sqrt(2))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def split(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., heads, head_dim)."""
        return x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)

    def project(self, x: Tensor, stream: str) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (..., heads, head_dim) of a stream, "reg" or "sum"."""
        query, key, value = (
            self.split(getattr(self, f"{stream}_{name}_proj")(x) + getattr(self, f"{stream}_{name}_bias"))
            for name in ("query", "key", "value")
        )
        return query, key, value

    def fused(self) -> nn.Linear:
        """Queries, keys and values of the regular stream by one product: (..., dim) -> (..., 3 * dim). For decoding."""
        names = ("query", "key", "value")
        weight = torch.cat([self.get_parameter(f"reg_{name}_proj.weight") for name in names])
        linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        linear.weight = nn.Parameter(weight)
        linear.bias = nn.Parameter(torch.cat([self.get_parameter(f"reg_{name}_bias") for name in names]))
        return Int8Linear(linear) if isinstance(self.reg_out_proj, Int8Linear) else linear

    def project_summaries(self, summarised: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (rows, heads, head_dim) under which tokens read summaries. Injection hooks in here."""
        return self.split(self.sum_key2_proj(summarised)), self.split(self.sum_value2_proj(summarised))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of (queries, heads, head_dim) to (keys, heads, head_dim) -> (queries, dim)."""
        mixed = functional.scaled_dot_product_attention(
            query.transpose(0, 1)[None],
            key.transpose(0, 1)[None],
            value.transpose(0, 1)[None],
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return mixed[0].transpose(0, 1).flatten(1)

    def summarise(
        self, summaries: Tensor, key: Sequence[Tensor], value: Sequence[Tensor], bars: Sequence[tuple[int, ...]]
    ) -> Tensor:
        """Each finished bar's summary reads itself and the tokens of its bar: s2 (finished bars, dim)."""
        if not bars:
            return summaries
        query, own_key, own_value = self.project(summaries, "sum")
        return torch.cat(
            [
                self.attend(
                    query[row : row + 1],
                    torch.cat([own_key[row : row + 1], *(key[segment] for segment in segments)]),
                    torch.cat([own_value[row : row + 1], *(value[segment] for segment in segments)]),
                    None,
                )
                for row, segments in enumerate(bars)
            ]
        )

    def read(
        self,
        query: Sequence[Tensor],
        key: Sequence[Tensor],
        value: Sequence[Tensor],
        key2: Tensor,
        value2: Tensor,
        reads: Sequence[Read],
    ) -> Tensor:
        """Every token reads what its bar may read -> (tokens, dim).

        Keys are gathered bar by bar, so cost and memory grow linearly with the length of the song.
        """
        mixed = []
        for queries, read in zip(query, reads, strict=True):
            keys = [key[segment] for segment in read.segments]
            values = [value[segment] for segment in read.segments]
            if read.rows is not None:
                keys.insert(0, key2.index_select(0, read.rows))
                values.insert(0, value2.index_select(0, read.rows))
            mixed.append(self.attend(queries, torch.cat(keys), torch.cat(values), read.mask))
        return torch.cat(mixed)


class Layer(nn.Module):
    """Pre-norm layer; layer norms and feed-forward network are shared by both streams."""

    def __init__(self, config: MuseFormerConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.self_attn = SelfAttention(config)
        self.reg_self_attn_layer_norm = self.sum_self_attn_layer_norm = nn.LayerNorm(config.dim)
        self.reg_fc1 = self.sum_fc1 = nn.Linear(config.dim, config.ffn_dim)
        self.reg_fc2 = self.sum_fc2 = nn.Linear(config.ffn_dim, config.dim)
        self.reg_final_layer_norm = self.sum_final_layer_norm = nn.LayerNorm(config.dim)

    def norm(self, x: Tensor) -> Tensor:
        """The layer norm in front of attention."""
        normed: Tensor = self.reg_self_attn_layer_norm(x)
        return normed

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Output projection and feed-forward network, each with its residual: (..., dim) of either stream."""
        x = x + self._drop(self.self_attn.reg_out_proj(mixed))
        hidden = activate(self.reg_fc1(self.reg_final_layer_norm(x)))
        return x + self._drop(self.reg_fc2(hidden))

    def forward(
        self,
        tokens: Tensor,
        summaries: Tensor,
        lengths: Sequence[int],
        bars: Sequence[tuple[int, ...]],
        reads: Sequence[Read],
        extra: int,
    ) -> LayerOutput:
        """Run both streams.

        Args:
            tokens: (tokens, dim) packed.
            summaries: (finished bars, dim).
            lengths: tokens of each segment.
            bars: per finished bar the segments its summary reads.
            reads: per segment what its tokens read.
            extra: rows of summaries that have no bar of their own; they enter as zeros, for a hook to fill.
        """
        query, key, value = self.self_attn.project(self.norm(tokens), "reg")
        keys, values = _segments(key, lengths), _segments(value, lengths)
        summarised = self.self_attn.summarise(self.norm(summaries), keys, values, bars)
        shown = torch.cat([summarised, summarised.new_zeros(extra, summarised.shape[1])]) if extra else summarised
        key2, value2 = self.self_attn.project_summaries(shown)
        mixed = self.self_attn.read(_segments(query, lengths), keys, values, key2, value2, reads)
        return LayerOutput(
            tokens=self.finish(tokens, mixed),
            summaries=self.finish(summaries, summarised),
            summarised=summarised,
            key=key,
            value=value,
            key2=key2,
            value2=value2,
        )

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout) if self.training else x


def activate(hidden: Tensor) -> Tensor:
    """GELU, which fairseq computes in fp32."""
    return functional.gelu(hidden.float()).type_as(hidden)


def _segments(packed: Tensor, lengths: Sequence[int]) -> tuple[Tensor, ...]:
    """Cut (tokens, ...) into segments. In one split, since the gradient of each slice would be as long as the song."""
    return torch.split(packed, list(lengths))
