"""Loudness against the figures of the standards."""

import numpy as np
import pytest

from fairseq_meloformer.render.loudness import loudness


def sine(decibels, frequency=1000.0, seconds=20, rate=44100):
    time = np.arange(seconds * rate) / rate
    return (10 ** (decibels / 20) * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_a_full_sine_of_997_hz_in_one_channel_has_3_01_lkfs_less_than_none(rate):
    # ITU-R BS.1770-4, annex 1: "a 0 dB FS, 997 Hz sine wave ... the indicated loudness will equal -3.01 LKFS".
    assert loudness(sine(0, 997, rate=rate)[:, None], rate) == pytest.approx(-3.01, abs=0.02)


def test_the_minimum_requirements_of_ebu_tech_3341():
    # Table 1, signals 1 to 3: stereo sines of 1 kHz; quiet parts are gated out.
    def stereo(*parts):
        return np.repeat(np.concatenate([sine(level, seconds=length) for level, length in parts])[:, None], 2, axis=1)

    assert loudness(stereo((-23, 20)), 44100) == pytest.approx(-23, abs=0.1)
    assert loudness(stereo((-33, 20)), 44100) == pytest.approx(-33, abs=0.1)
    assert loudness(stereo((-36, 10), (-23, 60), (-36, 10)), 44100) == pytest.approx(-23, abs=0.1)


def test_silence_has_none():
    assert loudness(np.zeros((44100, 2), np.float32), 44100) == float("-inf")
    assert loudness(np.zeros((10, 2), np.float32), 44100) == float("-inf")
