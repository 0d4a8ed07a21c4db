"""The quality report through the real command, with small models."""

import json
import random
import shutil

import numpy as np
import pytest
import torch
from injection.models import bridge, museformer

from fairseq_meloformer import midi
from fairseq_meloformer.cli import main
from fairseq_meloformer.evaluation.quality import prediction
from fairseq_meloformer.evaluation.quality.command import _training, held_out
from fairseq_meloformer.evaluation.quality.measure import MEASURES, quartiles
from fairseq_meloformer.evaluation.quality.prediction import distant_bars, padded, perplexity, reading
from fairseq_meloformer.injection.prefix_training import cross_entropy
from fairseq_meloformer.measures.attributes import AXES, measure
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.midi.general_midi import SOUNDS
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.tokens.vocabulary import published

BAR = "t-30 o-0 i-80 p-{} d-6 v-20 o-12 i-43 p-{} d-12 v-16 b-1"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Songs whose bars repeat, as `meloformer prepare` lays them down."""
    folder, drawn = tmp_path_factory.mktemp("data"), random.Random(0)
    measured = []
    for split, number in (("train", 12), ("test", 5)):
        songs = []
        for index in range(number):
            bar = BAR.format(drawn.randint(60, 72), drawn.randint(36, 43))
            songs.append(" ".join([bar] * (2 + index % 3)))
            measured.append(measure(songs[-1].split()))
        (folder / f"{split}.tokens").write_text("".join(f"{song}\n" for song in songs))
        rows = [{"id": f"{split}{index}", "captions": [{"text": f"song {index}"}]} for index in range(number)]
        (folder / f"{split}.items.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    everywhere = [dict.fromkeys(AXES, value) for value in (-1.0, 200.0)]
    Quantiles.fit([*measured, *everywhere]).save(folder / "quantiles.json")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    museformer(scope="plan").save_pretrained(folder / "model")
    bridge().save_pretrained(folder / "bridge")
    return ["--model", str(folder / "model"), "--bridge", str(folder / "bridge")]


def evaluate(data, output, models, *more):
    status = main(["evaluate", "quality", str(data), "--output", str(output), "--bars", "2", *models, *more])
    return status, json.loads((output / "results.json").read_text()) if status == 0 else None


@pytest.fixture(scope="module")
def report(data, models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    status, found = evaluate(data, folder, models, "--pieces", "4")
    assert status == 0
    return folder, found


def test_pieces_are_measured_one_by_one_beside_real_songs(report):
    folder, found = report
    assert list(found["arms"]) == ["real", "default", "bridge only", "no plan"]
    for arm in found["arms"].values():
        assert arm["pieces"] == len(arm["rows"]) == 4
        assert arm["measures"] == quartiles(arm["rows"])
        assert set(arm["extreme"]) == {"on any axis", *AXES}
    real, plain = found["arms"]["real"]["measures"], found["arms"]["no plan"]["measures"]
    assert real["repeated bars"]["low"] == 1
    assert plain["repeated bars"]["high"] == 0  # an untrained model repeats nothing
    assert set(plain) <= {*MEASURES, *(name for name in real if name.startswith("structureness")), *real}
    page = (folder / "report.md").read_text()
    assert "| repeated bars | 1.00 [1.00 1.00] |" in page
    assert f"| 5-gram | {found['perplexity']['5-gram']:.2f} |" in page


def test_bars_that_repeat_are_foretold_by_what_came_before(report):
    perplexities = report[1]["perplexity"]
    assert perplexities["5-gram"] < perplexities["1-gram"] < perplexities["no plan"]


def test_any_folder_of_midi_is_measured_and_nothing_composed(data, models, report, tmp_path, capsys):
    folder, found = report
    pieces = tmp_path / "pieces"
    shutil.copytree(folder / "no-plan", pieces / "deeper", ignore=shutil.ignore_patterns("*.jsonl"))
    (pieces / "broken.MID").write_bytes(b"no music")
    status, again = evaluate(data, tmp_path / "out", models, "--pieces", "4", "--midi", str(pieces))
    assert status == 0
    assert list(again["arms"]) == ["real", str(pieces)]
    assert again["arms"][str(pieces)]["rows"] == found["arms"]["no plan"]["rows"]
    assert "1 pieces of" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.md", "results.json"]


def test_a_piece_is_measured_by_the_roles_of_its_players_and_in_its_metre(data, models, tmp_path):
    drawn, chord = (
        random.Random(1),
        "t-30 o-0 i-80 p-{} d-6 v-20 i-0 p-55 d-12 v-16 p-59 d-12 v-16 o-24 i-0 p-{} d-9 v-9 b-1",
    )
    bars = [chord.format(drawn.randint(60, 72), drawn.randint(48, 60)) for _ in range(4)]
    for name, metre in (("four", "4/4"), ("three", "3/4")):
        piece = remi.decode(" ".join(bars).split(), metre)
        midi.write(piece, tmp_path / "six" / f"{name}-0.mid")
        for track, program in zip(piece.instruments, (15, 77), strict=True):
            track.program, track.name = program, SOUNDS[program].name
        midi.write(piece, tmp_path / "players" / f"{name}-0.mid")
    row = {"full_system": {"players": {"Lead": 77, "Piano": 15}}}
    rows = [json.dumps({"piece": f"{name}-0", **row}) + "\n" for name in ("four", "three")]
    (tmp_path / "players" / "manifest.jsonl").write_text("".join(rows))
    folders = [str(tmp_path / name) for name in ("six", "players")]
    status, found = evaluate(data, tmp_path / "out", models, "--pieces", "4", "--midi", *folders)
    assert status == 0
    one, other = (found["arms"][folder] for folder in folders)
    assert one["pieces"] == other["pieces"] == 2
    assert one["rows"] == other["rows"]


def test_passages_in_another_metre_are_measured_in_it(tmp_path):
    tokens = BAR.format(60, 40).replace("o-12", "o-24").split() * 2
    for split in ("train", "test"):
        (tmp_path / f"{split}.tokens").write_text(f"{' '.join(tokens)}\n" * 2)
        row = {"captions": [{"text": "x"}], "attributes": {"metre": "3/4"}}
        lines = [json.dumps({"id": name, **row}) + "\n" for name in "ab"]
        (tmp_path / f"{split}.items.jsonl").write_text("".join(lines))
    assert [song.metre for song in held_out(tmp_path, "test", 2, 2, published())] == ["3/4"] * 2
    known = _training(tmp_path, 2, published())
    assert known == [(published().ids(tokens), "3/4")] * 2


def test_a_stopped_report_composes_only_what_is_missing(data, models, report):
    folder, found = report
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mid")}
    lost = folder / "default" / "manifest.jsonl"
    lines = lost.read_text().splitlines(keepends=True)
    lost.write_text("".join(lines[:3]))
    assert evaluate(data, folder, models, "--pieces", "4") == (0, found)
    changed = [path for path, made in before.items() if path.stat().st_mtime_ns != made]
    assert changed == [folder / "default" / "0003-0.mid"]


def test_what_distant_bars_buy_is_told_from_the_ninth_bar_on():
    model, vocabulary = museformer(scope="plan"), published()
    bar = vocabulary.ids(BAR.format(60, 40).split())
    found = distant_bars(model, [bar * 12, bar * 10, bar * 3])
    assert list(found) == ["all near bars", "bars -1 and -2", "no near bars"]
    assert len(set(found.values())) == 3
    with torch.no_grad():
        whole = cross_entropy(model, padded([bar * 12, bar * 10]), None, None, "plan")
    assert found["all near bars"] == pytest.approx(float(whole.mean()), rel=0.2)
    assert distant_bars(model, [bar * 8]) == {}


def test_a_narrow_view_is_the_same_model_and_leaves_it_as_it_was():
    model = museformer()
    narrow = reading(model, (1, 2))
    assert [pattern.near_bars(9) for pattern in narrow.config.patterns] == [[7, 8]]
    assert narrow.config.patterns[0].far_bars(9) == [0, 1, 2, 3, 4, 5, 6]
    assert [pattern.near_bars(9) for pattern in model.config.patterns] == [[1, 5, 7, 8]]
    assert narrow.output_projection is model.output_projection
    assert reading(model, None) is model


def test_plans_are_seen_in_perplexity_and_none_is_lost_in_batches(data, monkeypatch):
    model, vocabulary = museformer(scope="plan"), published()
    songs = [vocabulary.ids(song.tokens(2)) for song in held_out(data, "test", 5, 2, vocabulary)]
    found = perplexity(model, songs, songs)
    monkeypatch.setattr(prediction, "_BATCH", 2)
    assert perplexity(model, songs, songs) == pytest.approx(found, rel=1e-5)
    assert perplexity(model, songs[:4], songs)["no plan"] != pytest.approx(found["no plan"], rel=1e-5)
    assert found["no plan"] != found["own plans"]
    assert found["5-gram"] < 3  # it has seen these very songs


def test_quartiles_are_of_the_pieces_that_have_a_measure():
    found = quartiles([{"a": 1.0}, {"a": 3.0, "b": 1.0}, {"a": 2.0}])
    assert found["a"] == {"low": 1.5, "median": 2.0, "high": 2.5, "pieces": 3}
    assert found["b"]["pieces"] == 1
    assert np.isfinite(list(found["b"].values())).all()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--pieces", "4", "--bars", "4"], "at least 4 captioned passages of 4 bars in 'test', but has 1"),
        (["--pieces", "0"], "must be at least 1"),
        (["--pieces", "4", "--midi", "nowhere"], "nowhere must have MIDI files of at least 2 bars"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, reason, data, models, tmp_path, capsys):
    assert evaluate(data, tmp_path / "out", models, *arguments)[0] == 2
    assert reason in capsys.readouterr().err
