"""Loudness of sound as ITU-R BS.1770-4 measures it, in LUFS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# BS.1770-4, tables 1 and 2: the two filters of the K weighting at 48 kHz, numerator and denominator in powers of 1/z.
_FILTERS: Final = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)
_FILTER_RATE: Final = 48_000
_OFFSET: Final = -0.691
_ABSOLUTE_GATE: Final = -70.0
_RELATIVE_GATE: Final = -10.0


def loudness(samples: NDArray[np.float32], rate: int) -> float:
    """Integrated, gated loudness in LUFS of sound (frames, channels), of which all channels count alike.

    `-inf` for what is silent or shorter than a block of 400 ms.
    """
    size = len(samples) + rate  # the filters ring for less than a second
    response = _response(np.fft.rfftfreq(size, 1 / rate).astype(np.float64))
    weighted = np.fft.irfft(np.fft.rfft(samples, size, axis=0) * response[:, None], size, axis=0)[: len(samples)]
    energy = np.concatenate([[0.0], np.cumsum((weighted**2).sum(axis=1))])
    block, hop = round(0.4 * rate), round(0.1 * rate)
    starts = np.arange(0, len(samples) - block + 1, hop)
    power = (energy[starts + block] - energy[starts]) / block
    kept = power[_lufs(power) > _ABSOLUTE_GATE]
    if not len(kept):
        return float("-inf")
    kept = kept[_lufs(kept) > _lufs(kept.mean()) + _RELATIVE_GATE]
    return float(_lufs(kept.mean()))


def _response(frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The filters' response at frequencies in hertz: at any rate, what it is at the rate of their tables."""
    delay = np.exp(-2j * np.pi * frequencies / _FILTER_RATE)
    powers = np.stack([delay**0, delay, delay**2])
    response: NDArray[np.complex128] = np.prod(
        [np.array(above) @ powers / (np.array(below) @ powers) for above, below in _FILTERS], axis=0
    )
    return response


def _lufs(power: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.asarray(_OFFSET + 10 * np.log10(power))
