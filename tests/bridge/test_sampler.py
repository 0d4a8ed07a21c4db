"""Sampling: seeds, guidance, the number of steps."""

import pytest
import torch
from bridge.small import close, small_bridge
from torch import Tensor, nn

from fairseq_meloformer.bridge import Bridge, sampler
from fairseq_meloformer.bridge.process import BridgeProcess
from fairseq_meloformer.encoders.embeddings import TextStates
from fairseq_meloformer.errors import InputError

TEXTS = ["storm", "a calm sea", "暴风雨"]
METHODS = ["deterministic", "posterior"]


def draw(bridge: Bridge, texts: list[str], bars: list[int], seeds: list[int], **settings: object) -> Tensor:
    options = {"guidance_scale": 1.0, "nfe": 4, "method": "deterministic"} | settings
    return bridge.sample(bridge.read(texts), bars, seeds, **options)[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("endpoint", ["regressed", "variational"])
def test_a_plan_does_not_depend_on_its_batch(method: str, guidance_scale: float, endpoint: str) -> None:
    bridge = small_bridge(stirred=True, endpoint=endpoint)
    settings = {"method": method, "guidance_scale": guidance_scale}
    together = draw(bridge, TEXTS, [5, 2, 8], [7, 8, 9], **settings)
    assert together.shape == (3, 8, 12)
    assert not together[1, 2:].any()
    for index, (text, bars, seed) in enumerate(zip(TEXTS, [5, 2, 8], [7, 8, 9], strict=True)):
        close(draw(bridge, [text], [bars], [seed], **settings)[0], together[index, :bars])


@pytest.mark.parametrize("method", METHODS)
def test_seeds_give_other_plans(method: str) -> None:
    bridge = small_bridge(stirred=True)
    first, second = draw(bridge, ["storm", "storm"], [4, 4], [1, 2], method=method)
    assert (first - second).abs().max() > 1e-3


def test_the_null_text_is_the_same_for_all() -> None:
    bridge = small_bridge(stirred=True)
    first, second = draw(bridge, ["storm", "calm"], [4, 4], [1, 1], guidance_scale=0.0)
    close(first, second)
    first, second = draw(bridge, ["storm", "calm"], [4, 4], [1, 1], guidance_scale=1.0)
    assert (first - second).abs().max() > 1e-3


class OptimalDenoiser(nn.Module):
    """The posterior mean of music that is N(text, width^2) in every channel, whatever z_text is."""

    def __init__(self, process: BridgeProcess, width: float) -> None:
        super().__init__()
        self.process, self.width = process, width

    def forward(self, u_t: Tensor, t: Tensor, z_text: Tensor, text: TextStates, mask: Tensor, heard: Tensor) -> Tensor:
        del z_text, mask
        theta = self.process.angle(t)[:, None, None]
        asked = torch.where(heard, text.pooled.mean(1), 0.0)[:, None, None]
        width = torch.where(heard, self.width, 1.0)[:, None, None]
        gain = width**2 * theta.cos() / (width**2 * theta.cos() ** 2 + theta.sin() ** 2)
        return asked + gain * (u_t - theta.cos() * asked)


@pytest.mark.parametrize("process", [BridgeProcess(), BridgeProcess(noise=0.25), BridgeProcess(0.5, 1.0)], ids=str)
def test_ten_steps_draw_the_right_music(process: BridgeProcess) -> None:
    bridge = small_bridge(process=process)
    bridge.denoiser = OptimalDenoiser(process, 0.4)  # type: ignore[assignment]
    text = bridge.read(TEXTS)
    plans = {
        (method, nfe): bridge.sample(text, [200] * 3, [1, 2, 3], guidance_scale=1.0, nfe=nfe, method=method)[0]
        for method, nfe in (("deterministic", 10), ("deterministic", 500), ("posterior", 500))
    }
    few, many, ancestral = plans.values()
    assert (few - many).square().mean().sqrt() < 0.02 * 0.4
    for plan in (few, ancestral):
        torch.testing.assert_close(plan.mean((1, 2)), text.pooled.mean(1), rtol=0, atol=0.05)
        torch.testing.assert_close(plan.std((1, 2)), torch.full((3,), 0.4), rtol=0.06, atol=0)


def test_guidance_pushes_away_from_the_null_text_and_keeps_the_length() -> None:
    bridge = small_bridge()
    bridge.denoiser = OptimalDenoiser(bridge.config.process, 0.4)  # type: ignore[assignment]
    direction = bridge.read(["storm"]).pooled.mean().sign()
    plans = [draw(bridge, ["storm"], [50], [1], guidance_scale=scale, nfe=10) for scale in (0.0, 1.0, 2.0, 20.0)]
    null, conditional, guided, extreme = ((direction * plan).mean().item() for plan in plans)
    assert null < conditional < guided < extreme
    assert plans[3].norm() < 7 * plans[1].norm()
    mask = torch.ones(1, 50, dtype=torch.bool)
    rescaled = sampler._rescale(20 * plans[1], plans[1], mask)
    torch.testing.assert_close(rescaled, (0.3 * 20 + 0.7) * plans[1])


def test_a_null_text_with_its_own_end_would_mislead_guidance() -> None:
    """Why both halves stand on the text's own bridge: then the estimates differ by what the text says, at every t."""
    bridge = small_bridge()
    process = bridge.config.process
    bridge.denoiser = OptimalDenoiser(process, 0.4)  # type: ignore[assignment]
    text = bridge.read(["storm"])
    asked = text.pooled.mean(1).item()
    mask = torch.ones(1, 50, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    z_text = torch.full((1, 50, 12), asked)
    z_music = asked + 0.4 * torch.randn(1, 50, 12, generator=generator)
    t = torch.tensor(0.6, dtype=torch.float64)
    z = process.sample(z_music, z_text, t, torch.randn(1, 50, 12, generator=generator))
    plain = sampler._estimate(bridge.denoiser, process, z, t, z_text, text, mask, 1.0)
    guided = sampler._estimate(bridge.denoiser, process, z, t, z_text, text, mask, 2.0)
    assert ((guided - plain).mean() * asked).item() > 0
    # Read as a point between the null text's end, zero, and the music, the same z looks further along than the text.
    misread = sampler._estimate(bridge.denoiser, process, z, t, torch.zeros_like(z), text, mask, 0.0)
    null = sampler._estimate(bridge.denoiser, process, z, t, z_text, text, mask, 0.0)
    assert abs(misread.mean().item()) > abs(null.mean().item())


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(InputError, match="deterministic, posterior"):
        draw(small_bridge(), ["storm"], [2], [0], method="euler")
