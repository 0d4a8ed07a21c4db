"""Leaps that a bias makes likelier or rarer, in songs that do not depend on their batch."""

import pytest
import torch

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.sampling import Sampling, generate
from fairseq_meloformer.tokens import vocabulary
from fairseq_meloformer.tokens.grammar import Grammar, Limits

BOOK = vocabulary.published()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = MuseFormerConfig(layers=1, dim=16, ffn_dim=16, heads=2, token_dim=16, bar_dim=4, beat_dim=4)
    return MuseFormer(config).eval()


def test_melodies_leap_or_go_by_steps_as_they_are_biased(model):
    grammar = Grammar(BOOK, empty_bars=False)
    grammar.start(8, limits=Limits(bars=[4] * 8, bar_tokens=[40] * 8))
    leaps = torch.tensor([1.0, -1.0]).repeat(4)[:, None]
    bias = Bias(BOOK, torch.zeros(8, 1, len(BOOK)), leaps)
    songs = generate(model, [[]] * 8, Sampling(top_k=0), seeds=[1, 1, 2, 2, 3, 3, 4, 4], grammar=grammar, bias=bias)
    found = [measure(BOOK.tokens(song))["leaps"] for song in songs]
    assert all(wide > narrow for wide, narrow in zip(found[::2], found[1::2], strict=True))
    assert sum(found[::2]) > 2 * sum(found[1::2])


def test_songs_do_not_depend_on_their_batch_and_end_apart(model):
    def songs(rows):
        grammar = Grammar(BOOK, empty_bars=False)
        grammar.start(len(rows), limits=Limits(bars=[1 + 2 * row for row in rows], bar_tokens=[40] * len(rows)))
        bias = Bias(BOOK, torch.zeros(3, 2, len(BOOK)), torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, 0.0]]))
        drawn = generate(model, [[]] * len(rows), Sampling(), seeds=rows, grammar=grammar, bias=bias.since(rows, 0))
        return dict(zip(rows, drawn, strict=True))

    together = songs([0, 1, 2])
    assert all(songs([row]) == {row: together[row]} for row in range(3))


def test_a_bias_needs_a_grammar(model):
    with pytest.raises(InputError, match="a bias needs a grammar"):
        generate(model, [[]], Sampling(), bias=Bias(BOOK, torch.zeros(1, 1, len(BOOK)), torch.zeros(1, 1)))
