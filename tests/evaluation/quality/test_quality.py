"""The quality report through the real command, with small models."""

import json
import random

import pytest
import torch
from injection.models import bridge, museformer

from fairseq_meloformer.cli import main
from fairseq_meloformer.evaluation.quality.command import held_out, perplexity
from fairseq_meloformer.tokens.vocabulary import BOS, published

BAR = "t-30 o-0 i-0 p-{} d-6 v-20 o-12 i-43 p-{} d-12 v-16 b-1"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Songs whose bars repeat, as `meloformer prepare` lays them down."""
    folder, drawn = tmp_path_factory.mktemp("data"), random.Random(0)
    for split, number in (("train", 12), ("test", 5)):
        songs = []
        for index in range(number):
            bar = BAR.format(drawn.randint(60, 72), drawn.randint(36, 43))
            songs.append(" ".join([bar] * (2 + index % 3)))
        (folder / f"{split}.tokens").write_text("".join(f"{song}\n" for song in songs))
        rows = [{"id": f"{split}{index}", "captions": [{"text": f"song {index}"}]} for index in range(number)]
        (folder / f"{split}.items.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_the_report_compares_pieces_with_real_songs(data, tmp_path):
    model, planner = museformer(), bridge()
    model.save_pretrained(tmp_path / "model")
    planner.save_pretrained(tmp_path / "bridge")
    models = ["--model", str(tmp_path / "model"), "--bridge", str(tmp_path / "bridge")]
    command = ["evaluate", "quality", str(data), "--output", str(tmp_path / "out"), "--pieces", "4", "--bars", "2"]
    assert main([*command, *models]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found["arms"]) == ["real", "no plan", "captions", "own plans"]
    assert found["arms"]["real"]["repeated bars"] == 1
    assert found["arms"]["real"]["similarity error"] == 0
    assert found["arms"]["no plan"]["similarity error"] > 0.5  # an untrained model repeats nothing
    # Bars that repeat are foretold by what came before, which an untrained model does not know.
    assert found["perplexity"]["5-gram"] < found["perplexity"]["1-gram"] < found["perplexity"]["no plan"]
    report = (tmp_path / "out" / "report.md").read_text()
    assert f"| 5-gram | {found['perplexity']['5-gram']:.2f} |" in report


def test_plans_are_seen_in_perplexity_and_none_is_lost_in_batches(data):
    model, vocabulary = museformer(scope="plan"), published()
    songs = [vocabulary.ids(song.tokens) for song in held_out(data, "test", 5, 2, vocabulary)]
    ids = torch.tensor(songs)  # equally long
    plan = model.summaries(torch.cat([torch.full((5, 1), BOS), ids], 1))
    found = perplexity(model, ids, plan, songs)
    assert found["no plan"] != found["own plans"]
    assert found["5-gram"] < 3  # it has seen these very songs


def test_too_few_songs_are_refused(data, tmp_path, capsys):
    command = ["evaluate", "quality", str(data), "--output", str(tmp_path / "out"), "--pieces", "4", "--bars", "4"]
    assert main(command) == 2
    assert "at least 4 captioned passages of 4 bars in 'test', but has 1" in capsys.readouterr().err
