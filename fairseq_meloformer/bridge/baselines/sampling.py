"""Plans of the methods that do not denoise, all in one evaluation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fairseq_meloformer.bridge.baselines import vae
from fairseq_meloformer.bridge.embeddings import TextStates
from fairseq_meloformer.bridge.sampler import Noise

if TYPE_CHECKING:
    from fairseq_meloformer.bridge.model import Bridge


@torch.no_grad()
def sample(
    bridge: "Bridge", text: TextStates, bars: Sequence[int], seeds: Sequence[int], guidance_scale: float
) -> tuple[Tensor, Tensor]:
    """Standardised plans, as ``bridge.sampler.sample`` gives them.

    Only retrieval heeds ``guidance_scale``, and only it and the autoencoder heed the seeds: of the others, a text has
    one plan.
    """
    device = bridge.device
    mask = torch.arange(max(bars), device=device) < torch.tensor(bars, device=device)[:, None]
    if bridge.config.method == "retrieval":
        return bridge.retrieval.find(text.pooled, bars, seeds, guidance_scale), mask
    if bridge.config.method == "vae":
        noise = Noise(bars, seeds, vae.PIECE + vae.BAR, device).draw()
        channels = vae.decode(bridge, vae.together(noise[:, 0, : vae.PIECE], noise[..., vae.PIECE :]), text, mask)
    else:
        channels, _ = bridge.ends(text, mask)
    return channels * mask[..., None], mask
