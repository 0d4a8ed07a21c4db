"""The diffusion bridge between a text end and a music end: the mathematics, and nothing else.

Time runs from the music end at ``t = 0`` to the text end at ``t = 1``; sampling runs backwards, from 1 to 0. The
forward process is

    q(z_t | z_text, z_music) = N(alpha_t z_music + (1 - alpha_t) z_text, beta_t I),                                  (1)
    beta_t = 4 sigma^2 alpha_t (1 - alpha_t) + gamma^2 (1 - alpha_t)^2,                                              (2)

a Brownian bridge on the clock ``1 - alpha_t`` whose standard deviation peaks at sigma (``noise``), started from a text
end that is itself blurred by gamma (``endpoint_noise``). The schedule is the clock: ``linear`` has alpha_t = 1 - t;
``i2sb`` is the symmetric one of I2SB (Liu et al. 2023, arXiv:2302.05872, eq. 11), where sigma = .19 and .25 are that
paper's beta_max = .3 and 1. ``noise=0, endpoint_noise=1`` with z_text = 0 is a Gaussian source.

Given z_text, everything that z_t says about z_music is in

    u_t = (z_t - (1 - alpha_t) z_text) / sqrt(alpha_t^2 + beta_t) = cos(theta_t) z_music + sin(theta_t) epsilon,     (3)

with tan(theta_t) = sqrt(beta_t) / alpha_t. u_t has unit variance when z_music has, so it is what a network reads, and
the three predictions of the one preconditioner are epsilon, z_music (``x0``) and v = cos(theta) epsilon - sin(theta)
z_music (Salimans & Ho 2022, arXiv:2202.00512), the velocity du/dtheta.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from fairseq_meloformer.errors import InputError

Schedule = Literal["linear", "i2sb"]
Prediction = Literal["x0", "v", "epsilon"]

# I2SB's diffusion coefficient starts at .1 (1e-4 in each of 1000 steps); its root grows linearly up to the middle.
_I2SB_ROOT = math.sqrt(0.1)


@dataclass(frozen=True)
class BridgeProcess:
    """The forward process and its exact reversals, for given ends.

    Times ``t`` and ``s`` are tensors of shape () or (batch,); ends, noise and states are (batch, ..., channels).

    Attributes:
        noise: sigma, the greatest standard deviation of the bridge itself.
        endpoint_noise: gamma, the standard deviation of the text end.
        schedule: the clock, see the module's text.
        prediction: what a network's output stands for.
    """

    noise: float = 1.0
    endpoint_noise: float = 0.0
    schedule: Schedule = "linear"
    prediction: Prediction = "x0"

    def __post_init__(self) -> None:
        """Refuse settings with which equation 2 leaves no noise, or which name no known form."""
        if self.noise < 0 or self.endpoint_noise < 0 or self.noise + self.endpoint_noise == 0:
            raise InputError(
                "a bridge needs noise >= 0 and endpoint_noise >= 0, not both 0; "
                f"received noise={self.noise}, endpoint_noise={self.endpoint_noise}"
            )
        for name, value, known in (
            ("schedule", self.schedule, get_args(Schedule)),
            ("prediction", self.prediction, get_args(Prediction)),
        ):
            if value not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}; received {value!r}")
        if self.schedule == "i2sb" and self._i2sb_root_growth < 0:
            raise InputError(f"the i2sb schedule exists for noise >= {_I2SB_ROOT / 2:.4f}; received noise={self.noise}")

    # The forward process.

    def alpha(self, t: Tensor) -> Tensor:
        """Weight of the music end at time ``t``."""
        if self.schedule == "linear":
            return 1 - t
        early = torch.minimum(t, 1 - t)
        grown = _I2SB_ROOT**2 * early + _I2SB_ROOT * self._i2sb_root_growth * early**2
        share = (grown + self._i2sb_root_growth**2 * early**3 / 3) / (4 * self.noise**2)
        return torch.where(t < 0.5, 1 - share, share)

    def beta(self, t: Tensor) -> Tensor:
        """Variance at time ``t``, equation 2."""
        alpha = self.alpha(t)
        return 4 * self.noise**2 * alpha * (1 - alpha) + self.endpoint_noise**2 * (1 - alpha) ** 2

    def angle(self, t: Tensor) -> Tensor:
        """Theta of equation 3, in [0, pi / 2]."""
        alpha = self.alpha(t)
        # Without endpoint noise both arguments vanish at the text end, where the limit is all noise.
        return torch.where(alpha > 0, torch.atan2(self.beta(t).sqrt(), alpha), math.pi / 2)

    def time(self, angle: Tensor) -> Tensor:
        """Time at which theta is ``angle``, the inverse of ``angle``."""
        # cot^2 (4 sigma^2 odds + gamma^2) = odds^2, solved for the odds.
        cot = 1 / torch.tan(angle)
        half = 2 * self.noise**2 * cot**2
        clock = 1 / (1 + half + (half**2 + (self.endpoint_noise * cot) ** 2).sqrt())
        if self.schedule == "linear":
            return clock
        # The clock's cubic, (root + growth t)^3 = root^3 + 3 growth V, written so that growth may be 0.
        growth = self._i2sb_root_growth
        variance = 4 * self.noise**2 * torch.minimum(clock, 1 - clock)
        root = (_I2SB_ROOT**3 + 3 * growth * variance) ** (1 / 3)
        early = 3 * variance / (root**2 + root * _I2SB_ROOT + _I2SB_ROOT**2)
        return torch.where(clock < 0.5, early, 1 - early)

    def sample(self, z_music: Tensor, z_text: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Draw z_t, equation 1, from a standard normal ``noise``."""
        alpha, beta = _over(self.alpha(t), z_music), _over(self.beta(t), z_music)
        return alpha * z_music + (1 - alpha) * z_text + beta.sqrt() * noise

    # The preconditioner.

    def observation(self, z_t: Tensor, z_text: Tensor, t: Tensor) -> Tensor:
        """Return u_t, equation 3: what z_t says about z_music, in unit variance."""
        alpha, beta = _over(self.alpha(t), z_t), _over(self.beta(t), z_t)
        return (z_t - (1 - alpha) * z_text) / (alpha**2 + beta).sqrt()

    def target(self, z_music: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the network's output should be."""
        if self.prediction == "x0":
            return z_music
        if self.prediction == "epsilon":
            return noise
        theta = _over(self.angle(t), z_music)
        return theta.cos() * noise - theta.sin() * z_music

    def music(self, output: Tensor, u_t: Tensor, t: Tensor) -> Tensor:
        """Turn a network's output into its estimate of z_music."""
        if self.prediction == "x0":
            return output
        theta = _over(self.angle(t), u_t)
        if self.prediction == "epsilon":
            return (u_t - theta.sin() * output) / theta.cos()
        return theta.cos() * u_t - theta.sin() * output

    # The way back.

    def posterior(self, z_t: Tensor, z_music: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (batch, ..., channels) and standard deviation of q(z_s | z_t, z_music) for s < t.

        The bridge is Markov, so z_text, and with it the noise on that end, drops out: what is left is the Brownian
        bridge from z_music to z_t (I2SB, eq. 4; DDPM's posterior on this clock).
        """
        ratio = (1 - self.alpha(s)) / (1 - self.alpha(t))
        std = 2 * self.noise * ((1 - self.alpha(s)) * (1 - ratio)).sqrt()
        share = _over(ratio, z_t)
        return share * z_t + (1 - share) * z_music, _over(std, z_t)

    def implicit(self, z_t: Tensor, z_music: Tensor, z_text: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Step to s < t without new noise: DBIM (Zheng et al. 2024, arXiv:2405.15885) with rho = 0."""
        epsilon = (z_t - self.sample(z_music, z_text, t, torch.zeros_like(z_t))) / _over(self.beta(t), z_t).sqrt()
        return self.sample(z_music, z_text, s, epsilon)

    def lookahead(self, before: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Weight w of a second-order ``implicit`` step: z_music = D(t) + w (D(t) - D(before)), before > t > s.

        The step's exact integral is an average of the estimates D over the step, in which cot(theta) is the measure.
        For an estimate that is linear in theta the average is its value at one angle, and w leads there.
        """
        above, here, below = self.angle(before), self.angle(t), self.angle(s)
        # At the music end the average is D(0), whose extrapolation doubles an estimate's error; half the way is taken.
        middle = torch.where(below > 0, _mean_angle(here, below), here / 2)
        return (here - middle) / (above - here)

    @property
    def _i2sb_root_growth(self) -> float:
        """Growth of the root of I2SB's coefficient per unit of time, for which the bridge peaks at ``noise``."""
        # Twice the integral of (root + growth t)^2 up to 1/2 is 4 sigma^2; solved for root + growth / 2.
        middle = (math.sqrt(max(48 * self.noise**2 - 3 * _I2SB_ROOT**2, 0)) - _I2SB_ROOT) / 2
        return 2 * (middle - _I2SB_ROOT)


def _mean_angle(above: Tensor, below: Tensor) -> Tensor:
    """Average of theta between two angles in the measure d cot(theta)."""

    def integral(angle: Tensor) -> Tensor:
        return angle / torch.tan(angle) - torch.log(torch.sin(angle))

    return (integral(below) - integral(above)) / (1 / torch.tan(below) - 1 / torch.tan(above))


def _over(values: Tensor, like: Tensor) -> Tensor:
    """Values of shape () or (batch,) as factors of a tensor (batch, ...), in its type and place."""
    return values.to(like).reshape(values.shape + (1,) * (like.dim() - 1) if values.dim() else ())
