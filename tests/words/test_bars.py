"""Numbers of bars that a text states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.words.bars import stated

CHINESE_DIGITS = "零一二三四五六七八九"


@pytest.mark.parametrize(
    ("text", "bars"),
    [
        ("16 bars of rain", 16),
        ("A 16-bar piece, slow", 16),
        ("one bar", 1),
        ("thirty-two measures of calm", 32),
        ("sixty four bars", 64),
        ("seventeen bars", 17),
        ("a storm, 24bars", 24),
        ("十六小节，暴风雨", 16),
        ("16小节", 16),
        ("１６个小节的钢琴曲", 16),
        ("两小节", 2),
        ("十小节", 10),
        ("二十个小节", 20),
        ("三二小节", 32),
        ("一百二十八小节", 128),
        ("一百零八 小节", 108),
        ("百小节", 100),
        ("every 2 bars a new chord, 32 bars in all", 32),
        ("16 bars in 4-bar phrases", 16),
        ("前四小节安静，共三十二小节", 32),
    ],
)
def test_stated_numbers_are_found(text: str, bars: int) -> None:
    assert stated(text) == bars


@pytest.mark.parametrize(
    "text",
    [
        "",
        "暴风雨",
        "a bar at night",
        "the handlebars",
        "music for 3 barsides",
        "quiet in the first 4 bars",
        "every two bars a cymbal",
        "in 4-bar phrases",
        "第八小节有鼓",
        "每4小节",
        "0 bars",
        "12/8 measures",
    ],
)
def test_other_numbers_are_not(text: str) -> None:
    assert stated(text) is None


@given(st.integers(1, 999))
def test_chinese_numerals_and_digits_agree(number: int) -> None:
    hundreds, tens, units = number // 100, number // 10 % 10, number % 10
    text = f"{CHINESE_DIGITS[hundreds]}百" if hundreds else ""
    if tens:
        text += f"{CHINESE_DIGITS[tens]}十"
    elif hundreds and units:
        text += "零"
    text += CHINESE_DIGITS[units] if units else ""
    assert stated(f"{text}小节") == stated(f"{number}小节") == stated(f"{number} bars") == number
