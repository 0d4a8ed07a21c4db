"""The control report from end to end at a small size: pieces, resumption, numbers, pictures, refusals."""

import json

import pytest
import torch
from injection.models import bridge, museformer

from fairseq_meloformer import cli, midi
from fairseq_meloformer.evaluation.control import measure
from fairseq_meloformer.evaluation.control.command import PROMPTS
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.words.probe import Probe, ProbeConfig

SMALL = ["--pieces", "4", "--seeds", "2", "--bars", "4", "--sweep-bars", "2", "--none-pieces", "4", "--nfe", "2"]
NOTHING_ELSE = ["--storms", "0", "--exact", "0", "--timelines", "0"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    museformer(scope="plan").save_pretrained(folder / "museformer")
    bridge().save_pretrained(folder / "bridge")
    torch.manual_seed(0)
    Probe(ProbeConfig(encoder="dummy:12", text_dim=12)).save_pretrained(folder / "probe")
    paths = [(f"--{flag}", str(folder / name)) for flag, name in
             (("model", "museformer"), ("bridge", "bridge"), ("probe", "probe"))]  # fmt: skip
    return ["--prompts", str(PROMPTS / "development.jsonl"), *(part for pair in paths for part in pair)]


def evaluate(models, folder, *arguments):
    status = cli.main(["evaluate", "control", "--output", str(folder), *SMALL, *models, *arguments])
    return status, json.loads((folder / "results.json").read_text()) if status == 0 else None


@pytest.fixture(scope="module")
def report(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    further = ["--full-system", "--best-of", "2", "--scopes", "plan", "--sweep-pieces", "2", "--storms", "2"]
    status, found = evaluate(models, folder, *further, "--exact", "2", "--timelines", "1")
    assert status == 0
    return folder, found


def test_everything_that_was_asked_for_is_composed_and_scored(report):
    folder, found = report
    assert found["pieces"]["made"] == found["pieces"]["wanted"]
    assert set(found["systems"]) == {"bridge", "full"}
    for system in found["systems"].values():
        assert set(system["axes"]) == set(AXES)
        assert 0 <= system["mean"]["low"] <= system["mean"]["value"] <= system["mean"]["high"] <= 1
        assert len(system["seeds"]) == 2
        assert set(system["windows"]) == {"1-2", "3-4"}
        assert system["sections"]["sections"] == 2
        assert system["storms"]["流星雨"]["pieces"] == system["storms"]["暴风雨"]["pieces"] == 2
        lift = system["mean"]["value"] - system["shuffled"]["mean"]["value"]
        assert system["lift"]["value"] == pytest.approx(lift, abs=2e-4)
    full, unplanned = found["systems"]["full"]["mean"]["value"], found["unplanned"]
    assert set(unplanned["axes"]) == set(AXES)
    assert unplanned["plan_adds"]["value"] == pytest.approx(full - unplanned["mean"]["value"], abs=2e-4)
    assert [row["layers"] for row in found["scopes"]] == [None, [0], [1]]
    assert sorted(row["strength"] for row in found["strengths"]) == [0.5, 1.0, 1.5]
    assert found["exact"]["tempo"] == found["exact"]["bars"] == 1.0  # exact whatever the weights are
    for name in ("axes", "languages", "bars", "scopes", "strengths"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.md").read_text()
    assert "| mean directional accuracy |" in page
    assert "暴风雨" in page
    assert "## Sections of timelines" in page
    assert "Decoding control without the plan:" in page
    assert "target" not in page  # what is good enough is for the reader to say
    rows = [json.loads(line) for line in (folder / "chunks.jsonl").read_text().splitlines()]
    piece = rows[0]["pieces"][0]
    assert len(midi.read(folder / piece["midi"]).instruments) > 0


def test_the_same_command_composes_nothing_again_and_more_seeds_only_what_is_missing(models, tmp_path):
    assert evaluate(models, tmp_path, *NOTHING_ELSE)[0] == 0
    log = (tmp_path / "chunks.jsonl").read_bytes()
    first = (tmp_path / "results.json").read_bytes()
    assert evaluate(models, tmp_path, *NOTHING_ELSE)[0] == 0
    assert (tmp_path / "chunks.jsonl").read_bytes() == log
    assert (tmp_path / "results.json").read_bytes() == first
    assert (
        evaluate(models, tmp_path, *NOTHING_ELSE, "--tilt", "2")[0] == 0
    )  # of the full system, which is not asked for
    assert (tmp_path / "chunks.jsonl").read_bytes() == log
    assert evaluate(models, tmp_path, *NOTHING_ELSE, "--none-pieces", "5")[0] == 0
    assert (tmp_path / "chunks.jsonl").read_bytes().startswith(log)


def test_storms_and_sections_are_held_against_the_same_bars_without_injection(models, tmp_path):
    few = ["--pieces", "2", "--seeds", "1", "--bars", "6", "--none-pieces", "2", "--exact", "0"]
    assert evaluate(models, tmp_path, *few, "--sweep-bars", "3", "--storms", "1", "--timelines", "1")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "chunks.jsonl").read_text().splitlines()]
    none = [piece for row in rows if row["id"].startswith("none-") for piece in row["pieces"]]
    assert len(none) == 2
    assert all({"1-3", "4-6"} <= set(piece["spans"]) for piece in none)


def test_bars_that_are_measured_anyway_shape_no_chunk(monkeypatch):
    monkeypatch.setattr(measure, "_identity", str)
    setup = measure.Setup("", "", "", Sampling(), 1.0, 2, 0.3, 4, 8, "cpu", "")
    condition, items = measure.Condition("oracle", 16), [measure.WantedPiece("a", "", 0)]

    def chunk(*spans):
        (found,) = measure.chunks(setup, condition, items, spans=spans)
        return found

    assert chunk((0, 8), (8, 16)) == chunk((0, 2), (2, 4)) == chunk()
    assert chunk((0, 6)).id != chunk().id
    assert chunk((0, 6), (0, 8)).spans == ((0, 6),)


def test_the_oracle_follows_real_songs(models, report, tmp_path):
    folder, _ = report
    arguments = ["--store", str(folder / "pieces"), "--arms", "text,none,oracle", "--bars", "2"]
    status, found = evaluate(models, tmp_path, *NOTHING_ELSE, *arguments)
    assert status == 0
    assert found["oracle"]["prompts"] == len(found["oracle"]["songs"]) > 0
    assert "Oracle (plans of real songs" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seeds", "0", "--bars", "1"], "--seeds must be at least 1; --bars must be at least --sweep-bars"),
        (["--arms", "text,magic"], "--arms must be some of text,shuffled,none,oracle,unplanned"),
        (["--scopes", "everywhere"], "--scopes must be some of"),
        (["--arms", "none"], "must have text and none"),
        (["--store", "nowhere"], "nowhere is neither"),
        (["--arms", "text,none,oracle"], "--arms oracle needs --store"),
        (["--arms", "text,none,unplanned"], "--arms unplanned needs --full-system"),
    ],
)
def test_bad_arguments_are_refused(arguments, reason, models, tmp_path, capsys):
    assert evaluate(models, tmp_path, *NOTHING_ELSE, *arguments)[0] == 2
    assert reason in capsys.readouterr().err


def test_prompts_without_directions_are_refused(models, tmp_path, capsys):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"id": "a", "text": "rain", "lang": "en", "kind": "stated"}\n')
    assert evaluate(models, tmp_path, "--prompts", str(prompts))[0] == 2
    assert '"directions"' in capsys.readouterr().err
