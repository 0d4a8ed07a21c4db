"""Keys by Krumhansl and Schmuckler."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.measures.tonality import PITCH_NAMES, signature, tonality, transposed, transposed_text

MAJOR = [0, 2, 4, 5, 7, 9, 11]
HARMONIC_MINOR = [0, 2, 3, 5, 7, 8, 11]


def histogram(degrees: list[int], tonic: int) -> np.ndarray:
    """A scale whose tonic triad sounds longer."""
    weights = np.zeros(12)
    weights[[(degree + tonic) % 12 for degree in degrees]] = 1
    weights[[(degrees[index] + tonic) % 12 for index in (0, 2, 4)]] += 2
    return weights


@given(st.integers(0, 11), st.sampled_from([("major", MAJOR), ("minor", HARMONIC_MINOR)]))
def test_scales_with_a_stressed_triad_are_heard_in_their_key(tonic, scale):
    mode, degrees = scale
    found = tonality(histogram(degrees, tonic))
    assert found.name == f"{PITCH_NAMES[tonic]} {mode}"
    assert (found.major > found.minor) == (mode == "major")


@given(st.lists(st.floats(0, 100), min_size=12, max_size=12), st.integers(0, 11))
def test_transposition_moves_the_tonic_and_nothing_else(weights, semitones):
    weights = np.round(weights, 3)
    here, there = tonality(weights), tonality(np.roll(weights, semitones))
    if here is None:
        assert there is None
        return
    assert there.major == pytest.approx(here.major)
    assert there.minor == pytest.approx(here.minor)


def test_weights_are_scale_free_and_flat_ones_have_no_key():
    weights = histogram(MAJOR, 3)
    assert tonality(weights * 1000).major == pytest.approx(tonality(weights).major)
    assert tonality(np.ones(12)) is None
    assert tonality(np.zeros(12)) is None


def test_key_names_are_transposed():
    assert transposed("A minor", 3) == "C minor"
    assert transposed("C major", -2) == "Bb major"
    assert transposed("F# minor", 0) == "F# minor"


def test_keys_that_a_text_names_are_transposed():
    assert transposed_text("A slow waltz in Bb major, key of F sharp minor.", 2) == (
        "A slow waltz in C major, key of Ab minor."
    )
    assert transposed_text("降E大调，忧伤的a段，升F小调", -3) == "C大调，忧伤的a段，降E小调"
    assert transposed_text("A minor change of A minor", 3) == "A minor change of C minor"
    assert transposed_text("in D major", 0) == "in D major"


@pytest.mark.parametrize(
    ("key", "name"),
    [("C major", "C"), ("A minor", "Am"), ("C# major", "Db"), ("C# minor", "C#m"), ("Ab minor", "G#m"),
     ("Eb minor", "Ebm"), ("F# major", "F#"), ("Bb major", "Bb"), ("F minor", "Fm")],
)  # fmt: skip
def test_signatures_are_those_of_fewest_accidentals(key, name):
    assert signature(key) == name
