"""What returns, on music of which the answer is known, and against MusPy."""

import pytest
from measures.pieces import line, passage, together
from measures.test_harmony import random_music

from fairseq_meloformer import midi
from fairseq_meloformer.measures import repetition
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.tokens import remi

LEAD, BASS, DRUMS = 80, 43, 128
A = line(LEAD, 60, 62, 64, 65, 67, 64, 60, 55)
B = line(LEAD, 71, 60, 69, 58, 72, 61, 70, 59)


def higher(bar, semitones):
    """The same bar, transposed."""
    return [(place, notes.replace(f"p-{pitch}", f"p-{pitch + semitones}")) for place, notes in bar
            for pitch in [int(notes.split()[1][2:])]]  # fmt: skip


def test_a_figure_is_heard_again_in_any_transposition_and_in_the_same_rhythm():
    # 16 notes have 12 places; the four figures within A come again, those over the bar line do not.
    assert repetition.figures_again(passage(A, higher(A, 5))) == pytest.approx(8 / 12)
    slower = line(LEAD, 60, 62, 64, 65, step=12), line(LEAD, 67, 64, 60, 55, step=12)
    assert repetition.figures_again(passage(A, *slower)) == 0
    assert repetition.figures_again(passage(A, B)) == 0


def test_the_melody_is_the_lead_or_else_the_top_line():
    piano = [(0, "i-0 p-90 d-48 v-20"), *line(BASS, 40, 41, 42, 43)]
    start, pitch = repetition.melody(passage([*A, *piano]))
    assert pitch.tolist() == [60, 62, 64, 65, 67, 64, 60, 55]
    assert start.tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    few = passage([*line(LEAD, 60, 62), *line(0, 70, 72, 74, 76, 77)])
    assert repetition.melody(few)[1].tolist() == [70, 72, 74, 76, 77]
    chords = passage([(0, f"i-{LEAD} p-60 d-6 v-20 i-{LEAD} p-64 d-6 v-20"), *line(LEAD, 1, 2, 3, 4, first=6)])
    assert repetition.melody(chords)[1].tolist() == [64, 1, 2, 3, 4]
    assert repetition.figures_again(passage(line(LEAD, 60, 62, 64, 65))) is None


def test_bars_from_the_fifth_on_are_held_against_all_earlier_ones():
    half = [*line(LEAD, 60, 62, 64, 65), *line(LEAD, 50, 51, 52, 53, first=24)]  # half of A's notes
    assert repetition.like_an_earlier_bar(passage(A, B, B, B, A)) == 1
    assert repetition.like_an_earlier_bar(passage(A, B, B, B, half)) == pytest.approx(4 / 12)
    assert repetition.like_an_earlier_bar(passage(A, B, B, B, higher(A, 1), A)) == pytest.approx((0 + 1) / 2)
    assert repetition.like_an_earlier_bar(passage(A, A, A, A)) is None
    other = [(place, notes.replace("i-80", "i-0")) for place, notes in A]
    assert repetition.like_an_earlier_bar(passage(A, B, B, B, other)) == 0  # another instrument


def test_loudness_length_and_less_than_a_sixteenth_make_no_other_bar():
    played = [(place + 1, notes.replace("v-20", "v-9").replace("d-6", "d-3")) for place, notes in A]
    assert repetition.like_an_earlier_bar(passage(A, B, B, B, played)) == 1


def test_the_groove_is_of_the_drums():
    kit = [(0, "i-128 p-164 d-1 v-20"), (12, "i-128 p-166 d-1 v-20")]
    more = [*kit, (24, "i-128 p-164 d-1 v-20"), (36, "i-128 p-166 d-1 v-20")]
    assert repetition.groove_kept(passage([*kit, *A[1:]], more, more)) == pytest.approx((1 / 2 + 1) / 2)
    assert repetition.groove_kept(passage(kit, A, A, kit)) == pytest.approx(0)  # the middle pair says nothing
    assert repetition.groove_kept(passage(A, A)) is None


def test_repeated_and_empty_bars():
    longer = [(place, notes.replace("d-6", "d-3")) for place, notes in A]
    music = passage(A, A, longer, [], B)
    assert repetition.repeated_bars(music) == pytest.approx(1 / 3)
    assert repetition.empty_bars(music) == pytest.approx(1 / 5)
    assert repetition.repeated_bars(passage(A)) is None


def test_groove_consistency_counts_onsets_of_neighbouring_bars():
    assert repetition.groove_consistency(passage(A, A)) == 1
    assert repetition.groove_consistency(passage(A, together(60))) == pytest.approx(1 - 7 / 48)
    assert repetition.groove_consistency(passage(A)) is None


@pytest.mark.parametrize("seed", range(5))
def test_groove_consistency_agrees_with_muspy(seed, tmp_path):
    muspy = pytest.importorskip("muspy", reason="the cross-check needs muspy")
    tokens = random_music(seed)
    midi.write(remi.decode(tokens), tmp_path / "piece.mid")
    theirs = muspy.read_midi(tmp_path / "piece.mid").adjust_resolution(12)
    assert repetition.groove_consistency(Song(tokens).passage()) == pytest.approx(muspy.groove_consistency(theirs, 48))
