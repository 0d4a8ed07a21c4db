"""Copies of training melodies, planted and found."""

import numpy as np
import pytest
from measures.pieces import line, passage

from fairseq_meloformer.evaluation.quality.memorisation import TrainingMelodies

LEAD = 80


def bars_of(pitches, step=6):
    """A melody in bars of eight notes."""
    return [line(LEAD, *pitches[first : first + 8], step=step) for first in range(0, len(pitches), 8)]


@pytest.fixture(scope="module")
def training():
    drawn = np.random.default_rng(0)
    return [drawn.integers(50, 90, 64).tolist() for _ in range(20)]


def test_a_planted_copy_is_found_in_another_key(training):
    drawn = np.random.default_rng(1)
    own = drawn.integers(50, 80, 64).tolist()
    melodies = TrainingMelodies(passage(*bars_of(song)) for song in training)
    copied = own[:20] + [pitch + 3 for pitch in training[7][10:34]] + own[44:]
    free, copy, whole = melodies.longest_runs([passage(*bars_of(song)) for song in (own, copied, training[3])])
    assert free < 6
    assert copy == 24
    assert whole == 64


def test_another_rhythm_is_no_copy_and_runs_do_not_go_from_song_to_song(training):
    melodies = TrainingMelodies(passage(*bars_of(song)) for song in training)
    slow = passage(*(line(LEAD, *training[0][first : first + 4], step=12) for first in range(0, 32, 4)))
    joined = passage(*bars_of(training[0][-16:] + training[1][:16]))
    empty = passage(line(LEAD, 60))
    assert melodies.longest_runs([slow, joined, empty])[1:] == [16, 0]
    assert melodies.longest_runs([slow])[0] < 4


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_looking_everywhere(seed):
    drawn = np.random.default_rng(seed)
    songs = [drawn.integers(60, 63, 40).tolist() for _ in range(4)]
    piece = drawn.integers(60, 63, 40).tolist()
    (found,) = TrainingMelodies(passage(*bars_of(song)) for song in songs).longest_runs([passage(*bars_of(piece))])
    own, others = np.diff(piece).tolist(), [np.diff(song).tolist() for song in songs]
    longest = max(
        length
        for length in range(40)
        for start in range(40 - length)
        for other in others
        for place in range(40 - length)
        if own[start : start + length] == other[place : place + length]
    )
    assert found == longest + 1
