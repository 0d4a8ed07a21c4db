"""Songs keep what is given of their bars, and write the rest around it."""

import random

import pytest
import torch
from tokens.test_grammar import walk

from fairseq_meloformer.tokens import vocabulary
from fairseq_meloformer.tokens.given import Given, GivenGrammar
from fairseq_meloformer.tokens.grammar import Grammar, Limits
from fairseq_meloformer.tokens.remi import bars, decode, encode

PUBLISHED = vocabulary.published()
SIX = (80, 128, 43, 25, 0, 48)


def groups(bar, programs):
    """(onset, instrument, notes...) of a bar's instruments that are among the programs."""
    found, onset = [], None
    for token in bar:
        if token.startswith("o-"):
            onset = token
        elif token.startswith("i-"):
            found.append([onset, token])
        elif token[0] in "pdv":
            found[-1].append(token)
    return [group for group in found if int(group[1][2:]) in programs]


def a_song(seed, count=5):
    grammar = Grammar(PUBLISHED, empty_bars=False)
    grammar.start(1, limits=Limits(bars=[count], bar_tokens=[60]))
    return [bar[:-1] for bar in bars(walk(grammar, seed)[0])]


def without(bar, programs):
    kept = [token for group in groups(bar, set(SIX) - set(programs)) for token in group]
    return [bar[0], *kept]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("room", [8, 40])
def test_given_notes_stay_and_only_the_chosen_instruments_are_new(seed, room):
    rng = random.Random(seed)
    song = a_song(seed)
    programs = rng.sample(SIX, rng.choice((1, 2, 5)))
    given = Given({number: without(song[number], programs) for number in (1, 3)}, programs)
    grammar = GivenGrammar(PUBLISHED, [given, given], empty_bars=False)
    grammar.start([[], PUBLISHED.ids([*song[0], "b-1"])], limits=Limits(bars=[5, 4], bar_tokens=[room] * 2))
    others = set(SIX) - set(programs)
    fresh = 0
    for tokens, first in zip(walk(grammar, seed, 3000), (0, 1), strict=True):
        written = bars(tokens)
        assert len(written) == (5, 3)[first]
        for number in (1, 3):
            bar = written[number - first]
            assert bar[0] == song[number][0]
            assert groups(bar, others) == groups(song[number], others)
            fresh += len(groups(bar, programs))
            assert len(bar) <= room + len(song[number])
        again = encode(decode(tokens), ignore_time_signature=True, instrument_order="six_tracks")
        assert [token for token in again if token[0] != "t"] == [token for token in tokens if token[0] != "t"]
    assert fresh


def test_all_written_is_the_ordinary_grammar_with_its_tempi_given():
    given = Given({0: ["t-20"], 1: ["t-30"]}, SIX, {0: 36})
    grammar = GivenGrammar(PUBLISHED, [given] * 2, empty_bars=False)
    grammar.start(2, limits=Limits(bars=[3, 1], bar_tokens=[80, 80]))
    long, short = walk(grammar, 1)
    assert [bar[0] for bar in bars(long)][:2] == ["t-20", "t-30"]
    assert min(int(token[2:]) for token in bars(long)[0] if token[0] == "o") >= 36
    assert len(bars(short)) == 1


def test_songs_that_are_left_out_leave_the_others_where_they_are():
    given = Given({0: ["t-20", "o-12", "i-128", "p-164", "d-1", "v-20"]}, [0])
    grammar = GivenGrammar(PUBLISHED, [given] * 2)
    grammar.start(2, limits=Limits(bars=[1, 1]))
    first, second = (PUBLISHED.ids(["t-20", "o-0"]), PUBLISHED.ids(["t-20", "o-12"]))
    for ids in zip(first, second, strict=True):
        grammar.advance(torch.tensor(ids))
    allowed = [PUBLISHED.tokens(row.nonzero()[:, 0].tolist()) for row in grammar.allowed()]
    assert allowed == [["i-0"], ["i-128"]]
    grammar.select([1])
    assert PUBLISHED.tokens(grammar.allowed()[0].nonzero()[:, 0].tolist()) == ["i-128"]
