"""Rules follow a song token by token: its top line, what clashes, how chords wear out, and how it closes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.measures.harmony import chord_kept, semitone_clashes
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.museformer import MuseFormer, rules
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.rules import Clashes, Close, Closing, HarmonicRhythm, TopLine
from fairseq_meloformer.museformer.sampling import Sampling, generate
from fairseq_meloformer.tokens import vocabulary
from fairseq_meloformer.tokens.grammar import Grammar, Limits
from fairseq_meloformer.tokens.vocabulary import PAD

BOOK = vocabulary.published()
CPU = torch.device("cpu")
BAR = torch.tensor([48])
FIRST = torch.tensor([0])


def ids(text):
    return BOOK.ids(text.split())


def told(values):
    """By token, what is added where it is not 0."""
    return {symbol: value for symbol, value in zip(BOOK.symbols, values.tolist(), strict=True) if value}


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


def clashing(text, bars=0):
    """Pitches that clash after these tokens."""
    rule = Clashes(BOOK, BAR, [ids(text)], CPU)
    return {int(symbol[2:]) for symbol in told(rule.now(FIRST, torch.tensor([bars]))[0])}


def test_a_pitch_clashes_a_semitone_or_that_and_an_octave_from_what_sounds():
    assert clashing("t-30 o-0 i-0 p-60 d-11 v-20") == {60 + way for way in (-13, -11, -1, 1, 11, 13)}


def test_what_has_ended_and_what_drums_play_clashes_with_nothing():
    assert clashing("t-30 o-0 i-0 p-60 d-11 v-20 o-10")  # 11 positions long
    assert not clashing("t-30 o-0 i-0 p-60 d-11 v-20 o-11")
    assert not clashing("t-30 o-0 i-128 p-188 d-11 v-20")
    assert clashing("t-30 o-0 i-0 p-60 d-0 v-20")  # however short


def test_notes_sound_on_over_the_bar_line():
    long = "t-30 o-36 i-0 p-60 d-25 v-20 b-1 t-30"  # 40 positions, of which the bar has 12 left
    assert clashing(long + " o-27")
    assert not clashing(long + " o-28")


def test_clashes_of_songs_are_told_apart():
    rule = Clashes(BOOK, BAR.repeat(2), [ids("t-30 o-0 i-0 p-60 d-20 v-20"), []], CPU)
    both = torch.tensor([0, 1])
    assert [bool(row.any()) for row in rule.now(both, both)] == [True, False]
    rule.select([1, 0])
    rule.advance(both, torch.tensor([PAD, *ids("o-6")]))
    assert [bool(row.any()) for row in rule.now(torch.tensor([1, 0]), both)] == [False, True]


C, F = ("t-30 o-0 i-0 " + " ".join(f"p-{pitch} d-11 v-20" for pitch in chord) for chord in ((67, 64, 60), (72, 69, 65)))


EVERY = torch.tensor([[-1.0]])


def worn(*bars, by=EVERY):
    """By pitch class, what is added after these bars; what drums play has no class."""
    rule = HarmonicRhythm(BOOK, by, [ids(" ".join(f"{bar} b-1" for bar in bars))], CPU)
    added = told(rule.now(FIRST, torch.tensor([len(bars)]))[0])
    assert all(symbol.startswith("p-") and int(symbol[2:]) < 128 for symbol in added)
    return {int(symbol[2:]) - 60: value for symbol, value in added.items() if 60 <= int(symbol[2:]) < 72}


def test_a_chord_that_stays_wears_out_bar_by_bar_up_to_a_limit():
    assert not worn(C)
    assert worn(C, C) == {0: -1, 4: -1, 7: -1}
    assert worn(C, C, C)[0] == -2
    assert worn(*[C] * 9)[0] == worn(*[C] * 4)[0] == -3


def test_another_chord_is_new_and_a_silent_bar_tells_nothing():
    assert not worn(C, C, F)
    assert set(worn(C, F, F)) == {5, 9, 0}
    assert worn(C, C, "t-30") == worn(C, C)
    assert worn(C, "t-30 o-0 i-128 p-189 d-11 v-20", C) == worn(C, C)  # drums


def test_a_chord_is_told_by_how_long_its_notes_are():
    passing = C + " o-40 i-43 p-41 d-0 v-20"
    assert set(worn(passing, C)) == {0, 4, 7}
    assert not worn(F + " o-12 i-0 p-60 d-0 v-20 p-55 d-0 v-20", C)


def test_a_chord_wears_out_as_is_told_of_each_bar():
    by = torch.tensor([[0.0, -0.5, -1.0]])
    assert not worn(C, C, by=by[:, :1])
    assert worn(C, C, by=by) == worn(C, C, by=by[:, 1:]) == {0: -1, 4: -1, 7: -1}  # the last bar's holds on
    rule = HarmonicRhythm(BOOK, by, [ids(f"{C} b-1 " * 2)], CPU)
    assert [float(rule.now(FIRST, torch.tensor([bar])).min()) for bar in (0, 1, 2, 5)] == [0, -0.5, -1, -1]


def test_chords_of_songs_are_told_apart():
    rule = HarmonicRhythm(BOOK, EVERY.repeat(2, 1), [ids(f"{C} b-1 {C} b-1"), ids(f"{C} b-1")], CPU)
    both = torch.tensor([0, 1])
    assert [bool(row.any()) for row in rule.now(both, both)] == [True, False]
    rule.select([1, 0])
    for pair in zip(ids(f"{C} b-1"), [PAD] * 13, strict=True):
        rule.advance(both, torch.tensor(pair))
    assert rule.now(torch.tensor([1, 0]), both).amin(1).tolist() == [-1, -1]


def closing(text, bars, last=3, major=0.0):
    """What is added where the last bar is the fourth."""
    rule = Closing(BOOK, Close(torch.tensor([last]), torch.tensor([major])), BAR, [ids(text)], CPU)
    values = rule.now(FIRST, torch.tensor([bars]))
    return told(values[0]) if values.ndim else {}


def free(added):
    """Pitch classes to which nothing is added."""
    return {pitch for pitch in range(12) if f"p-{60 + pitch}" not in added}


def test_nothing_is_added_before_the_close_or_where_none_is_wanted():
    assert not closing("t-30 o-0", 0)
    assert not closing("t-30 o-12", 2)
    assert not closing("t-30 o-24", 3, last=-1)


def test_the_last_bar_has_the_tonic_and_half_a_bar_of_the_dominant_comes_before():
    assert free(closing("t-30 o-24 i-0", 2, major=1.0)) == {7, 11, 2}
    assert free(closing("t-30 o-0 i-0", 3, major=1.0)) == {0, 4, 7}
    assert free(closing("t-30 o-24 i-0", 2, major=-1.0)) == {4, 8, 11, 7}
    assert free(closing("t-30 o-0 i-0", 3, major=-1.0)) == {9, 0, 4}


def test_the_bass_has_the_root():
    added = closing("t-30 o-0 i-43", 3, major=1.0)
    assert free(added) == {0}
    assert added["p-62"] < added["p-64"] < 0  # a note of the chord is the lesser fault


def test_what_has_sounded_tells_major_from_minor():
    bass, others = "t-30 o-0 i-43 p-{} d-11 v-20 ", "i-0 p-{} d-11 v-20 "
    assert free(closing(bass.format(36) + others.format(69), 3)) >= {7}  # C under A
    assert free(closing(bass.format(33) + others.format(67), 3)) >= {9}
    assert 9 in free(closing("t-30 o-0 i-0 p-69 d-11 v-20", 3))
    assert 7 in free(closing("t-30 o-0 i-0 p-67 d-11 v-20", 3))


def test_the_last_notes_are_early_and_long():
    added = closing("t-30 o-0 i-0", 3)
    assert 0 > added["o-6"] > added["o-18"] > added["o-24"] == added["o-40"]
    assert "o-0" not in added
    assert "d-5" in added
    assert "d-26" not in added
    assert "d-35" in added  # longer than the bar
    assert "d-5" not in closing("t-30 o-0 i-128", 3)  # drums are short


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = MuseFormerConfig(layers=1, dim=16, ffn_dim=16, heads=2, token_dim=16, bar_dim=4, beat_dim=4)
    return MuseFormer(config).eval()


def songs(model, bias, bars):
    grammar = Grammar(BOOK, empty_bars=False)
    grammar.start([[]] * len(bars), limits=Limits(bars=bars, bar_tokens=[60] * len(bars)))
    drawn = generate(model, [[]] * len(bars), Sampling(top_k=0), seeds=range(len(bars)), grammar=grammar, bias=bias)
    return [Song(BOOK.tokens(song)) for song in drawn]


def plain(number):
    return Bias(BOOK, torch.zeros(number, 1, len(BOOK)), torch.zeros(number, 1))


def test_songs_clash_less(model, monkeypatch):
    monkeypatch.setattr(rules, "CLASH", -5.0)  # this model's notes are long and at random
    bars = [4] * 12
    free, ruled = songs(model, plain(12), bars), songs(model, replace(plain(12), lengths=torch.full((12,), 48)), bars)
    before, after = (sum(semitone_clashes(song.passage()) or 0 for song in of) for of in (free, ruled))
    assert after < 0.6 * before


def test_songs_stay_less_on_a_chord(model):
    bars = [8] * 8
    liked = plain(8)
    liked.tokens[..., ids("d-5")], liked.tokens[..., ids("p-65 p-69")] = 9.0, 8.0
    liked.tokens[..., ids("p-60 p-64 p-67")] = 11.0
    free, ruled = songs(model, liked, bars), songs(model, replace(liked, worn=3 * EVERY.repeat(8, 1)), bars)
    before, after = (sum(chord_kept(song.passage()) or 0 for song in of) for of in (free, ruled))
    assert after < 0.8 * before


def test_songs_close_on_their_tonic(model):
    bars = [3, 4, 5, 4, 3, 5]
    close = Close(torch.tensor(bars) - 1, torch.ones(6))
    ruled = replace(plain(6), lengths=torch.full((6,), 48), close=close)

    def at_home(of_songs):
        last = [song.passage(song.bars - 1, song.bars).pitched.pitch.tolist() for song in of_songs]
        found = [pitch % 12 in {0, 4, 7} for pitches in last for pitch in pitches]
        return sum(found) / len(found)

    assert at_home(songs(model, plain(6), bars)) < 0.5
    assert at_home(songs(model, ruled, bars)) > 0.9


def test_a_bias_from_a_later_bar_on_closes_where_the_whole_does():
    close = Close(torch.tensor([3, 5]), torch.zeros(2))
    bias = replace(plain(2), lengths=torch.full((2,), 48), close=close)
    assert bias.since([1], 2).close.last.tolist() == [3]


def test_a_bias_from_a_later_bar_on_wears_out_chords_as_the_whole_does():
    worn = torch.arange(6.0).reshape(2, 3)
    bias = replace(plain(2), tokens=torch.zeros(2, 3, len(BOOK)), worn=worn)
    assert bias.since([1], 1).worn.tolist() == [[4, 5]]
