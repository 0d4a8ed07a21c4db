"""What prompts ask for outright, and what only looks like it."""

import pytest

from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import BASS, GUITAR, LEAD, PIANO, STRINGS
from fairseq_meloformer.words.instruments import SIX
from fairseq_meloformer.words.stated import default_reader
from fairseq_meloformer.words.wishes import read


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
        ("the grave of a king, 900 bpm", None),
        ("Grave, in D minor", 40),
        ("102.25 bpm", 102.25),
        ("120.00 BPM", 120),
        ("Beats per Minute (BPM): 96", 96),
        ("tempo around 96", 96),
        ("Tempo: approx. 88 bpm", 88),
        ("BPM=140", 140),
        ("ninety beats per minute", 90),
        ("a hundred and twenty bpm", 120),
        ("90-100 bpm", 95),
        ("♩ = 72", 72),
        ("♩. = 60", 90),
        ("half note = 60", 120),
        ("每分鐘一百二十拍", 120),
        ("速度：约96", 96),
        ("速度：88", 88),
        ("八十拍", 80),
        ("一百一二十拍的速度", 115),
        ("速度一百二十", 120),
        ("BPM一百二", 120),
        ("tempo one hundred and twenty", 120),
        ("以120的速度", 120),
        ("tempo between 80 and 90", 85),
        ("between 90 and 100 bpm", 95),
        ("it isn't vivace enough", 164),
        ("速度十分快", None),
        ("tempo: one third slower", None),
        ("以120公里的速度", None),
        ("十二八拍", None),
        ("a temple 96 steps high", None),
        ("96 tears", None),
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
        ("key of Am", "A minor"),
        ("F#m", "F# minor"),
        ("key of E", "E major"),
        ("Key: Bb", "Bb major"),
        ("a ballad in E flat, slow", "Eb major"),
        ("rock in A", "A major"),
        ("Bbm, 90 bpm", "Bb minor"),
        ("D dorian", "D minor"),
        ("E minor key", "E minor"),
        ("D小調", "D minor"),
        ("C调", "C major"),
        ("1=D", "D major"),
        ("调性：降E大调", "Eb major"),
        ("♭E大调", "Eb major"),
        ("#f小调", "F# minor"),
        ("bB大调", "Bb major"),
        ("bb小调", "Bb minor"),
        ("♭E调", "Eb major"),
        ("key of d", "D major"),
        ("key: am", "A minor"),
        ("the key of a house", None),
        ("Am I dreaming", None),
        ("in A small town", None),
        ("I am in B's house", None),
        ("plan B", None),
        ("a D major chord", None),
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


@pytest.mark.parametrize(
    ("text", "metre"),
    [
        ("a tango in 3/4", "3/4"),
        ("a waltz at midnight", "3/4"),
        ("三拍子", "3/4"),
        ("四三拍的圆舞曲", "3/4"),
        ("jig in 6/8", "6/8"),
        ("an Irish jig", "6/8"),
        ("八六拍", "6/8"),
        ("a march in 2/4", "2/4"),
        ("Time signature: 4/4", "4/4"),
        ("四四拍", "4/4"),
        ("a waltz in 4/4", "4/4"),
        ("8/8", "4/4"),
        ("不要三拍，要四拍子", "4/4"),
        ("一小节三拍", "3/4"),
        ("六八拍", "6/8"),
        ("12拍子", None),
        ("不要三拍子", None),
        ("不是3/4", None),
        ("十三拍", None),
        ("第三拍", None),
        ("三拍手", None),
        ("on 3/14 at 5", None),
        ("a march", None),
        ("not a waltz", None),
        ("jigsaw", None),
    ],
)
def test_metres(text, metre):
    assert read(text).metre == metre


@pytest.mark.parametrize(
    "text",
    [
        "輕快的鋼琴與吉他，每分鐘120拍，D小調，八小節",
        "轻快的钢琴与吉他，每分钟120拍，D小调，八小节",
        "Tempo: 120\nKey: Dm\nInstruments: piano, guitar\nBars: 8",
        "速度：120\n调性：D小调\n乐器：钢琴、吉他\n长度：8小节",
    ],
)
def test_traditional_characters_and_sheets_are_read_as_what_they_say(text):
    wishes = read(text)
    assert (wishes.tempo, wishes.key, wishes.bars) == (120, "D minor", 8)
    assert wishes.programs == {PIANO, GUITAR}


@pytest.mark.parametrize(
    "text", ["Percussion: none", "Drums: none", "鼓：无", "drums off", "Drums = no", "打击乐：没有"]
)
def test_a_line_that_says_none_refuses(text):
    wishes = read(text)
    assert wishes.programs == SIX - {DRUMS}
    assert default_reader().read(text).values["drums"] < 0


@pytest.mark.parametrize("text", ["not without drums", "不能没有鼓", "少不了鼓"])
def test_a_refusal_that_is_taken_back_asks(text):
    assert DRUMS in read(text).playing


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("a nocturne in the style of Chopin", "in the style of Chopin"),
        ("inspired by Some Unknown Band, slow", "inspired by Some Unknown Band"),
        ("像周杰伦那样的歌", "像周杰伦那样"),
        ("a song with lyrics about rain", "lyrics about rain"),
        ("female vocals, 90 bpm", "female vocals"),
        ("带歌词", "歌词"),
        ("逐渐加快", "逐渐加快"),
        ("modulating to G major at the end", "modulating to G major at the end"),
        ("900 bpm", "900 bpm"),
        ("in 5/4", "5/4"),
        ("in five", "in five"),
        ("十二拍子", "十二拍子 (metres"),
        ("12拍子", "12拍子 (metres"),
        ("十二八拍", "十二八拍 (metres"),
        ("八分之十二拍", "八分之十二拍 (metres"),
        ("八分之七拍", "八分之七拍"),
        ("七八拍", "七八拍"),
        ("60 bpm, then 120 bpm", "120 bpm"),
        ("C major, ending in A minor", "A minor"),
        ("chords: Cmaj7 F G", "Cmaj7"),
        ("flute, trumpet, oboe, clarinet, horn and tuba", "horn"),
    ],
)
def test_what_cannot_be_done_is_said(text, phrase):
    assert any(said.startswith(phrase) for said in read(text).not_honoured), read(text).not_honoured


@pytest.mark.parametrize(
    "text",
    [
        "a storm at sea",
        "no vocals, please",
        "I don't want vocals",
        "不要人声",
        "singing birds in the wood",
        "piano and strings, 90 bpm",
    ],
)
def test_nothing_is_missed_where_nothing_is_asked(text):
    assert read(text).not_honoured == ()


def test_what_is_understood_is_said_in_words():
    wishes = read("erhu and piano without drums, 102.25 bpm in Dm, 3/4, 16 bars")
    assert wishes.understood() == [
        "16 bars", "102.25 bpm", "D minor", "3/4", "piano", "erhu as its nearest kin, fiddle", "no drums",
    ]  # fmt: skip


def test_readers_of_words_do_not_see_figures():
    assert "30" not in read("fast, 30 seconds, 8 bars, in C minor, C Am F G").rest
    assert default_reader().read("gentle piano, about 30 seconds").values.keys() == {"loudness"}
    assert default_reader().read("120 bpm, 8 bars").coverage == 1
