"""What each method is trained on, in the form of the bridge's own objective."""

from dataclasses import replace

import torch
from torch import Tensor

from fairseq_meloformer.bridge import objective
from fairseq_meloformer.bridge.baselines import vae
from fairseq_meloformer.bridge.baselines.methods import DENOISING
from fairseq_meloformer.bridge.model import Bridge
from fairseq_meloformer.bridge.objective import Batch, Loss, Weights, bars_error, layer_errors, over_bars, prepared
from fairseq_meloformer.bridge.sampler import Noise


def loss(bridge: Bridge, batch: Batch, weights: Weights) -> Loss:
    """Loss of a batch, for every method but ``prefix``, which needs tokens (``injection.prefix_training``).

    The parts are those of the bridge, "endpoint" for regression, "reconstruction" and "kl" for the autoencoder,
    "contrast" for retrieval; "bars" for all. Where summaries are estimated, "layer_<k>" as for the bridge.
    """
    method = bridge.config.method
    if method in DENOISING:
        return objective.loss(bridge, batch, weights)
    text, z_music, mask = prepared(bridge, batch)
    parts = {"bars": bars_error(bridge, text, batch.bars)}
    if method == "retrieval":
        parts["contrast"] = bridge.retrieval.contrast(text.pooled, z_music, mask)
        return added(parts, {"bars": weights.bars})
    shares = {"bars": weights.bars}
    if method == "vae":
        noise = Noise(batch.bars.tolist(), batch.seeds, vae.PIECE + vae.BAR, z_music.device).draw()
        latents, kl = bridge.latents(z_music, mask, noise)
        estimate = bridge.latents.decode(bridge.denoiser, latents, text, mask).float()
        parts["kl"] = kl / bridge.summaries.channels
        # For residuals of variance s^2 the evidence bound is error / (2 s^2) + divergence, up to a factor.
        shares["kl"] = weights.latents
        name = "reconstruction"
    else:
        estimate = bridge.ends(text, mask)[0].float()
        name = "endpoint"
    parts[name] = over_bars((estimate - z_music).square().mean(-1), mask)
    result = added(parts, shares)
    with torch.no_grad():
        return replace(result, parts=result.parts | layer_errors(bridge, estimate - z_music, mask))


def added(parts: dict[str, Tensor], shares: dict[str, float]) -> Loss:
    """A loss of parts (batch,), each with its share in it, or whole."""
    total = torch.stack([shares.get(name, 1.0) * part for name, part in parts.items()]).sum()
    songs = len(next(iter(parts.values())))
    return Loss(total, songs, {name: part.detach().sum() for name, part in parts.items()})
