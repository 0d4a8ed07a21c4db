"""One layer of MuseFormer: two streams, regular tokens and one summary token per bar.

Both streams share their projections, so the shared modules appear under two names (`reg_*` and `sum_*`), as in the
published checkpoint.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.precision import Int8Linear

Attention = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""Query (..., queries, heads, head_dim), key and value (..., keys, heads, head_dim) of [summaries; tokens], dropout ->
(..., queries, dim). What each query reads it knows by its making; see `Layout`."""


@dataclass(frozen=True)
class LayerOutput:
    """What a layer leaves behind.

    Attributes:
        tokens: (..., tokens, dim) the regular stream.
        summaries: (..., finished bars, dim) the summary stream; what comes out of the last layer is never used.
        summarised: (..., finished bars, dim) the summary tokens themselves, before the output projection.
        key, value: (..., tokens, heads, head_dim) of the regular stream.
        key2, value2: (..., rows, heads, head_dim) of the summaries that were read, injected ones included.
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
        """Upstream's initialisation."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=1.0 if "out_proj" in name else 1 / math.sqrt(2))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def split(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., heads, head_dim)."""
        return x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)

    def project(self, x: Tensor, stream: str) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (..., heads, head_dim) of a stream, "reg" or "sum", by one product."""
        query, key, value = functional.linear(x, *self._projection(stream)).chunk(3, dim=-1)
        return self.split(query), self.split(key), self.split(value)

    def _projection(self, stream: str) -> tuple[Tensor, Tensor]:
        names = ("query", "key", "value")
        weight = torch.cat([self.get_parameter(f"{stream}_{name}_proj.weight") for name in names])
        return weight, torch.cat([self.get_parameter(f"{stream}_{name}_bias") for name in names])

    def fused(self) -> nn.Linear:
        """The projection of the regular stream as a layer of its own: (..., dim) -> (..., 3 * dim). For decoding."""
        weight, bias = map(nn.Parameter, self._projection("reg"))
        linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        linear.weight, linear.bias = weight, bias
        return Int8Linear(linear) if isinstance(self.reg_out_proj, Int8Linear) else linear

    def project_summaries(self, summarised: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (rows, heads, head_dim) under which tokens read summaries. Injection hooks in here."""
        return self.split(self.sum_key2_proj(summarised)), self.split(self.sum_value2_proj(summarised))


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
        hidden = functional.gelu(self.reg_fc1(self.reg_final_layer_norm(x)))  # of bfloat16 too in float32 within
        return x + self._drop(self.reg_fc2(hidden))

    def summarise(self, summaries: Tensor, key: Tensor, value: Tensor, attention: Attention) -> Tensor:
        """The summary tokens (..., finished bars, dim) of `LayerOutput`; `key` and `value` are the tokens'."""
        query, own_key, own_value = self.self_attn.project(self.norm(summaries), "sum")
        return attention(query, _joined(own_key, key), _joined(own_value, value), self._attention_dropout)

    def forward(
        self, tokens: Tensor, summaries: Tensor, of_summaries: Attention, of_tokens: Attention, extra: int
    ) -> LayerOutput:
        """Run both streams.

        Args:
            tokens: (..., tokens, dim).
            summaries: (..., finished bars, dim).
            of_summaries: attention of summaries, to themselves and to their bars.
            of_tokens: attention of tokens.
            extra: rows of summaries that have no bar of their own; they enter as zeros, for a hook to fill.
        """
        query, key, value = self.self_attn.project(self.norm(tokens), "reg")
        summarised = self.summarise(summaries, key, value, of_summaries)
        key2, value2 = self.self_attn.project_summaries(functional.pad(summarised, (0, 0, 0, extra)))
        mixed = of_tokens(query, _joined(key2, key), _joined(value2, value), self._attention_dropout)
        return LayerOutput(
            tokens=self.finish(tokens, mixed),
            summaries=self.finish(summaries, summarised),
            summarised=summarised,
            key=key,
            value=value,
            key2=key2,
            value2=value2,
        )

    @property
    def _attention_dropout(self) -> float:
        return self.self_attn.dropout if self.training else 0.0

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout) if self.training else x


def _joined(summaries: Tensor, tokens: Tensor) -> Tensor:
    return torch.cat([summaries, tokens], dim=-3)
