"""What prompts ask for exactly, and what only looks like it."""

import pytest

from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import BASS, GUITAR, LEAD, PIANO, STRINGS
from fairseq_meloformer.words.exact import SIX, read


@pytest.mark.parametrize(
    ("text", "tempo"),
    [
        ("a calm river at 92 bpm", 92),
        ("120 beats per minute, please", 120),
        ("Tempo 140", 140),
        ("quarter note = 66", 66),
        ("每分钟88拍的夜曲", 88),
        ("速度１２０", 120),
        ("来一首 150拍 的曲子", 150),
        ("an Adagio for the evening", 70),
        ("雨后的小快板", 118),
        ("急板", 180),
        ("not presto", None),
        ("16 bars in 4/4", None),
        ("四四拍", None),
        ("3拍子", None),
        ("a tempo that never changes", None),
        ("the grave of a king, 900 bpm", 40),
        ("a storm", None),
    ],
)
def test_tempi_by_number_and_by_word(text, tempo):
    assert read(text).tempo == tempo


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("in D minor", "D minor"),
        ("in a minor", "A minor"),
        ("Piano, A minor, 8 bars", "A minor"),
        ("the key of B flat major", "Bb major"),
        ("F# minor, slow", "F# minor"),
        ("Eb maj", "Eb major"),
        ("C-sharp minor", "C# minor"),
        ("降B大调的进行曲", "Bb major"),
        ("升c小调夜曲", "C# minor"),
        ("G♭大调", "F# major"),
        ("in a minor key", None),
        ("A minor tonality with a snare", None),
        ("a minor disaster", None),
        ("a major road", None),
        ("大调", None),
        ("not in C major", None),
    ],
)
def test_keys(text, key):
    assert read(text).key == key


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        ("a lullaby for piano", {PIANO}),
        ("guitar and strings in the rain", {GUITAR, STRINGS}),
        ("piano, bass and drums", {PIANO, BASS, DRUMS}),
        ("弦乐和长笛", {STRINGS, LEAD}),
        ("钢琴独奏", {PIANO}),
        ("drums only", {DRUMS}),
        ("a solo for violin", {STRINGS}),
        ("heavy drums", None),
        ("more bass", None),
        ("no drums", SIX - {DRUMS}),
        ("without piano or guitar", SIX - {PIANO, GUITAR}),
        ("leave the percussion out", SIX - {DRUMS}),
        ("不要鼓和贝斯", SIX - {DRUMS, BASS}),
        ("没有钢琴的夜晚", SIX - {PIANO}),
        ("piano without drums", {PIANO}),
        ("strings, no piano", {STRINGS}),
        ("the bass register of the church", None),
        ("用鼓舞人心的音乐", None),
        ("guitar strings breaking", {GUITAR}),
        ("a night train through snow", None),
    ],
)
def test_instruments(text, programs):
    assert read(text).programs == programs


def test_what_is_named_can_be_told_from_what_may_play():
    asked = read("loud drums, but no guitar")
    assert (asked.playing, asked.absent, asked.only) == ({DRUMS}, {GUITAR}, False)
