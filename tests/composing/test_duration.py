"""Pieces last the seconds that they are asked to last, in any metre, or it is said how long they are instead."""

import pytest

from fairseq_meloformer.composing.duration import timed
from fairseq_meloformer.composing.parts import metre_of, understand
from fairseq_meloformer.words.prompts import Request, from_texts

QUARTERS = {"4/4": 4, "3/4": 3, "6/8": 3, "2/4": 2}


def made(text, bars=None):
    request = from_texts([text])[0].request(0, Request("", bars=bars))
    request, parts = timed(request, understand(None, [request])[0], 100.0)
    ends = [part.last or request.bars for part in parts]
    begins = [part.first for part in parts]
    quarters = QUARTERS[metre_of(parts)]
    spans = [60 * quarters * (end - begin) / part.tempo for begin, end, part in zip(begins, ends, parts, strict=True)]
    return request, parts, spans


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("gentle piano, about 30 seconds", 30),
        ("30秒", 30),
        ("a two-minute piece", 120),
        ("两分半钟的弦乐", 150),
        ("a waltz, 20 seconds", 20),
        ("a jig in 6/8, 45 seconds", 45),
        ("波尔卡，25秒", 25),
        ("90 bpm, 31 seconds", 31),
        ("每分钟140拍，三拍子，40秒", 40),
        ("16 bars, 30 seconds", 30),
        ("verse 10 seconds, chorus 20 seconds", 30),
        ("60 seconds: verse 8 bars, chorus 8 bars", 60),
        ("3 seconds", 3),
        ("120 minutes", 7200),
    ],
)
def test_pieces_last_what_is_asked(text, seconds):
    _, parts, spans = made(text)
    assert sum(spans) == pytest.approx(seconds, rel=0.1)
    assert not any(part.unkept for part in parts)


def test_what_is_open_is_set_and_what_is_asked_stays():
    request, (part,), _ = made("90 bpm, 32 seconds")
    assert (request.bars, part.tempo) == (12, 90)
    request, (part,), _ = made("8 bars, 16 seconds")
    assert (request.bars, part.tempo) == (8, 120)
    assert made("16 seconds", bars=4)[1][0].tempo == 60
    request, (part,) = timed(Request("rain", bars=3), understand(None, [Request("rain", bars=3)])[0], 100.0)
    assert (request.bars, part.tempo) == (3, None)


def test_each_section_of_a_timeline_may_say_how_long_it_is():
    _, parts, spans = made("1-4: calm, 16 seconds | 5-12: storm, 12 seconds")
    assert spans == pytest.approx([16, 12], rel=1e-3)
    assert [part.tempo for part in parts] == [60, 160]


@pytest.mark.parametrize(("bars", "said"), [(16, ("8 bars (16 are asked for)",)), (8, ()), (None, ())])
def test_bars_of_a_text_beside_which_others_are_asked_for_are_said(bars, said):
    request, (part,) = timed(Request("8 bars, calm", bars=bars), understand(None, [Request("8 bars, calm")])[0], 100.0)
    assert (request.bars, part.unkept) == (bars or 8, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60 bpm, 6 seconds", "6 seconds (2 bars at 60 bpm last 8 seconds)"),
        ("8 bars, 120 bpm, 30 seconds", "30 seconds (8 bars at 120 bpm last 16 seconds)"),
        ("120 bpm, 60 minutes", "3600 seconds (1024 bars at 120 bpm last 2.05e+03 seconds)"),
        ("4 bars, 1 second", "1 seconds (4 bars at 256 bpm last 3.75 seconds)"),
    ],
)
def test_what_cannot_be_is_said_with_what_was_done_instead(text, said):
    assert made(text)[1][0].unkept == (said,)
