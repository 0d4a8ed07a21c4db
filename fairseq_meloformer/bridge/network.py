"""The three networks of the bridge: the denoiser over bars, the text end, and the number of bars.

The denoiser is a transformer over bars with adaptive layer norms whose gates start at zero (DiT, Peebles & Xie 2023,
arXiv:2212.09748), rotary positions over the bar index (Su et al. 2021, arXiv:2104.09864), normalised queries and keys
(Henry et al. 2020, arXiv:2010.04245) and cross-attention to the text's tokens.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from fairseq_meloformer.encoders.embeddings import TextStates
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.weights import DEEPEST, LARGEST

_FREQUENCIES = 64


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the networks.

    Attributes:
        width: of the states of a bar.
        depth: blocks of the denoiser.
        heads: of every attention.
        conditioning: width of the vector (time, pooled text, number of bars) that steers the layer norms.
        endpoint_depth: blocks of the text end.
        dropout: after every attention and feed-forward layer.
    """

    width: int = 256
    depth: int = 4
    heads: int = 4
    conditioning: int = 96
    endpoint_depth: int = 1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse sizes of which no network can be built."""
        sizes, depths = (self.width, self.heads, self.conditioning), (self.depth, self.endpoint_depth)
        if not (min(*sizes, *depths) >= 1 and max(sizes) <= LARGEST and max(depths) <= DEEPEST):
            raise InputError(
                f"sizes of the bridge's networks must be from 1 to {LARGEST}, depths to {DEEPEST}; received {self}"
            )
        if self.width % (2 * self.heads):
            raise InputError(
                f"width must be a multiple of twice the heads, for rotary positions; "
                f"received width {self.width} and {self.heads} heads"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be in [0, 1); received {self.dropout}")


SIZES = {
    "debug": NetworkConfig(width=32, depth=1, heads=2, conditioning=16, endpoint_depth=1, dropout=0.0),
    "mini": NetworkConfig(width=256, depth=4, heads=4, conditioning=96, endpoint_depth=1),
    "base": NetworkConfig(width=768, depth=8, heads=12, conditioning=256, endpoint_depth=1),
}


class Denoiser(nn.Module):
    """From an observation u_t of the music end, in the light of t, z_text and the text, to the process's prediction."""

    def __init__(self, config: NetworkConfig, channels: int, text_dim: int) -> None:
        super().__init__()
        width = config.width
        self.read = nn.Linear(2 * channels, width)
        self.read_text = nn.Linear(text_dim, width)
        self.null_token = nn.Parameter(torch.zeros(text_dim))
        self.null_pooled = nn.Parameter(torch.zeros(text_dim))
        self.condition = _Condition(config, text_dim)
        self.blocks = nn.ModuleList(Block(config, config.conditioning) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = _zero(nn.Linear(config.conditioning, 2 * width))
        self.write = _zero(nn.Linear(width, channels))

    def forward(self, u_t: Tensor, t: Tensor, z_text: Tensor, text: TextStates, mask: Tensor, heard: Tensor) -> Tensor:
        """Prediction (batch, bars, channels) for the process's ``music``.

        Args:
            u_t: ``BridgeProcess.observation`` (batch, bars, channels).
            t: times (batch,).
            z_text: text end (batch, bars, channels).
            text: standardised token states.
            mask: (batch, bars), True at bars, False at padding.
            heard: (batch,), False where the learned null text takes the text's place. Then z_text is not read either,
                and since u_t is free of it the prediction is that of all music, whatever the text end.
        """
        states = torch.where(heard[:, None, None], text.states, self.null_token)
        pooled = torch.where(heard[:, None], text.pooled, self.null_pooled)
        x = self.read(torch.cat([u_t, z_text * heard[:, None, None]], -1))
        tokens = self.read_text(states)
        condition = self.condition(t, pooled, mask.sum(1))
        for block in self.blocks:
            x = block(x, tokens, mask, text.mask, condition)
        shift, scale = self.modulate(condition)[:, None].chunk(2, -1)
        y: Tensor = self.write(self.norm(x) * (1 + scale) + shift)
        return y


class Endpoint(nn.Module):
    """The text end z_text: one query per bar, made of its place in the piece, reads the text.

    With ``variational`` it gives a mean and a log-variance of every channel.
    """

    def __init__(self, config: NetworkConfig, channels: int, text_dim: int, *, variational: bool) -> None:
        super().__init__()
        width = config.width
        self.place = nn.Linear(4 * _FREQUENCIES, width)
        self.read_text = nn.Linear(text_dim, width)
        self.read_pooled = nn.Linear(text_dim, width)
        self.blocks = nn.ModuleList(Block(config, None) for _ in range(config.endpoint_depth))
        self.norm = nn.LayerNorm(width)
        self.write = _zero(nn.Linear(width, (2 if variational else 1) * channels))

    def forward(self, text: TextStates, mask: Tensor) -> Tensor:
        """(batch, bars, channels), or (batch, bars, 2 channels) if variational, for a mask (batch, bars) of bars."""
        behind = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        ahead = mask.sum(1, keepdim=True) - behind
        x = self.place(torch.cat([_waves(behind), _waves(ahead)], -1)) + self.read_pooled(text.pooled)[:, None]
        tokens = self.read_text(text.states)
        for block in self.blocks:
            x = block(x, tokens, mask, text.mask, None)
        y: Tensor = self.write(self.norm(x))
        return y


class BarsHead(nn.Module):
    """How many bars a text asks for: logits (batch, most) of 1 ... ``most`` bars from pooled text (batch, text_dim)."""

    def __init__(self, text_dim: int, width: int, most: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(text_dim, width), nn.SiLU(), _zero(nn.Linear(width, most)))

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits, element k for k + 1 bars."""
        y: Tensor = self.layers(pooled)
        return y


class Block(nn.Module):
    """Self-attention over bars, cross-attention to the text and a feed-forward layer.

    With a conditioning vector the three norms and gates are steered by it, starting as the identity (adaLN-Zero);
    without one the norms are ordinary and there are no gates.
    """

    def __init__(self, config: NetworkConfig, conditioning: int | None) -> None:
        super().__init__()
        width, plain = config.width, conditioning is None
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=plain) for _ in range(3))
        self.over_bars = Attention(width, config.heads, rotary=True)
        self.to_text = Attention(width, config.heads, rotary=False)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(config.dropout)
        self.modulate = None if conditioning is None else _zero(nn.Linear(conditioning, 9 * width))

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor, token_mask: Tensor, condition: Tensor | None) -> Tensor:
        """States (batch, bars, width) after reading tokens (batch, tokens, width); masks are True at what counts."""
        if self.modulate is None or condition is None:
            nine = x.new_tensor([0.0, 0.0, 1.0] * 3).reshape(9, 1, 1, 1)
        else:
            nine = torch.unflatten(self.modulate(condition)[:, None], -1, (9, -1)).movedim(-2, 0)
        shifts, scales, gates = nine[0::3], nine[1::3], nine[2::3]

        def steered(index: int) -> Tensor:
            y: Tensor = self.norms[index](x) * (1 + scales[index]) + shifts[index]
            return y

        y = steered(0)
        x = x + gates[0] * self.dropout(self.over_bars(y, y, mask))
        x = x + gates[1] * self.dropout(self.to_text(steered(1), tokens, token_mask))
        x = x + gates[2] * self.dropout(self.feed_forward(steered(2)))
        return x


class Attention(nn.Module):
    """Attention with normalised queries and keys, and rotary positions if both are bars."""

    def __init__(self, width: int, heads: int, *, rotary: bool) -> None:
        super().__init__()
        self.heads, self.rotary = heads, rotary
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.query_norm, self.key_norm = (nn.RMSNorm(width // heads, eps=1e-6) for _ in range(2))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(batch, positions, width) from a context (batch, places, width) with a mask (batch, places)."""
        query = _normed(self.query_norm, self._heads(self.query(x)))
        key, value = (self._heads(part) for part in self.key_value(context).chunk(2, -1))
        key = _normed(self.key_norm, key)
        if self.rotary:
            query, key = _rotate(query), _rotate(key)
        mixed = F.scaled_dot_product_attention(query, key, value, mask[:, None, None])
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


def _normed(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """Normalised in the precision of the weights, which products under autocast have left."""
    y: Tensor = norm(x.to(norm.weight.dtype))
    return y


class _Condition(nn.Module):
    """Time, pooled text and number of bars as one vector (batch, conditioning), ready for linear layers."""

    def __init__(self, config: NetworkConfig, text_dim: int) -> None:
        super().__init__()
        self.time = nn.Linear(2 * _FREQUENCIES, config.conditioning)
        self.bars = nn.Linear(2 * _FREQUENCIES, config.conditioning)
        self.text = nn.Linear(text_dim, config.conditioning)
        self.mix = nn.Linear(config.conditioning, config.conditioning)

    def forward(self, t: Tensor, pooled: Tensor, bars: Tensor) -> Tensor:
        together = self.time(_waves(1000 * t)) + self.bars(_waves(bars)) + self.text(pooled)
        return F.silu(self.mix(F.silu(together)))


def _waves(positions: Tensor) -> Tensor:
    """Sines and cosines (..., 2 * 64) of positions (...), of wavelengths from 2 pi to 20,000 pi."""
    steps = torch.arange(_FREQUENCIES, device=positions.device) / (_FREQUENCIES - 1)
    angles = positions[..., None].float() * torch.exp(-math.log(10_000) * steps)
    return torch.cat([angles.sin(), angles.cos()], -1)


def _rotate(x: Tensor) -> Tensor:
    """Turn pairs of channels of (batch, heads, bars, channels) by angles that grow with the bar's index."""
    half = x.shape[-1] // 2
    frequencies = 10_000 ** -(torch.arange(half, device=x.device) / half)
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * frequencies
    cos, sin = angles.cos().to(x), angles.sin().to(x)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, left * sin + right * cos], -1)


def _zero(linear: nn.Linear) -> nn.Linear:
    """Set a linear layer to zero, so that what it steers or writes starts at rest."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
