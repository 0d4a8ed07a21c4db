"""The top line that a bias follows, and leaps that it makes likelier or rarer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.museformer.bias import Bias, TopLine
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.sampling import Sampling, generate
from fairseq_meloformer.tokens import vocabulary
from fairseq_meloformer.tokens.grammar import Grammar, Limits
from fairseq_meloformer.tokens.vocabulary import PAD

BOOK = vocabulary.published()
CPU = torch.device("cpu")


def ids(text):
    return BOOK.ids(text.split())


def moved(line, row=0):
    """By pitch, where it is not 0."""
    values = line.moved()[row].tolist()
    return {symbol: value for symbol, value in zip(BOOK.symbols, values, strict=True) if value}


def test_only_a_new_highest_note_moves_the_line():
    line = TopLine(BOOK, [ids("t-30 o-0 i-80 p-60 d-3 v-20 p-50 d-3 v-20 o-6 i-80")], CPU)
    found = moved(line)
    assert {symbol.partition("-")[0] for symbol in found} == {"p"}
    assert (found["p-61"], found["p-55"], found["p-0"], found["p-127"]) == (1, 5, 12, 12)
    assert "p-60" not in found
    assert "p-170" not in found  # a drum
    line.advance(torch.tensor(ids("p-57")))  # three semitones down
    found = moved(line)
    assert "p-50" not in found  # below the highest, and so no part of the line
    assert (found["p-58"], found["p-60"], found["p-72"]) == (-1, -3, 9)


def test_moments_follow_each_other_from_bar_to_bar_and_drums_are_none():
    line = TopLine(BOOK, [ids("t-30 o-0 i-80 p-60 d-3 v-20 o-6 i-128 p-170 d-3 v-20 b-1 t-30 o-0 i-80")], CPU)
    assert moved(line)["p-64"] == 4
    assert not moved(TopLine(BOOK, [ids("t-30 o-0 i-80")], CPU))


def test_songs_are_followed_apart_and_padding_changes_nothing():
    prompts = [ids("t-30 o-0 i-80 p-60 d-3 v-20 o-6 i-80"), ids("t-30 o-0 i-80 p-70 d-3 v-20"), []]
    line = TopLine(BOOK, prompts, CPU)
    assert (moved(line, 0)["p-61"], moved(line, 1), moved(line, 2)) == (1, {}, {})
    line.select([1, 0])
    line.advance(torch.tensor([*ids("o-6"), PAD]))
    assert (moved(line, 0)["p-61"], moved(line, 1)["p-61"]) == (9, 1)


@given(st.lists(st.lists(st.integers(20, 100), min_size=1, max_size=4), min_size=1, max_size=12))
def test_a_line_that_is_followed_is_the_one_of_the_whole(moments):
    tokens = []
    for place, chord in enumerate(moments):
        tokens += [f"o-{place}", "i-80"]
        for pitch in sorted(set(chord), reverse=True):
            tokens += [f"p-{pitch}", "d-1", "v-20"]
    line = TopLine(BOOK, [[]], CPU)
    total = 0.0
    for token in BOOK.ids(tokens):
        total += float(line.moved()[0, token])
        line.advance(torch.tensor([token]))
    tops = torch.tensor([max(chord) for chord in moments])
    assert total == tops.diff().abs().clamp(max=12).sum()


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
