"""What is read in requests word by word: negation, comparison, things and their qualities, in both languages."""

import sys
from pathlib import Path

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words import refusals, stated
from fairseq_meloformer.words.requests import Requests
from fairseq_meloformer.words.stated import default_reader


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("fast and loud", {"tempo": 1, "loudness": 1}),
        ("not loud", {"loudness": -1}),
        ("It mustn't be too loud or too fast", {"loudness": -1, "tempo": -1}),
        ("not loud enough", {"loudness": 1}),
        ("no drums, please", {"drums": -1}),
        ("not without drums", {"drums": 1}),
        ("without drums and very quiet", {"drums": -1, "loudness": -1}),
        ("neither slow nor sparse but high", {"tempo": 1, "density": 1, "register": 1}),
        ("long notes", {"sustain": 1}),
        ("wide intervals", {"leaps": 1}),
        ("fewer notes", {"density": -1}),
        ("lower the volume", {"loudness": -1}),
        ("The notes should be short.", {"sustain": -1}),
        ("a short piece", {}),
        ("The last one was loud. I want the opposite.", {"loudness": -1}),
        ("neither fast nor slow", {}),
        ("180 bpm", {"tempo": 1}),
        ("in B flat minor", {"mode": -1}),
        ("快一点，响一点", {"tempo": 1, "loudness": 1}),
        ("不要太响", {"loudness": -1}),
        ("既不快也不密", {"tempo": -1, "density": -1}),
        ("还不够快", {"tempo": 1}),
        ("没有鼓", {"drums": -1}),
        ("鼓不要", {"drums": -1}),
        ("不能没有鼓", {"drums": 1}),
        ("鼓要有，但要轻", {"drums": 1, "loudness": -1}),
        ("音符要短", {"sustain": -1}),
        ("音程要宽", {"leaps": 1}),
        ("把音量调低", {"loudness": -1}),
        ("现在太慢了", {"tempo": 1}),
        ("速度70", {"tempo": -1}),
        ("又快又响", {"tempo": 1, "loudness": 1}),
        ("又轻又慢", {"loudness": -1, "tempo": -1}),
        ("小船轻轻漂过一重又一重青山", {"loudness": -1}),
        ("告别时很轻", {"loudness": -1}),
        ("不要太快也不要太慢", {"tempo": 0}),
        ("高山上的天空", {}),
        ("暴风雨", {}),
    ],
)
def test_requests_are_read(text: str, signs: dict[str, int]) -> None:
    values = default_reader().read(text).values
    assert {axis: (value > 0) - (value < 0) for axis, value in values.items()} == signs


def test_how_much_is_asked() -> None:
    reader = default_reader()
    mild, plain, strong = (reader.read(text).values["tempo"] for text in ("a bit fast", "fast", "extremely fast"))
    assert 0 < mild < plain < strong == 1


@pytest.mark.parametrize("text", ["slow but not too slow", "慢一点但不要太慢", "very slow, but not too slow"])
def test_a_limit_moderates_what_it_limits(text: str) -> None:
    assert default_reader().read(text).values == {"tempo": -0.5}


def test_coverage_is_the_share_of_words_that_ask() -> None:
    reader = default_reader()
    assert reader.read("fast, with drums").coverage == 1
    assert reader.read("流星雨").coverage == 0
    assert 0 < reader.read("a night train through snow, very fast").coverage < 0.7
    assert reader.read("").coverage == 0


def test_most_requests_that_are_composed_are_read_rightly_and_nothing_else_in_them() -> None:
    source = Requests()
    right = asked = more = 0
    for index in range(400):
        for lang in ("zh", "en"):
            request = source.draw(f"reading {index}", lang)
            values = default_reader().read(request.text).values
            wanted = {axis: value for axis, value in request.profile.items() if value}
            asked += len(wanted)
            right += sum(values.get(axis, 0) * value > 0 for axis, value in wanted.items())
            more += sum(bool(value) and axis not in wanted for axis, value in values.items())
    assert right > 0.93 * asked
    assert more < 0.03 * asked


def test_a_grammar_that_lacks_words_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stated.yaml"
    path.write_text("deny: {en: [never], zh: [不]}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"excess, zh; .*fillers, en"):
        stated.StatedReader(grammar=path)
    monkeypatch.setattr(refusals, "GRAMMAR", path)
    with pytest.raises(InputError, match=r"stated\.yaml must have .*refuse, en"):
        refusals._grammar.__wrapped__()


@pytest.mark.parametrize(
    "unit", ["slow dark piano storm ", "缓慢黑暗的钢琴", "more long notes ", "一百二十", "not very "]
)
def test_reading_takes_time_in_proportion_to_the_text(unit):
    """Work is counted in calls of functions, which say the same on every machine."""

    def calls(length):
        counted = 0

        def count(_frame, event, _argument):
            nonlocal counted
            counted += event in {"call", "c_call"}

        reader, text = default_reader(), (unit * length)[:length]
        sys.setprofile(count)
        try:
            reader.read(text)
        finally:
            sys.setprofile(None)
        return counted

    default_reader().read(unit)
    assert calls(4000) < 2.5 * calls(2000)
