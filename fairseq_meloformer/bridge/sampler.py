"""From standardised texts to standardised plans: the way from the text end back to the music end."""

import itertools
import math
from collections.abc import Sequence
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

from fairseq_meloformer.bridge.process import BridgeProcess
from fairseq_meloformer.encoders.embeddings import TextStates
from fairseq_meloformer.errors import InputError

Method = Literal["deterministic", "posterior"]
_MOST_STEPS: Final = 10_000

# Sampling starts at this tan(theta), short of infinity, and leaves z_music's share of the start out. An error of
# epsilon counts tan(theta) times in z_music, so that form starts where the share, 4 % of the variance, is still small.
_START: Final = {"x0": 50.0, "v": 50.0, "epsilon": 5.0}

# Steps grow towards the text end as a power of the angle. Found by experiment on Gaussians of width .2 to 1.3, for
# which ten steps then differ from five hundred by less than 2 % of the width.
_ANGLE_POWER: Final = 1.75

# How far a guided estimate is brought back to the conditional one's length (Lin et al. 2023, arXiv:2305.08891, eq. 16).
_RESCALE: Final = 0.7


def times(process: BridgeProcess, steps: int) -> Tensor:
    """Times (steps + 1,) in float64 from near the text end down to 0, between which a sampler steps.

    Raises:
        InputError: no step, or more than anybody can wait for.
    """
    if not 1 <= steps <= _MOST_STEPS:
        raise InputError(f"a sampler takes at least one step and at most {_MOST_STEPS}; received {steps}")
    falling = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    angles = math.atan(_START[process.prediction]) * falling[:-1] ** _ANGLE_POWER
    return torch.cat([process.time(angles), falling[-1:]])


@torch.no_grad()
def sample(
    denoiser: nn.Module,
    process: BridgeProcess,
    ends: tuple[Tensor, Tensor],
    text: TextStates,
    mask: Tensor,
    noise: "Noise",
    *,
    guidance_scale: float,
    nfe: int,
    method: Method,
) -> Tensor:
    """Standardised plans.

    Args:
        denoiser: called as `network.Denoiser`.
        process: that the denoiser was trained with.
        ends: mean and standard deviation of z_text, (batch, bars, channels) each.
        text: standardised token states of the batch.
        mask: (batch, bars), True at bars.
        noise: of each item, its own whatever the batch.
        guidance_scale: see ``Bridge.plan``.
        nfe: evaluations of the denoiser (guidance evaluates both halves at once).
        method: "deterministic" (DBIM, second order) or "posterior" (ancestral).

    Returns:
        z_music (batch, bars, channels), zero in padding.
    """
    if method not in get_args(Method):
        raise InputError(f"method must be one of {', '.join(get_args(Method))}; received {method!r}")
    mean, std = ends
    z_text = mean + std * noise.draw()
    steps = times(process, nfe)
    # The first time is so near the text end that z_music's share in it is left out.
    z = (1 - process.alpha(steps[0])) * z_text + process.beta(steps[0]).sqrt() * noise.draw()
    earlier: tuple[Tensor, Tensor] | None = None
    for t, s in itertools.pairwise(steps):
        music = _estimate(denoiser, process, z, t, z_text, text, mask, guidance_scale)
        if method == "posterior":
            middle, spread = process.posterior(z, music, t, s)
            z = middle + spread * noise.draw()
            continue
        sharper = music
        if earlier is not None:
            before, previous = earlier
            sharper = music + process.lookahead(before, t, s) * (music - previous)
        z, earlier = process.implicit(z, sharper, z_text, t, s), (t, music)
    return z * mask[..., None]


def _estimate(
    denoiser: nn.Module,
    process: BridgeProcess,
    z: Tensor,
    t: Tensor,
    z_text: Tensor,
    text: TextStates,
    mask: Tensor,
    guidance_scale: float,
) -> Tensor:
    """Estimate of z_music at time t, under classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598).

    Both halves stand at the same place of the same bridge, between the text's own z_text and the music: only what the
    network is told differs. A null half with an end of its own would be at home at other values of z_t, and the
    difference of the two would point from one end to the other and not from all music to this text's music.
    """
    batch = len(z)
    u = process.observation(z, z_text, t)
    if guidance_scale in (0, 1):
        heard = torch.full((batch,), guidance_scale == 1, device=z.device)
        return process.music(denoiser(u, t.to(u).expand(batch), z_text, text, mask, heard), u, t)
    heard = torch.arange(2 * batch, device=z.device) < batch
    twice = TextStates(*(torch.cat([tensor, tensor]) for tensor in text))
    both = (torch.cat([tensor, tensor]) for tensor in (u, z_text, mask))
    u_twice, z_text_twice, mask_twice = both
    output = denoiser(u_twice, t.to(u).expand(2 * batch), z_text_twice, twice, mask_twice, heard)
    conditional, null = process.music(output, u_twice, t).chunk(2)
    return _rescale(null + guidance_scale * (conditional - null), conditional, mask)


def _rescale(guided: Tensor, conditional: Tensor, mask: Tensor) -> Tensor:
    """Bring a guided estimate's length over an item's bars most of the way back to that of the conditional one."""
    lengths = [(z * mask[..., None]).square().sum((1, 2), keepdim=True).sqrt() for z in (guided, conditional)]
    return guided * (1 - _RESCALE + _RESCALE * lengths[1] / lengths[0].clamp(min=1e-6))


class Noise:
    """Standard normal noise, from one stream per item, drawn on the CPU so that every device gives the same plan."""

    def __init__(self, bars: Sequence[int], seeds: Sequence[int], channels: int, device: torch.device) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._bars, self._channels, self._device = bars, channels, device

    def draw(self) -> Tensor:
        """Noise (batch, bars, channels), zero in padding."""
        rows = [
            torch.randn(count, self._channels, generator=generator)
            for count, generator in zip(self._bars, self._generators, strict=True)
        ]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self._device)
