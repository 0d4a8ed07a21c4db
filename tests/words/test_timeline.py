"""Timelines are read in all their forms, ordinary texts are left alone, and what cannot be is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words.prompt_files import read_prompts
from fairseq_meloformer.words.prompts import Request, from_texts
from fairseq_meloformer.words.timeline import Section, bar_range, read_timeline, written

TWO = [(1, 8, "calm morning"), (9, 24, "storm")]
ZWEI = [(1, 8, "宁静的早晨"), (9, 24, "暴风雨")]
FULL_WIDTH = str.maketrans("0123456789-:|", "０１２３４５６７８９－：｜")


def read(text):
    return [(section.first, section.last, section.text) for section in read_timeline(text)]


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("1-8: calm morning | 9-24: storm", TWO),
        ("bars 1 to 8: calm morning; bars 9 through 24: storm", TWO),
        ("Measures 1–8 : calm morning\n 9–24 : storm |", TWO),
        ("1-8: calm morning, 9-24: storm", TWO),
        ("1-8：宁静的早晨｜9-24：暴风雨", ZWEI),
        ("１－８：宁静的早晨｜９～２４：暴风雨", ZWEI),
        ("第1到8小节：宁静的早晨；第9到24小节：暴风雨", ZWEI),
        ("第1小节到第8小节：宁静的早晨。第9至24小节：暴风雨", ZWEI),
        ("第一到第八小节：宁静的早晨，第九到第二十四小节：暴风雨", ZWEI),
        ("bar 1: a | bar 2: b", [(1, 1, "a"), (2, 2, "b")]),
        ("1-2: a | 3: b; and c, d | 4: e", [(1, 2, "a"), (3, 3, "b; and c, d"), (4, 4, "e")]),
        ("第一小节：雷｜第二小节：雨", [(1, 1, "雷"), (2, 2, "雨")]),
    ],
)
def test_forms(text, sections):
    assert read(text) == sections


@pytest.mark.parametrize(
    "text",
    [
        "a storm",
        "calm | storm",
        "12:30 at night",
        "16 bars: calm",
        "16小节：宁静",
        "第一：要快；第二：要轻",
        "一到十：数数歌",
        "a waltz in 3/4, 2-3 voices: soft",
        "the first 4 bars: quiet",
        "",
    ],
)
def test_ordinary_texts_are_no_timelines(text):
    assert read(text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2-8: a | 9-16: b", "no section has bar 1"),
        ("1-8: a | 10-16: b", "no section has bar 9"),
        ("1-8: a | 12-16: b", "no section has bar 9-11"),
        ("1-8: a | 8-16: b", "bar 8 is in two sections"),
        ("1-8: a | 9-7: b", "bars 9-7 end before they begin"),
        ("0-8: a", "counted from 1"),
        ("1-8: | 9-16: b", "bars 1-8 do not say how"),
        ("1-8: a | b", "'b' does not begin with its bars"),
        ("a | 9-16: b", "'a' does not begin with its bars"),
        ("2020-2024: a retrospective", "if no timeline is meant"),
        ("第3到8小节：宁静", "no section has bar 1-2"),
    ],
)
def test_gaps_overlaps_and_lost_parts_are_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        read_timeline(text)


TEXTS = st.text(st.sampled_from("abc 雨雪 ,，.;。; 12-"), min_size=1).map(str.strip).filter(lambda text: text)
HEADS = ["{}-{}:", "{}–{} : ", "bars {} to {}: ", "第{}到{}小节：", "第{}小节至第{}小节:"]


@given(
    st.lists(st.tuples(st.integers(1, 40), TEXTS, st.sampled_from(HEADS)), min_size=1, max_size=6),
    st.sampled_from([" | ", "｜", "\n", "|"]),
    st.booleans(),
)
def test_what_is_written_is_read(parts, separator, wide):
    sections, pieces, first = [], [], 1
    for bars, text, head in parts:
        sections.append(Section(first, first + bars - 1, text))
        begin = head.format(first, first + bars - 1)
        pieces.append((begin.translate(FULL_WIDTH) if wide else begin) + text)
        first += bars
    assert read_timeline(separator.join(pieces)) == tuple(sections)
    assert read_timeline(written(sections)) == tuple(sections)
    assert sum(section.bars for section in sections) == sections[-1].last


@given(st.text(st.sampled_from("019-:|：｜第到小节bar 一十;，\n雨")))
def test_any_text_is_read_or_refused_and_sections_always_touch(text):
    try:
        sections = read_timeline(text)
    except InputError:
        return
    expected = 1
    for section in sections:
        assert section.first == expected <= section.last
        assert section.text
        expected = section.last + 1


def test_ranges_of_bars():
    assert bar_range("9-16") == bar_range("第9到16小节") == bar_range(" ９～１６ ") == (9, 16)
    assert bar_range("bar 9") == bar_range("9") == (9, 9)
    assert bar_range("9-") is bar_range("chorus") is bar_range("-3") is None


def test_prompts_carry_their_timelines(tmp_path):
    path = tmp_path / "prompts"
    path.write_text('1-2: a | 3-6: b\n{"text": "rain"}\n{"sections": [{"bars": "1-4", "text": "雨|雪"}]}\n')
    line, plain, listed = read_prompts(path)
    assert [section.text for section in line.sections] == ["a", "b"]
    assert plain.sections == ()
    assert listed.sections == (Section(1, 4, "雨|雪"),)
    request = line.request(0, Request("", seed=1, bars=99))
    assert (request.bars, request.sections) == (6, line.sections)
    assert from_texts(["1-2: a"])[0].sections == (Section(1, 2, "a"),)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"sections": []}, "at least one entry"),
        ({"sections": [{"bars": "x", "text": "a"}]}, "a section must be"),
        ({"sections": [{"bars": "1-4"}]}, "a section must be"),
        ({"sections": [{"bars": "2-4", "text": "a"}]}, "line 1: .*no section has bar 1"),
        ({"sections": [{"bars": "1-4", "text": "a"}], "bars": 5}, "line 1: .*4 bars of its timeline"),
        ({"text": "1-4: a | 6-8: b"}, "line 1: .*no section has bar 5"),
    ],
)
def test_bad_sections_of_a_file_are_refused_with_the_line(row, reason, tmp_path):
    path = tmp_path / "prompts"
    path.write_text(json.dumps(row))
    with pytest.raises(InputError, match=reason):
        read_prompts(path)


def test_a_request_of_another_length_than_its_timeline_is_refused():
    with pytest.raises(InputError, match="4 bars of its timeline"):
        Request("1-4: a", bars=5, sections=read_timeline("1-4: a"))


def test_pictures_and_long_texts_name_pieces_of_their_own():
    long = "a long and winding description of a rainy day"
    names = [
        prompt.id
        for prompt in from_texts(["🎹", "🥁", "👍🏽", f"{long} in spring", f"{long} in autumn", "storm!", "storm?"])
    ]
    assert len(set(names)) == 7
    assert names[:3] == ["🎹", "🥁", "👍🏽"]
    assert names[3].startswith("a_long_and_winding_description")
    assert names[5] == "storm"
    assert [prompt.id for prompt in from_texts([f"{long} in autumn"])] == [names[4]]


def test_a_text_that_comes_twice_is_refused():
    with pytest.raises(InputError, match=r"'rain' comes twice.*--count"):
        from_texts(["rain", "rain"])
