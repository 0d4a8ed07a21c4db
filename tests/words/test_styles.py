"""Styles are read by name in two languages, and not where a word means something else."""

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.six_tracks import BASS, LEAD, STRINGS
from fairseq_meloformer.words import styles
from fairseq_meloformer.words.styles import style
from fairseq_meloformer.words.wishes import read


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a smoky jazz club at night", "jazz"),
        ("jazz waltz in f", "jazz waltz"),
        ("中国风的小桥流水", "Chinese traditional"),
        ("slow techno, dark", "techno"),
        ("凌晨三点的电音现场", "dance music"),
        ("drum and bass", "drum and bass"),
        ("8-bit music", "chiptune"),
        ("nes tune", "chiptune"),
        ("deep house track", "house"),
        ("r&b", "rhythm and blues"),
        ("节奏布鲁斯", "rhythm and blues"),
        ("摇篮曲", "lullaby"),
        ("no jazz please, but bossa nova", "bossa nova"),
        ("不要爵士，要雷鬼", "reggae"),
        ("it isn't jazzy enough", "jazz"),
        ("非常爵士", "jazz"),
    ],
)
def test_a_style_is_read(text, name):
    assert style(text).name == name


@pytest.mark.parametrize(
    "text",
    [
        "a rock in the sea",
        "metal gate",
        "in march",
        "the house at night",
        "entrance",
        "爵士鼓",
        "without jazz",
        "don't make it jazz",
        "I don't like jazz",
        "我不喜欢爵士",
        "非爵士",
        "不太爵士",
        "country road",
        "my soul",
        "folk tale",
    ],
)
def test_an_everyday_word_is_no_style(text):
    assert style(text) is None


def test_there_are_sixty_styles_each_with_tempi_of_which_a_text_chooses():
    known = [one for one, _ in styles._styles()]
    assert len({one.name for one in known}) == len(known) >= 60
    for one in known:
        slow, usual, fast = (one.tempo_at(position) for position in (-2, 0, 1))
        assert (slow, fast) == pytest.approx(one.tempo)
        assert slow < usual < fast


def test_tracks_sound_as_in_the_style_where_nobody_is_named():
    assert read("jazz").sounds[LEAD] == 66
    assert read("jazz").players == {}
    named = read("jazz for vibraphone and electric bass")
    assert named.sounds[BASS] == 33
    assert list(named.sounds.values()).count(11) == 1
    assert "jazz style" in named.understood()


@pytest.mark.parametrize("text", ["synth pop", "synth-pop", "brass band march", "合成器流行", "no synth pop"])
def test_an_instrument_in_the_name_of_a_style_is_the_styles(text):
    wishes = read(text)
    assert not wishes.instruments
    assert not wishes.only


def test_an_instrument_in_the_name_of_a_style_plays_with_others_that_are_named():
    assert read("brass band and flute").players == {LEAD: 61, STRINGS: 73}
    assert read("orchestral harp").players


@pytest.mark.parametrize(
    "fault",
    [
        {"tempo": [90, 80]},
        {"players": {"flute": 73}},
        {"players": {"lead": 73, "piano": 73}},
        {"traits": ["hop"]},
        {"zh": []},
    ],
)
def test_an_entry_that_is_wrong_is_refused_with_its_name(fault):
    entry = {"zh": ["爵士"], "en": ["jazz"], "tempo": [90, 180], "traits": ["swing"]}
    assert styles._read("jazz", entry, "music")[0].traits == {"swing"}
    with pytest.raises(InputError, match="style 'jazz': must be as the file explains"):
        styles._read("jazz", {**entry, **fault}, "music")
