"""Pieces of more bars than a model knows: every bar is written once, from its own plan and the end of the others."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from injection.models import DIM, LAYERS, bridge, museformer

from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.decoding import Songs, write
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.composing.sliding_window import from_bar, in_view, seed_of
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection import hooks
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.config import SCOPES
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.tokens import remi, vocabulary
from fairseq_meloformer.tokens.vocabulary import BAR_END
from fairseq_meloformer.words.prompts import Request

SETTINGS = Settings(nfe=2, bar_tokens=16)
REQUESTS = [Request("暴风雨", seed=1, bars=14), Request("a meteor shower", seed=2, bars=5), Request("rain", 3, 10)]


@pytest.fixture(scope="module")
def composer():
    return Composer(museformer(most_bars=8, scope="plan", ahead=1), bridge())


@pytest.fixture(scope="module")
def unlimited():
    return Composer(museformer(scope="plan", ahead=1), bridge())


@given(bars=st.integers(1, 200), most=st.one_of(st.none(), st.integers(4, 60)), begun=st.integers(0, 199))
def test_passes_write_every_bar_once_and_see_no_more_than_the_model_knows(bars, most, begun):
    written = min(begun, bars - 1)
    while written < bars:
        view = in_view(written, bars, most)
        assert view.start <= written < view.stop <= bars
        assert most is None or len(view) <= most
        if view.stop < bars:
            assert len(view) == most
        if view.start:
            assert written - view.start >= most // 2  # so much is read again
        written = view.stop


def test_a_song_can_be_cut_at_its_bars():
    song = [500, 6, BAR_END, 501, BAR_END, 502]
    assert [from_bar(song, bar) for bar in range(3)] == [song, [501, BAR_END, 502], [502]]
    assert len({seed_of(seed, number) for seed in (0, 1, 2**31) for number in range(5)}) == 15
    assert seed_of(7, 0) == 7


@pytest.mark.parametrize(("scope", "guidance"), [*((scope, 1.0) for scope in SCOPES), ("plan", 2.0)])
def test_long_pieces_begin_as_without_passes_and_depend_on_themselves_alone(composer, unlimited, scope, guidance):
    settings = replace(SETTINGS, scope=scope, sampling=Sampling(logit_guidance=guidance))
    pieces = composer.compose(REQUESTS, settings)
    assert [len(remi.bars(piece.tokens)) for piece in pieces] == [14, 5, 10]
    whole = unlimited.compose(REQUESTS, settings)
    for piece, other in zip(pieces, whole, strict=True):
        bars, others = remi.bars(piece.tokens), remi.bars(other.tokens)
        assert bars[:8] == others[:8]
        assert (bars == others) == (len(bars) <= 8)
        assert remi.encode(piece.midi, ignore_time_signature=True, instrument_order="six_tracks") == piece.tokens
    assert composer.compose(REQUESTS[:1], settings)[0].tokens == pieces[0].tokens


def test_each_pass_is_given_the_plan_of_its_bars(composer, monkeypatch):
    seen = []
    real = hooks.inject
    monkeypatch.setattr(
        "fairseq_meloformer.composing.decoding.inject",
        lambda model, plan, **more: seen.append(plan) or real(model, plan, **more),
    )
    plan = torch.randn(14, LAYERS, DIM)
    composer.compose(REQUESTS[:1], SETTINGS, plan)
    assert [len(part[0]) for part in seen] == [14, 10, 6]  # from bars 0, 4 and 8 on
    for part in seen:
        torch.testing.assert_close(part[0], plan[14 - len(part[0]) :])


def test_each_bar_is_tilted_as_itself(composer):
    book = vocabulary.published()
    first = book.range("v").start
    added = torch.zeros(1, 14, len(book))
    for bar in range(14):
        added[0, bar, first + bar] = 1000
    wanted = Songs([[]], [14], [1], [set()], [None], ["4/4"], [{}], bias=Bias(book, added, torch.zeros(1, 14)))
    (song,) = write(composer.model, book, wanted, SETTINGS)
    for number, bar in enumerate(remi.bars(book.tokens(song))):
        assert {token for token in bar if token.startswith("v-")} == {book.symbols[first + number]}


def test_the_tempo_is_kept_from_pass_to_pass_unless_a_section_begins(composer):
    def tempi(piece):
        return [next(token for token in bar if token.startswith("t-")) for bar in remi.bars(piece.tokens)]

    assert len(set(tempi(composer.compose(REQUESTS[:1], SETTINGS)[0]))) == 1
    unsteady = composer.compose(REQUESTS[:1], replace(SETTINGS, steady_tempo=False))[0]
    assert len(set(tempi(unsteady)[8:])) > 1


def test_a_piece_has_all_of_its_bars_however_many_tokens_these_take(composer):
    piece = composer.compose(REQUESTS[:1], replace(SETTINGS, sampling=Sampling(max_tokens=40)))[0]
    assert len(remi.bars(piece.tokens)) == 14
    assert len(piece.tokens) > 40


def test_a_view_of_few_bars_is_refused():
    with pytest.raises(InputError, match=r"most_bars must be from 4 to \d+ or None, received 3"):
        museformer(most_bars=3)
