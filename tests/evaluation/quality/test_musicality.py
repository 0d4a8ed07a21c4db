"""Measures of corpora, on music of which the answer is known."""

import numpy as np
import pytest

from fairseq_meloformer.evaluation.quality import musicality
from fairseq_meloformer.measures.passage import Song

BASS, DRUM = "i-43 p-40 d-12 v-20", "i-128 p-164 d-1 v-20"


def passage(*bars):
    """Each bar is a list of (position, notes)."""
    tokens = []
    for bar in bars:
        tokens.append("t-30")
        for position, notes in bar:
            tokens += [f"o-{position}", *notes.split()]
        tokens.append("b-1")
    return Song(tokens).passage()


A = [(0, "i-0 p-60 d-6 v-20"), (12, "i-0 p-64 d-6 v-20")]
B = [(0, "i-0 p-60 d-6 v-10"), (24, "i-0 p-64 d-6 v-20")]  # one note in common with A, whatever its loudness


def test_likeness_of_bars_at_each_distance():
    found = musicality.similarity([passage(A, B, A)], longest=3)
    assert found[:2].tolist() == pytest.approx([1 / 3, 1])
    assert np.isnan(found[2])


def test_bars_without_notes_say_nothing_but_a_bar_against_none_does():
    found = musicality.similarity([passage(A, [], [], A)], longest=3)
    assert found.tolist() == pytest.approx([0, 0, 1])


def test_a_corpus_is_like_itself_and_another_is_not():
    one, other = [passage(A, A, A)], [passage(A, B, A)]
    assert musicality.similarity_error(one, one) == 0
    assert musicality.similarity_error(one, other) == pytest.approx((2 / 3 + 0) / 2)
    for values in musicality.DISTRIBUTIONS.values():
        assert musicality.overlap(one, one, values) == pytest.approx(1)
    pitch = musicality.DISTRIBUTIONS["pitch"]
    assert musicality.overlap(one, [passage([(0, "i-0 p-60 d-6 v-20")])], pitch) == pytest.approx(0.5)
    assert musicality.overlap([passage([(0, DRUM)])], one, pitch) == 0


def test_faults_are_counted():
    beat = [(0, f"{BASS} {DRUM}"), (5, BASS), (6, DRUM)]
    found = musicality.faults([passage(A, A, A, [], B), passage(beat)])
    assert found["empty bars"] == pytest.approx(1 / 6)
    assert found["repeated bars"] == pytest.approx(2 / 3)  # of the pairs that begin with notes
    assert found["longest repetition"] == pytest.approx((3 + 1) / 2)
    assert found["drums on the beat"] == 1
    assert found["bass on the beat"] == pytest.approx(1 / 2)
