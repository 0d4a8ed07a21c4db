"""The bridge's mathematics in float64, against closed forms, integrals and Monte Carlo."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fairseq_meloformer.bridge.process import BridgeProcess, Prediction
from fairseq_meloformer.bridge.sampler import times
from fairseq_meloformer.errors import InputError

PROCESSES = [
    BridgeProcess(noise=noise, endpoint_noise=endpoint, schedule=schedule)
    for noise, endpoint, schedule in itertools.product((0.19, 0.5, 1.0), (0.0, 0.5, 1.0), ("linear", "i2sb"))
] + [BridgeProcess(noise=0.0, endpoint_noise=1.0)]

each_process = pytest.mark.parametrize("process", PROCESSES, ids=str)


def f64(value: float | list[float]) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@each_process
def test_ends_are_the_music_and_the_blurred_text(process: BridgeProcess) -> None:
    ends = f64([0.0, 1.0])
    torch.testing.assert_close(process.alpha(ends), f64([1.0, 0.0]))
    torch.testing.assert_close(process.beta(ends), f64([0.0, process.endpoint_noise**2]))
    torch.testing.assert_close(process.angle(ends), f64([0.0, math.pi / 2]))


@each_process
def test_the_bridge_runs_one_way_and_peaks_at_its_noise(process: BridgeProcess) -> None:
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    assert (process.alpha(t).diff() < 0).all()
    assert (process.angle(t).diff() > 0).all()
    bridge_only = process.beta(t) - process.endpoint_noise**2 * (1 - process.alpha(t)) ** 2
    assert bridge_only.max().sqrt().item() == pytest.approx(process.noise, rel=1e-6)


@each_process
def test_time_inverts_angle(process: BridgeProcess) -> None:
    t = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    torch.testing.assert_close(process.time(process.angle(t)), t, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("beta_max", "peak"), [(0.3, 0.19), (1.0, 0.25)])
def test_i2sb_schedule_is_the_papers_discrete_one(beta_max: float, peak: float) -> None:
    # 1000 steps, roots linear from 1e-4 towards beta_max / 1000, the first half mirrored.
    roots = torch.linspace(1e-4**0.5, (beta_max / 1000) ** 0.5, 1000, dtype=torch.float64)[:500]
    betas = torch.cat([roots, roots.flip(0)]) ** 2
    forward, backward = betas.cumsum(0), betas.flip(0).cumsum(0).flip(0) - betas
    alpha, variance = backward / betas.sum(), forward * backward / betas.sum()
    assert variance.max().sqrt().item() == pytest.approx(peak, abs=0.003)

    process = BridgeProcess(noise=variance.max().sqrt().item(), schedule="i2sb")
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(process.alpha(t), alpha, rtol=0, atol=1e-3)
    torch.testing.assert_close(process.beta(t).sqrt(), variance.sqrt(), rtol=0, atol=1e-3)


@each_process
def test_composed_posteriors_keep_the_marginal(process: BridgeProcess) -> None:
    """z_s drawn through q(z_s | z_t, z_music), z_t ~ q(z_t), has the mean and variance of q(z_s), exactly."""
    z_music, z_text = f64(0.8), f64(-1.3)
    for t, s in itertools.pairwise(f64([0.99, 0.7, 0.4, 0.05])):
        mean_t = process.sample(z_music, z_text, t, f64(0.0))
        mean, std = process.posterior(mean_t, z_music, t, s)
        slope = process.posterior(mean_t + 1, z_music, t, s)[0] - mean
        torch.testing.assert_close(mean, process.sample(z_music, z_text, s, f64(0.0)))
        torch.testing.assert_close(slope**2 * process.beta(t) + std**2, process.beta(s))


@pytest.mark.parametrize("process", [p for p in PROCESSES if p.noise > 0], ids=str)
def test_posterior_is_that_of_the_joint_gaussian(process: BridgeProcess) -> None:
    """Against conditioning in a simulated joint: the regression of z_s on z_t over drawn paths."""
    generator = torch.Generator().manual_seed(1)
    paths, steps = 20_000, 10
    t, s = f64(0.75), f64(0.3)
    # A Brownian motion in the time 1 - alpha, from the music end to 1, pinned to a blurred text end.
    clocks = 1 - process.alpha(torch.cat([torch.linspace(0, 1, steps + 1, dtype=torch.float64), s[None], t[None]]))
    order = clocks.argsort()
    spans = clocks[order].diff(prepend=f64([0.0]))
    motion = (torch.randn(paths, len(spans), generator=generator, dtype=torch.float64) * spans.sqrt()).cumsum(1)
    blurred = -1.3 + process.endpoint_noise * torch.randn(paths, 1, generator=generator, dtype=torch.float64)
    bridge = 2 * process.noise * (motion - clocks[order] * motion[:, -1:])
    z = 0.8 + clocks[order] * (blurred - 0.8) + bridge
    z_s, z_t = (z[:, (order == index).nonzero().item()] for index in (steps + 1, steps + 2))

    assert z_t.mean().item() == pytest.approx(process.sample(f64(0.8), f64(-1.3), t, f64(0.0)).item(), abs=0.03)
    assert z_t.var().item() == pytest.approx(process.beta(t).item(), rel=0.04)
    slope = torch.cov(torch.stack([z_s, z_t]))[0, 1] / z_t.var()
    residual = z_s - z_s.mean() - slope * (z_t - z_t.mean())
    mean, std = process.posterior(f64(0.0), f64(0.8), t, s)
    assert slope.item() == pytest.approx((process.posterior(f64(1.0), f64(0.8), t, s)[0] - mean).item(), abs=0.03)
    assert residual.std().item() == pytest.approx(std.item(), rel=0.03)


@given(
    t=st.floats(0.02, 0.98),
    noise=st.floats(0.19, 1.0),
    endpoint_noise=st.sampled_from([0.0, 0.5]),
    schedule=st.sampled_from(["linear", "i2sb"]),
    prediction=st.sampled_from(["x0", "v", "epsilon"]),
    seed=st.integers(0, 99),
)
def test_a_perfect_output_gives_the_music_in_every_form(
    t: float, noise: float, endpoint_noise: float, schedule: str, prediction: Prediction, seed: int
) -> None:
    process = BridgeProcess(noise, endpoint_noise, schedule, prediction)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    z_music, z_text, epsilon = torch.randn(3, 2, 5, 4, generator=generator, dtype=torch.float64)
    times = f64([t, 1 - t])
    z_t = process.sample(z_music, z_text, times, epsilon)
    u_t = process.observation(z_t, z_text, times)
    theta = process.angle(times)[:, None, None]
    torch.testing.assert_close(u_t, theta.cos() * z_music + theta.sin() * epsilon)
    torch.testing.assert_close(process.music(process.target(z_music, epsilon, times), u_t, times), z_music)


def test_v_is_the_velocity_along_the_angle() -> None:
    process = BridgeProcess(noise=0.4, prediction="v")
    z_music, z_text, epsilon = f64([0.7]), f64([-0.2]), f64([1.1])

    def observation(angle: Tensor) -> Tensor:
        t = process.time(angle)
        return process.observation(process.sample(z_music, z_text, t, epsilon), z_text, t)

    angle, step = f64(0.9), 1e-5
    slope = (observation(angle + step) - observation(angle - step)) / (2 * step)
    torch.testing.assert_close(slope, process.target(z_music, epsilon, process.time(angle)), rtol=1e-7, atol=1e-7)


WIDTHS = f64([0.2, 0.5, 1.0])


def sample_toy(process: BridgeProcess, steps: int, *, deterministic: bool, count: int = 4000) -> Tensor:
    """Draw music (count, widths) from N(.7, width^2) with its optimal denoiser, away from a text end at -2."""
    generator = torch.Generator().manual_seed(3)
    z_text = torch.full((count, len(WIDTHS)), -2.0, dtype=torch.float64)
    noise = torch.randn(z_text.shape, generator=generator, dtype=torch.float64)
    moments = times(process, steps)
    z = (1 - process.alpha(moments[0])) * z_text + process.beta(moments[0]).sqrt() * noise
    before = None
    for index, (t, s) in enumerate(itertools.pairwise(moments)):
        theta = process.angle(t)
        u = process.observation(z, z_text, t)
        precision = 1 / WIDTHS**2 + theta.cos() ** 2 / theta.sin() ** 2
        music = (0.7 / WIDTHS**2 + theta.cos() / theta.sin() ** 2 * u) / precision
        if deterministic:
            weight = 0 if before is None else process.lookahead(moments[index - 1], t, s)
            estimate = music if before is None else music + weight * (music - before)
            z, before = process.implicit(z, estimate, z_text, t, s), music
        else:
            mean, std = process.posterior(z, music, t, s)
            z = mean + std * torch.randn(z.shape, generator=generator, dtype=torch.float64)
    return z


@pytest.mark.parametrize("process", [p for p in PROCESSES if p.schedule == "linear"], ids=str)
def test_ten_deterministic_steps_are_within_two_percent_of_five_hundred(process: BridgeProcess) -> None:
    few, many = (sample_toy(process, steps, deterministic=True) for steps in (10, 500))
    assert ((few - many).square().mean(0).sqrt() < 0.02 * WIDTHS).all()
    assert ((many.mean(0) - 0.7).abs() < 0.07 * WIDTHS).all()
    assert (many.std(0) / WIDTHS).sub(1).abs().max() < 0.04


@pytest.mark.parametrize("process", [p for p in PROCESSES if p.noise == 0.5], ids=str)
def test_many_posterior_steps_draw_the_data(process: BridgeProcess) -> None:
    drawn = sample_toy(process, 500, deterministic=False)
    assert ((drawn.mean(0) - 0.7).abs() < 0.07 * WIDTHS).all()
    assert (drawn.std(0) / WIDTHS).sub(1).abs().max() < 0.04


@each_process
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_perfect_denoiser_lands_on_the_music(process: BridgeProcess, steps: int) -> None:
    z_music, z_text, z = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moments = times(process, steps)
    assert moments[0] < 1
    assert (moments.diff() < 0).all()
    for t, s in itertools.pairwise(moments):
        z = process.implicit(z, z_music, z_text, t, s)
    torch.testing.assert_close(z, z_music)


def test_times_differ_per_item() -> None:
    process = BridgeProcess()
    ends = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    noise = torch.ones(2, 3, 4)
    both = process.sample(ends[0], ends[1], torch.tensor([0.2, 0.7]), noise)
    alone = process.sample(ends[0][1:], ends[1][1:], torch.tensor([0.7]), noise[1:])
    assert both.dtype == torch.float32
    torch.testing.assert_close(both[1:], alone)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"noise": 0.0}, "not both 0"),
        ({"noise": -1.0, "endpoint_noise": 1.0}, "noise=-1.0"),
        ({"schedule": "cosine"}, "linear, i2sb"),
        ({"prediction": "x1"}, "x0, v, epsilon"),
        ({"schedule": "i2sb", "noise": 0.1}, "noise >= 0.158"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        BridgeProcess(**settings)  # type: ignore[arg-type]
    for steps in (0, 10**12):
        with pytest.raises(InputError, match=f"at least one step and at most 10000; received {steps}"):
            times(BridgeProcess(), steps)
