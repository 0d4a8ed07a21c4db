"""Sections by name: lengths, what they sound like, returns; and texts that only mention such names."""

import pytest

from fairseq_meloformer.words.form import read_form
from fairseq_meloformer.words.prompts import from_texts


def lengths(text):
    return [section.bars for section in read_form(text)]


@pytest.mark.parametrize(
    ("text", "bars"),
    [
        ("intro (4 bars) - verse (8 bars) - chorus (8 bars)", [4, 8, 8]),
        ("前奏4小节，主歌8小节", [4, 8]),
        ("前奏4小節，副歌八小節，尾奏4小節", [4, 8, 4]),
        ("[Verse] 8 bars\n[Chorus] 8 bars", [8, 8]),
        ("[Intro]\nsoft piano, 4 bars\n[Verse 1]\n8 bars\n[Chorus: 8 bars]\n[Verse 2]\n[Chorus]", [4, 8, 8, 8, 8]),
        ("verse 8 bars, chorus 8 bars", [8, 8]),
        ("4-bar intro, 8-bar verse, 8-bar chorus", [4, 8, 8]),
        ("an eight bar verse followed by a sixteen bar chorus", [8, 16]),
        ("verse: 8 bars; chorus: 4 bars x2", [8, 4, 4]),
        ("intro -> verse -> chorus -> outro", [4, 8, 8, 4]),
        ("32 bars: verse, chorus, verse, chorus", [8, 8, 8, 8]),
        ("主歌、副歌、主歌、副歌", [8, 8, 8, 8]),
        ("AABA form, 32 bars", [8, 8, 8, 8]),
        ("结构：ABA，24小节", [8, 8, 8]),
        ("rondo form", [8, 8, 8, 8, 8]),
        ("A段8小节，B段8小节，A段", [8, 8, 8]),
        ("intro 10 seconds, verse 20 seconds, at 96 bpm", [4, 8]),
        ("[Intro] soft piano\n[Verse] grows to the chorus\n[Chorus] drums, loud", [4, 8, 8]),
        ("intro 8, verse 16, chorus 16", [8, 16, 16]),
        ("前奏8，主歌16，副歌16", [8, 16, 16]),
        ("verse 1, chorus 1, verse 2, chorus 2", [8, 8, 8, 8]),
    ],
)
def test_lengths_of_sections(text, bars):
    assert lengths(text) == bars


@pytest.mark.parametrize(
    "text",
    [
        "a boy on a bridge over the water",
        "off the hook",
        "solo piano",
        "the verse of an old poet and a chorus of frogs",
        "a 4-bar intro and then rain",
        "the end of the bridge, the drop of rain",
        "16 bars",
        "暴风雨",
        "the theme park, variation of light",
    ],
)
def test_other_texts_have_no_sections(text):
    assert read_form(text) == ()


def test_sections_say_what_is_said_of_them_and_of_the_whole():
    verse, chorus, again = read_form("sad piano ballad in A minor: verse 8 bars, chorus 8 bars, verse")
    assert verse.text == again.text == "sad piano ballad in A minor"
    assert chorus.text == "sad piano ballad in A minor, loud and dense"
    assert [section.name for section in (verse, chorus, again)] == ["verse", "chorus", "verse"]
    own = read_form("Tempo: 96\n[Verse] 8 bars soft piano\n[Chorus] 8 bars with drums")
    assert [section.text for section in own] == ["Tempo: 96, soft piano", "Tempo: 96, with drums"]
    after = read_form("verse 8 bars, chorus 8 bars, slow and sad")
    assert [section.text for section in after] == ["slow and sad", "slow and sad, loud and dense"]
    assert [section.text for section in read_form("前奏4小节，主歌8小节")] == ["稀疏、很轻", "主歌"]


@pytest.mark.parametrize(
    ("text", "sounds"),
    [
        ("intro 4 bars then verse 8 bars", ["sparse and quiet", "verse"]),
        ("verse and chorus", ["verse", "loud and dense"]),
        ("an eight bar verse followed by a sixteen bar chorus", ["verse", "loud and dense"]),
    ],
)
def test_words_that_join_sections_describe_none(text, sounds):
    assert [section.text for section in read_form(text)] == sounds


def test_a_prompt_with_sections_is_as_long_as_they_are():
    (prompt,) = from_texts(["intro (4 bars) - verse (8 bars) - chorus (8 bars)"])
    assert prompt.sections[-1].last == 20
