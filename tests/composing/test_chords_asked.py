"""Chords are kept bar by bar, by what is added to pitches, and bars that miss them are told."""

import pytest

from fairseq_meloformer.composing.harmony import astray, harmonised, harmony, worn
from fairseq_meloformer.composing.parts import understand
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.words.prompts import Request
from fairseq_meloformer.words.timeline import Section

C, F, G = {0, 4, 7}, {5, 9, 0}, {7, 11, 2}


def part(text, **more):
    ((found,),) = understand(None, [Request(text)])
    return harmonised(found, None, 0, None, **more)


def inside(values):
    return {pitch for pitch, value in enumerate(values.tolist()) if value == 0}


def test_pitches_of_the_chord_go_free_the_bass_keeps_to_roots_and_what_has_not_sounded_comes_first():
    found = harmony([[part("C F G C")], [part("a calm sea")]], 5, ["4/4", "4/4"])
    assert [inside(bar[0, 0]) for bar in found.pitches[0]] == [C, F, G, C, C]
    assert inside(found.pitches[0, 1, 0, 1]) == {5}
    assert {pitch for pitch, value in enumerate(found.fresh[0, 2, 1].tolist()) if value > 0} == G
    assert not found.pitches[1].any()
    assert harmony([[part("a calm sea")]], 5, ["4/4"]) is None


@pytest.mark.parametrize(("metre", "middle"), [("4/4", 24), ("3/4", 18), ("2/4", 12)])
def test_bars_of_two_chords_have_halves_and_notes_end_where_the_next_chord_lacks_them(metre, middle):
    found = harmony([[part("| C F | G |")]], 2, [metre])
    assert [[inside(half[0]) for half in bar] for bar in found.pitches[0]] == [[C, F], [G, G]]
    assert found.until[0].tolist() == [[middle, 2 * middle], [2 * middle, 2 * middle]]
    assert inside(found.held[0, 0, 0]) == F
    assert inside(found.held[0, 0, 1]) == G


def test_chords_sound_as_asked_wherever_the_piece_is_moved_to_and_begin_where_they_shall():
    names = [bar[0].name for bar in part("C F G").chords]
    ((asked,),) = understand(None, [Request("D G A")])
    assert [bar[0].name for bar in harmonised(asked, None, 2, None).chords] == names
    assert [bar[0].name for bar in part("C F G", since=2).chords] == ["F", "G", "C"]
    ((degrees,),) = understand(None, [Request("145")])
    assert not degrees.wishes.chords
    ((degrees,),) = understand(None, [Request("和弦：145")])
    assert [bar[0].name for bar in harmonised(degrees, "D major", 2, None).chords] == names


def test_chords_for_which_there_are_no_bars_are_said():
    ((asked,),) = understand(None, [Request("卡农进行")])
    assert harmonised(asked, None, 0, 6).unkept == ("chords F G (there are 6 bars for them)",)
    assert harmonised(asked, None, 0, 8).unkept == ()


def test_chords_wear_out_where_neither_chords_nor_repetition_are_asked_for():
    songs = [[part("C F G C")], [part("a calm sea")], [part("a loop that repeats")]]
    assert worn(songs, 2).lt(0).tolist() == [[False, False], [True, True], [False, False]]
    sections = [Section(1, 2, "a calm sea"), Section(3, 4, "C F G C")]
    (timeline,) = understand(None, [Request("", bars=4, sections=sections)])
    found = worn([[harmonised(one, None, 0, None) for one in timeline]], 4)
    assert found.lt(0).tolist() == [[True, True, False, False]]


def test_bars_are_told_whose_best_triad_is_another():
    bars = (
        f"t-30 o-0 i-0 {' '.join(f'p-{pitch} d-20 v-20' for pitch in pitches)} b-1"
        for pitches in ((67, 64, 60), (69, 65, 60), (67, 64, 60))
    )
    tokens = " ".join(bars).split()
    passage = Song(tokens).passage(0, None)
    assert astray(passage, part("C F C")) == 0
    assert astray(passage, part("C F G")) == pytest.approx(1 / 3)
