"""Methods trained by the real task for a few steps, then compared by the real command."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("fairseq", reason="training needs fairseq")

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import train
from small_corpus import prepare

from fairseq_meloformer.cli import main
from fairseq_meloformer.evaluation.methods import command, report
from fairseq_meloformer.evaluation.methods.measure import (
    Evaluator,
    HeldOutSong,
    SampleSizes,
    control,
    distance,
    rank_correlations,
)
from fairseq_meloformer.plugin import compat

METHODS = ("bridge", "prefix", "retrieval", "mean")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    compat.apply()
    prepared = prepare(tmp_path_factory.mktemp("prepared"))
    out = tmp_path_factory.mktemp("methods")
    for method in METHODS:
        given = ["--task", "summary_bridge", "--arch", "summary_bridge_debug", "--criterion", "summary_bridge"]
        given += ["--method", method, "--text-encoder", "dummy:12", "--most-bars", 8, "--bank", 8, "--batch-size", 4]
        given += ["--optimizer", "adam", "--lr", 0.01, "--num-workers", 0, "--max-update", 4, "--no-epoch-checkpoints"]
        given += ["--save-interval-updates", 2, "--keep-interval-updates", -1, "--disable-validation"]
        if method == "prefix":
            given += ["--museformer", prepared.museformer, "--songs", prepared.songs]
        given += ["--cpu", "--save-dir", out / method]
        parser = options.get_training_parser()
        args = options.parse_args_and_arch(parser, [str(part) for part in (prepared.store, *given)])
        train.main(convert_namespace_to_omegaconf(args))
    return prepared, out


def evaluate(prepared, out, *more):
    sizes = ("--bars", 2, "--prompts", 6, "--diverse", 1, "--seeds", 2, "--nfe", 2, "--checkpoints", 2)
    sizes += ("--bar-tokens", 8)
    arguments = ("evaluate", "methods", out, "--store", prepared.store, "--model", prepared.museformer, *sizes, *more)
    return main([str(part) for part in arguments])


def test_a_difference_of_means_is_what_loud_songs_have_and_soft_ones_have_not():
    loud, soft = torch.tensor([3.0, 5.0]), torch.tensor([1.0, 5.0])
    pool = [
        HeldOutSong(str(level), "", "", {"loudness": level}, summary.repeat(4, 1, 1))
        for level, summary in enumerate((soft, soft, loud, loud))
    ]
    asked = [HeldOutSong(text, "", text, {}, loud) for text in ("loud music", "soft music", "music")]
    songs = SimpleNamespace(sizes=SampleSizes(bars=2), held_out=asked, pool=pool, ids=lambda _: [])
    plans = Evaluator(None, songs).differences()
    assert plans.shape == (3, 2, 1, 2)
    assert torch.equal(plans[:, 0], plans[:, 1])
    more, less, nothing = plans[:, 0, 0]
    assert (more[0], less[0]) == (pytest.approx(4, abs=1), pytest.approx(0, abs=1))
    assert nothing[0] == pytest.approx(2, abs=0.3)
    assert plans[..., 1].unique().tolist() == [5.0]


def test_methods_are_compared_and_the_command_goes_on(trained, monkeypatch):
    monkeypatch.setattr(command, "COSTS", ((2, 6), (3, 6), (4, 6), (3, 4), (3, 12)))
    prepared, out = trained
    assert evaluate(prepared, out, "--songs", prepared.songs) == 0
    found = json.loads((out / "results.json").read_text())
    assert set(found["methods"]) == set(METHODS)
    for method, curve in found["curves"].items():
        assert [row["updates"] for row in curve] == [2, 4]
        assert 0 < curve[0]["seconds"] < curve[1]["seconds"]
        assert all(np.isfinite(row["nats"]) for row in curve)
        assert all((row["plan_error"] is None) == (method == "prefix") for row in curve)
        assert "diversity" not in curve[0]
    last = found["methods"]
    assert last["mean"]["diversity"]["plans"] == last["prefix"]["diversity"]["plans"] == 0
    assert min(last["bridge"]["diversity"]["plans"], last["retrieval"]["diversity"]["plans"]) >= 0
    assert last["bridge"]["diversity"]["plans"] > 0
    assert all(np.isfinite(found["cost"][method]["tokens"]) for method in METHODS)
    table = (out / "report.md").read_text()
    assert all(f"| {name} |" in table for name in (*METHODS, "oracle", "difference", "none"))
    assert "Ten times faster than a soft prompt" in table
    assert (out / "convergence.png").read_bytes().startswith(b"\x89PNG")

    lines = (out / "measured.jsonl").read_text().splitlines()
    (out / "measured.jsonl").write_text("\n".join(lines[:3]) + "\n")
    assert evaluate(prepared, out, "--songs", prepared.songs) == 0
    again = (out / "measured.jsonl").read_text().splitlines()
    assert (again[:3], len(again)) == (lines[:3], len(lines))


def test_what_cannot_be_compared_is_refused(trained, tmp_path, capsys):
    prepared, out = trained
    for arguments, reason in (
        ((prepared, tmp_path), "run compare_methods.sh"),
        ((prepared, out, "--budget", 0), "run compare_methods.sh"),
        ((prepared, out, "--bars", 40), "captioned songs of 40 bars"),
        ((prepared, out, "--seeds", 1), "--seeds must be at least 2"),
        ((prepared, out, "--nfe", 0), "--nfe must be at least 1"),
    ):
        assert evaluate(*arguments) == 2
        assert reason in capsys.readouterr().err


def test_rank_correlation_counts_what_is_missing_and_what_is_flat():
    asked = np.array([[1.0, 1, 5], [2, 1, 6], [3, 1, 7], [4, 1, 8]])
    heard = np.array([[10.0, 3, 2], [20, 1, 2], [40, 2, 2], [80, 5, 2]])
    found = rank_correlations(asked, heard)
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])
    assert found[2] == 0
    heard[0, 0] = np.nan
    assert 0 < rank_correlations(asked, heard)[0] < 1


def test_control_is_the_mean_over_axes_with_its_interval():
    generator = np.random.default_rng(1)
    asked = generator.normal(size=(30, 8))
    noise = generator.normal(size=(30, 8))
    strong, weak, none = (control(asked, asked + level * noise) for level in (0.1, 1.0, 100.0))
    assert strong["value"] > weak["value"] > none["value"]
    for one in (strong, weak, none):
        assert one["low"] <= one["value"] <= one["high"]
    assert set(strong["axes"]) >= {"tempo", "drums"}


def test_distance_is_the_mean_over_pairs():
    assert distance(np.array([[0.0, 0], [3, 3], [0, 0]])) == pytest.approx(2)
    assert distance(np.array([[0.0, np.nan], [4, 1]])) == pytest.approx(4)


def curve(measure, *points):
    return [{"seconds": seconds, measure: value} for seconds, value in points]


@pytest.mark.parametrize(
    ("prefix", "verdict"),
    [
        ([(100, 0.1), (399, 0.15)], "cannot be told here. To 0.200, .* came in 40 s and the prefix not in 399 s"),
        ([(100, 0.1), (400, 0.15)], "holds here. To 0.200, .* came in 40 s and the prefix not in 400 s"),
        ([(100, 0.1), (400, 0.3)], "does not hold here. To 0.300, .* came in 60 s and the prefix in 400 s"),
        ([(100, 0.1), (900, 0.3)], "holds here. To 0.300, .* came in 60 s and the prefix in 900 s"),
    ],
)
def test_a_verdict_on_speed_needs_a_level_beyond_that_of_no_plan(prefix, verdict, tmp_path):
    heard = {"bridge": [(20, 0.1), (60, 0.3), (80, 0.4)], "prefix": prefix}
    intervals = {"low": 0.0, "high": 0.2}
    rows = [
        {"method": method, "seconds": seconds, "heard": intervals | {"value": value}, "costs": costs(), "updates": 1}
        for method, points in heard.items()
        for seconds, value in points
    ]
    references = {name: {"heard": intervals | {"value": 0.1}} for name in ("none", "difference", "oracle")}
    found = report.results(references, rows) | {"settings": {"songs": 3, "bars": 2}}
    report.write_markdown(found, tmp_path / "report.md")
    assert re.search(f"by control of pieces: {verdict}", (tmp_path / "report.md").read_text())


def costs():
    return [{"bars": bars, "bar_tokens": tokens, "seconds": bars * tokens} for bars, tokens in command.COSTS]


def test_seconds_to_a_level():
    rising = curve("heard", (10, {"value": 0.0}), (20, {"value": 0.4}), (40, {"value": 0.2}))
    assert report.seconds_to(rising, "heard", 0.2) == pytest.approx(15)
    assert report.seconds_to(rising, "heard", -1) == 10
    assert report.seconds_to(rising, "heard", 0.5) is None
    falling = curve("nats", (10, 3.0), (30, 1.0))
    assert report.seconds_to(falling, "nats", 2.0) == pytest.approx(20)
