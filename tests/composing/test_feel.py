"""Pieces in a style move as it does: jazz swings, 中国风 is pentatonic, techno has a bass drum on every beat."""

from dataclasses import replace
from statistics import fmean

import pytest
from composing.test_full_system import SETTINGS, composer, system  # noqa: F401  a fixture

from fairseq_meloformer.composing.feel import growth, kicks
from fairseq_meloformer.composing.parts import understand
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.midi.metre import POSITIONS
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.words.prompts import Request, from_texts

KICK = 36


def composed(composer, text, bars=3):  # noqa: F811
    return system(composer).compose([Request(text, seed=3, bars=bars)], replace(SETTINGS, bar_tokens=800))[0]


def onsets(piece, *, drums=False):
    """(position, pitch) of the notes."""
    beat = piece.midi.ticks_per_beat
    return [
        (round(POSITIONS * note.start / beat), note.pitch)
        for track in piece.midi.instruments
        for note in track.notes
        if track.is_drum or not drums
    ]


def share(piece, holds):
    found = [holds(position, pitch) for position, pitch in onsets(piece)]
    return sum(found) / len(found)


def test_jazz_swings(composer):  # noqa: F811
    def on_thirds(position, pitch):  # noqa: ARG001
        return position % (POSITIONS // 3) == 0

    assert share(composed(composer, "jazz, drumless", bars=6), on_thirds) > 0.85
    assert share(composed(composer, "rain, drumless"), on_thirds) < 0.5


def test_chinese_music_is_pentatonic_unless_chords_are_asked_for(composer):  # noqa: F811
    def within(position, pitch):  # noqa: ARG001
        return pitch % 12 in (0, 2, 4, 7, 9)

    assert share(composed(composer, "中国风, drumless"), within) > 0.85
    assert share(composed(composer, "rain, drumless"), within) < 0.6
    traits = [understand(None, [Request(text)])[0][0].traits for text in ("中国风", "中国风, F Dm Bb C")]
    assert traits == [{"pentatonic"}, set()]


def test_techno_has_a_bass_drum_on_every_beat(composer):  # noqa: F811
    heard = {position for position, pitch in onsets(composed(composer, "techno"), drums=True) if pitch == KICK}
    assert heard >= {POSITIONS * beat for beat in range(12)}


def test_a_section_has_its_own_feel():
    (request,) = [prompt.request(0, Request("")) for prompt in from_texts(["1: rain | 2-3: house music"])]
    assert kicks([understand(None, [request])[0]], 3, ["4/4"]).tolist() == [[0, 48, 48]]
    assert kicks([understand(None, [Request("rain")])[0]], 3, ["4/4"]) is None


def test_without_drums_there_is_no_bass_drum(composer):  # noqa: F811
    assert DRUMS not in measure(composed(composer, "techno, no drums").midi)["instruments"]


def test_a_style_has_its_tempo_unless_a_text_says_another(composer):  # noqa: F811
    tempi = [measure(composed(composer, text, 2).midi)["tempo"] for text in ("techno", "fast techno", "techno, 90 bpm")]
    assert tempi == pytest.approx([132, 137, 90])
    lasting = system(composer).compose([Request("techno, 10 seconds", seed=1)], SETTINGS)[0]
    assert measure(lasting.midi)["seconds"] == pytest.approx(10, abs=0.2)


def test_its_players_are_heard(composer):  # noqa: F811
    programs = {track.program for track in composed(composer, "heavy metal, drumless").midi.instruments}
    assert programs <= {29, 34, 30, 18, 48}
    assert programs & {29, 34, 30, 18}


def test_words_ask_for_traits_and_take_those_of_a_style_back():
    traits = [
        understand(None, [Request(text)])[0][0].traits for text in ("swung", "jazz", "jazz, no swing", "五声音阶")
    ]
    assert traits == [{"swing"}, {"swing"}, set(), {"pentatonic"}]


def test_a_crescendo_grows_over_its_part_alone():
    (part,) = understand(None, [Request("a crescendo")])[0]
    loud = [growth(part, bar, 8) for bar in range(8)]
    assert loud == sorted(loud)
    assert loud[0] == -loud[-1] < -1
    later = replace(part, first=4, last=6)
    assert [growth(later, bar, 8) for bar in (4, 5)] == [loud[0], loud[-1]]
    assert growth(replace(part, profile={}), 3, 8) == growth(part, 0, 1) == 0.0


def test_a_piece_gets_louder_if_it_is_asked_to(composer):  # noqa: F811
    def slope(text):
        pieces = system(composer).compose([Request(text, seed=seed, bars=6) for seed in range(4)], SETTINGS)
        return fmean(measure(piece.midi)["dynamics"] for piece in pieces)

    assert slope("a crescendo") > slope("rain") + 10
    assert slope("a decrescendo") < slope("rain") - 10
