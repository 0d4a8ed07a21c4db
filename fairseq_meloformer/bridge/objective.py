"""What the bridge is trained on: its own loss, the text end's and the number of bars', and what is logged of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from fairseq_meloformer.bridge.conditioning import withheld
from fairseq_meloformer.bridge.model import Bridge
from fairseq_meloformer.encoders.embeddings import TextStates
from fairseq_meloformer.errors import InputError

# Times are logged in this many equal parts.
QUARTERS = 4


@dataclass(frozen=True)
class Weights:
    """Shares of the parts of the loss.

    Attributes:
        endpoint: squared error of a regressed text end.
        kl: divergence of a variational text end from a standard normal one, per channel.
        bars: cross-entropy of the number of bars.
        latents: divergence of an autoencoder's latents, per channel of a bar.
        text_dropout: share of items whose text is replaced by the null text, for classifier-free guidance.
    """

    endpoint: float = 1.0
    kl: float = 1e-3
    bars: float = 0.1
    latents: float = 0.1
    text_dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse negative weights and shares beyond one."""
        if min(self.endpoint, self.kl, self.bars, self.latents) < 0 or not 0 <= self.text_dropout < 1:
            raise InputError(f"weights must be at least 0 and text_dropout in [0, 1); received {self}")


@dataclass(frozen=True)
class Batch:
    """Songs with their texts.

    Attributes:
        summaries: (batch, bars, layers, dim), raw; anything in padding.
        bars: number of bars of each song (batch,).
        text: raw token states of each song's text.
        seeds: what each song's time, noise and dropout are drawn from, so that they depend on nothing else in the
            batch: any split of the data over processes gives the same loss.
        attributes: (batch, axes) what was measured, from -1 to 1 within the corpus, NaN where nothing was; for bridges
            that are told it.
    """

    summaries: Tensor
    bars: Tensor
    text: TextStates
    seeds: Sequence[int]
    attributes: Tensor | None = None


@dataclass(frozen=True)
class Loss:
    """Sums over the songs of a batch.

    Attributes:
        total: (), with gradient; to be divided by the number of songs.
        songs: number of songs.
        parts: "bridge", "endpoint", "kl" and "bars"; "quarter_<k>" and "quarter_<k>_songs", the bridge's loss of the
            songs whose time fell into that quarter of [0, 1], and their number; "layer_<k>", squared error of the
            estimated standardised summaries of that layer. Without gradient.
    """

    total: Tensor
    songs: int
    parts: dict[str, Tensor]


def loss(bridge: Bridge, batch: Batch, weights: Weights) -> Loss:
    """Loss of a batch, each song counting once whatever its length.

    The networks run in whatever precision the caller's autocast says, all else in float32.
    """
    process = bridge.config.process
    text, z_music, mask = prepared(bridge, batch)
    t, heard, noise, end_noise = _draw(batch, z_music, weights.text_dropout)

    mean, std = (end.float() for end in bridge.ends(text, mask))
    z_text = mean + std * end_noise
    if bridge.config.endpoint == "regressed":
        # The end is what regression makes of it; the bridge takes it as it is.
        z_text = z_text.detach()
    u_t = process.observation(process.sample(z_music, z_text, t, noise), z_text, t)
    output = bridge.denoiser(u_t, t, z_text, text, mask, heard).float()

    error = output - process.target(z_music, noise, t)
    parts = {
        "bridge": over_bars(error.square().mean(-1), mask),
        "endpoint": over_bars((mean - z_music).square().mean(-1), mask),
        "kl": over_bars(_kl(mean, std), mask) if bridge.config.endpoint == "variational" else torch.zeros_like(t),
        "bars": bars_error(bridge, text, batch.bars),
    }
    regressed = weights.endpoint * (bridge.config.endpoint == "regressed")
    total = parts["bridge"] + regressed * parts["endpoint"] + weights.kl * parts["kl"] + weights.bars * parts["bars"]
    with torch.no_grad():
        layers = layer_errors(bridge, process.music(output, u_t, t) - z_music, mask)
        logged = {name: part.detach().sum() for name, part in parts.items()}
        logged |= _quarters(parts["bridge"].detach(), t) | layers
    return Loss(total.sum(), len(t), logged)


def prepared(bridge: Bridge, batch: Batch) -> tuple[TextStates, Tensor, Tensor]:
    """What the networks are told, z_music (batch, bars, channels), zero in padding, and the mask (batch, bars)."""
    mask = torch.arange(batch.summaries.shape[1], device=batch.bars.device) < batch.bars[:, None]
    with torch.autocast(batch.summaries.device.type, enabled=False):
        z_music = bridge.summaries.normalise(batch.summaries.float()) * mask[..., None]
    text = bridge.told(batch.text, None if batch.attributes is None else withheld(batch.attributes, batch.seeds))
    return text, z_music, mask


def bars_error(bridge: Bridge, text: TextStates, bars: Tensor) -> Tensor:
    """Cross-entropy of the number of bars (batch,)."""
    wanted = bars.clamp(max=bridge.config.most_bars) - 1
    return F.cross_entropy(bridge.bars_head(text.pooled), wanted, reduction="none")


def _draw(batch: Batch, z_music: Tensor, text_dropout: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Times (batch,), which texts are heard (batch,), and two noises like z_music, each song's from its own seed."""
    coins, noises = [], []
    for seed, bars in zip(batch.seeds, batch.bars.tolist(), strict=True):
        generator = torch.Generator().manual_seed(seed)
        coins.append(torch.rand(2, generator=generator))
        noises.append(torch.randn(bars, 2, z_music.shape[-1], generator=generator))
    time, coin = torch.stack(coins).to(z_music).unbind(1)
    noise, end_noise = torch.nn.utils.rnn.pad_sequence(noises, batch_first=True).to(z_music).unbind(2)
    return time, coin >= text_dropout, noise, end_noise


def over_bars(values: Tensor, mask: Tensor) -> Tensor:
    """Mean (batch,) of (batch, bars) over the bars of each song."""
    return (values * mask).sum(1) / mask.sum(1)


def _kl(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)), averaged over channels."""
    return (mean.square() + std.square() - 1 - 2 * std.log()).mean(-1) / 2


def _quarters(losses: Tensor, t: Tensor) -> dict[str, Tensor]:
    parts = {}
    for quarter in range(QUARTERS):
        inside = (t * QUARTERS).long().clamp(max=QUARTERS - 1) == quarter
        parts[f"quarter_{quarter}"] = losses[inside].sum()
        parts[f"quarter_{quarter}_songs"] = inside.sum()
    return parts


def layer_errors(bridge: Bridge, error: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Squared error of standardised summaries by layer, summed over songs, for one of channels."""
    per_layer = bridge.summaries.spread(error).square().mean(-1)
    return {f"layer_{layer}": over_bars(per_layer[..., layer], mask).sum() for layer in range(bridge.config.layers)}
