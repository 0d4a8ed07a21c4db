"""The n-gram baseline."""

import math

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.quality.ngram import NGram

SONGS = [[0, 1, 2], [0, 1, 1]]
EVERY = (-1, 0, 1, 2, 3)  # the end, and all tokens of a vocabulary of four


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("context", [(), (0,), (1, 1), (3, 0), (0, 1, 2)])
def test_probabilities_after_any_context_add_up_to_one(order, context):
    model = NGram(SONGS, order, 4)
    probabilities = [model.probability(context, token) for token in EVERY]
    assert min(probabilities) > 0
    assert sum(probabilities) == pytest.approx(1)


def test_witten_bell_by_hand():
    unigram = NGram(SONGS, 1, 4)  # 8 events of 4 kinds, 3 of them a 1
    assert unigram.probability((), 1) == pytest.approx((3 + 4 / 5) / 12)
    bigram = NGram(SONGS, 2, 4)  # after 0 there is a 1 twice
    assert bigram.probability((0,), 1) == pytest.approx((2 + 1 * unigram.probability((), 1)) / 3)
    assert bigram.probability((3,), 1) == unigram.probability((), 1)


def test_the_cost_of_a_song_counts_its_end_and_long_contexts_help():
    costs = {order: NGram(SONGS, order, 4).nats(SONGS[0]) for order in (1, 3)}
    assert len(costs[1]) == 4
    assert costs[1][0] == pytest.approx(-math.log((2 + 4 / 5) / 12))
    assert sum(costs[3]) < sum(costs[1])


def test_what_it_cannot_be_made_of():
    with pytest.raises(InputError, match="order 1 or more, received 0"):
        NGram(SONGS, 0, 4)
    with pytest.raises(InputError, match="at least one song"):
        NGram([], 2, 4)
