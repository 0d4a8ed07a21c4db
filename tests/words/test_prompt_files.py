"""Prompt files: what is a prompt is read as it stands, and every line that is none is told before anything is made."""

import json

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words.prompt_files import read_prompts
from fairseq_meloformer.words.prompts import LONGEST_TEXT, MOST_BARS, Request, from_texts

GOOD = '{"id": "rain", "text": "rain"}'


def file(tmp_path, *lines):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def test_lines_and_objects_are_prompts(tmp_path):
    path = file(
        tmp_path,
        b"\xef\xbb\xbf" + "暴风雨\r".encode(),
        "",
        '{"id": "b", "text": "rain", "bars": 4, "who": {"me": [1]}}',
        "[Verse]",
    )
    first, second, third = read_prompts(path)
    assert (first.id, first.text) == ("0001", "暴风雨")
    assert (second.id, second.options, second.about) == ("b", {"bars": 4}, {"who": {"me": [1]}})
    assert third.text == "[Verse]"
    assert second.request(0, Request("", seed=3, bars=8)).bars == 4


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_line_ends_end_a_line(tmp_path, mark):
    (prompt,) = read_prompts(file(tmp_path, json.dumps({"text": f"a{mark}b"}, ensure_ascii=mark < " ")))
    assert prompt.text == f"a{mark}b"


BAD = {
    "bars 0": ('{"text": "a", "bars": 0}', "from 1 to"),
    "bars -1": ('{"text": "a", "bars": -1}', "from 1 to"),
    "bars 1e9": ('{"text": "a", "bars": 1000000000}', "from 1 to"),
    "bars true": ('{"text": "a", "bars": true}', "whole number"),
    "bars 1.5": ('{"text": "a", "bars": 1.5}', "whole number"),
    "timeline": ("1-1000000000: a", "from 1 to"),
    "timeline of digits": ("1-" + "9" * 5000 + ": a", "from 1 to"),
    "transposition": ('{"text": "a", "transposition": 1' + "0" * 30 + "}", "semitones"),
    "digits": ('{"text": "a", "seed": ' + "9" * 5000 + "}", "must be JSON"),
    "long id": ('{"text": "a", "id": "' + "i" * 240 + '"}', "at most 200 bytes, received 240"),
    "wide id": ('{"text": "a", "id": "' + "雨" * 80 + '"}', "at most 200 bytes, received 240"),
    "slash": ('{"text": "a", "id": "../a"}', "without slashes"),
    "control": ('{"text": "a", "id": "a\\u0007"}', "control characters"),
    "same id": (GOOD, "those of line 1"),
    "same id in capitals": (GOOD.replace('"id": "rain"', '"id": "RAIN"'), "those of line 1"),
    "lone surrogate": ('{"text": "a\\ud800"}', "lone surrogate"),
    "lone surrogate in an id": ('{"text": "a", "id": "\\udc00"}', "without"),
    "lone surrogate elsewhere": ('{"text": "a", "who": ["\\udc00"]}', "lone surrogate"),
    "deep": ('{"text": "a", "x": ' + "[" * 3000 + "]" * 3000 + "}", "deep|must be JSON"),
    "rather deep": ('{"text": "a", "x": ' + "[" * 100 + "]" * 100 + "}", "deep"),
    "no UTF-8": (b"caf\xe9", "must be UTF-8 text, but byte 4"),
    "list": ('["rain", "snow"]', "JSON list"),
    "list of objects": ('[{"text": "rain"}]', "JSON list"),
    "torn": ('{"text": "rain"', "must be JSON"),
    "no text": ('{"id": "a"}', '"text"'),
    "long": ("a" * (LONGEST_TEXT + 1), f"at most {LONGEST_TEXT} characters"),
}


@pytest.mark.parametrize(("line", "reason"), BAD.values(), ids=BAD)
def test_a_bad_line_is_told_with_its_number_and_can_be_left_out(tmp_path, caplog, line, reason):
    path = file(tmp_path, GOOD, line, '{"id": "snow", "text": "snow"}')
    with pytest.raises(InputError, match=rf"(?s)prompts\.jsonl.*line 2: .*({reason}).*--skip-bad"):
        read_prompts(path)
    assert [prompt.id for prompt in read_prompts(path, skip_bad=True)] == ["rain", "snow"]
    assert "line 2: " in caplog.text


def test_all_faults_are_told_at_once_and_not_more_than_can_be_read(tmp_path):
    with pytest.raises(InputError, match=r"(?s)no prompts: 2.*line 1.*line 3"):
        read_prompts(file(tmp_path, '{"text": 1}', "rain", "{"))
    with pytest.raises(InputError, match="and 980 more") as refusal:
        read_prompts(file(tmp_path, *["{"] * 1000))
    assert len(str(refusal.value)) < 3000


def test_files_that_hold_no_prompts_are_refused_as_a_whole(tmp_path):
    with pytest.raises(InputError, match="UTF-16"):
        read_prompts(file(tmp_path, "rain".encode("utf-16")))
    with pytest.raises(InputError, match="JSON list"):
        read_prompts(file(tmp_path, "[", '{"text": "rain"},', '{"text": "snow"}', "]"))
    with pytest.raises(InputError, match="at least one"):
        read_prompts(file(tmp_path, " ", ""))
    with pytest.raises(InputError, match="no file"):
        read_prompts(tmp_path / "none")
    with pytest.raises(InputError, match="line 1"):
        read_prompts(file(tmp_path, "{"), skip_bad=True)


@pytest.mark.parametrize("name", [("café", "cafe\u0301"), ("Straße", "STRASSE"), ("a", "A")])
def test_names_that_a_file_system_would_join_are_refused(tmp_path, name):
    first, second = (json.dumps({"id": each, "text": "a"}) for each in name)
    with pytest.raises(InputError, match="those of line 1"):
        read_prompts(file(tmp_path, first, second))


@pytest.mark.parametrize("text", ["rain, 9999 bars", "一万小节的雨"])
def test_bars_that_a_text_says_are_checked_with_the_lines(tmp_path, text):
    with pytest.raises(InputError, match=f"line 2: a piece must have from 1 to {MOST_BARS} bars"):
        read_prompts(file(tmp_path, "calm", text))
    (prompt,) = read_prompts(file(tmp_path, json.dumps({"text": text, "bars": 8}, ensure_ascii=False)))
    assert prompt.options["bars"] == 8


def test_requests_and_texts_have_the_same_limits():
    for wrong in ({"bars": 0}, {"bars": MOST_BARS + 1}, {"transposition": -61}):
        with pytest.raises(InputError):
            Request("a", **wrong)
    for text in ("a" * (LONGEST_TEXT + 1), "a\udcff"):
        with pytest.raises(InputError):
            from_texts([text])
