"""Lengths that a text states, in bars and in seconds, and numbers that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.words.length import bars_of
from fairseq_meloformer.words.wishes import read

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
        ("a hundred and twenty bars", 120),
        ("12-bar blues in E", 12),
        ("Bars: 24", 24),
        ("小节数：16", 16),
        ("16 bars with a 4-bar intro", 16),
        ("8-16 bars", 12),
        ("between 8 and 16 bars", 12),
        ("八到十六小节", 12),
        ("七八小节", 8),
        ("十五六小节", 16),
        ("二三十小节", 25),
        ("verse 2 - 8 bars", 8),
        ("八小节四个和弦", 8),
    ],
)
def test_stated_numbers_are_found(text: str, bars: int) -> None:
    assert read(text).bars == bars


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
        "一小节一个和弦",
        "一小节三拍",
        "one bar per chord",
        "1-8小节安静，9-16小节热闹",
        "第9到16小节",
        "12/8 measures",
    ],
)
def test_other_numbers_are_not(text: str) -> None:
    assert read(text).bars is None


@given(st.integers(1, 999))
def test_chinese_numerals_and_digits_agree(number: int) -> None:
    hundreds, tens, units = number // 100, number // 10 % 10, number % 10
    text = f"{CHINESE_DIGITS[hundreds]}百" if hundreds else ""
    if tens:
        text += f"{CHINESE_DIGITS[tens]}十"
    elif hundreds and units:
        text += "零"
    text += CHINESE_DIGITS[units] if units else ""
    assert read(f"{text}小节").bars == read(f"{number}小节").bars == read(f"{number} bars").bars == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("gentle piano, about 30 seconds", 30),
        ("30秒", 30),
        ("a two-minute piece", 120),
        ("45s of rain", 45),
        ("三十秒的钢琴", 30),
        ("半分钟", 30),
        ("一分三十秒", 90),
        ("两分半钟", 150),
        ("1分20秒", 80),
        ("1.5 minutes", 90),
        ("a minute and a half", 90),
        ("one minute and 20 seconds of rain", 80),
        ("Length: 1:30", 90),
        ("时长：45秒", 45),
        ("half a minute of calm", 30),
        ("2 min 5 s", 125),
        ("90-second jingle", 90),
        ("two and a half minutes", 150),
        ("3 and a half minutes", 210),
        ("3½ minutes", 210),
        ("½ minute", 30),
        ("两三分钟", 150),
        ("三五分钟", 240),
        ("an hour of calm music", 3600),
        ("half an hour", 1800),
        ("a piece of about half an hour", 1800),
        ("一小时", 3600),
        ("一个半小时", 5400),
        ("a 1:30 piece", 90),
        ("a 60s loop", 60),
    ],
)
def test_lengths_in_time(text: str, seconds: float) -> None:
    assert read(text).seconds == seconds


@pytest.mark.parametrize(
    "text",
    [
        "120 beats per minute",
        "120 beats a minute, slow",
        "80s pop",
        "'80s rock music",
        "1980s disco",
        "music of the 80s",
        "他等了一小时",
        "they waited an hour.",
        "24 hours in Tokyo",
        "小时候",
        "每分钟90拍",
        "five minutes before midnight",
        "a ten minute walk",
        "the last 10 seconds are quiet",
        "every 30 seconds a bell",
        "前30秒很轻",
        "三分钟热度",
        "a second chance",
        "one second thought",
        "the seconds tick away",
        "十分快",
        "3 s-waves",
    ],
)
def test_other_times_are_no_lengths(text: str) -> None:
    assert read(text).seconds is None


def test_bars_of_a_length_in_seconds() -> None:
    assert bars_of(30, 120) == 15
    assert bars_of(30, 80, quarters=3) == 13
    assert bars_of(0.1, 60) == 1
