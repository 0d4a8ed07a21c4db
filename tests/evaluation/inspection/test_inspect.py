"""The report tells what is in summaries from what is not, and the command writes it for stores and for models."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from injection.models import museformer

from fairseq_meloformer import cli
from fairseq_meloformer.composing.composer import summaries_of
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.inspection import probes
from fairseq_meloformer.evaluation.inspection.injected import perplexities, pieces
from fairseq_meloformer.evaluation.inspection.late_bars import late_bars
from fairseq_meloformer.evaluation.inspection.music import InspectedSong, gather, stacked
from fairseq_meloformer.evaluation.inspection.pictures import _roll
from fairseq_meloformer.measures.attributes import AXES, by_bar
from fairseq_meloformer.museformer.pattern import BarPattern
from fairseq_meloformer.render.figures import new_figure
from fairseq_meloformer.summaries.extraction import fingerprint
from fairseq_meloformer.summaries.store import StoreHeader
from fairseq_meloformer.summaries.writer import StoreWriter
from fairseq_meloformer.tokens import remi, vocabulary
from fairseq_meloformer.tokens.vocabulary import BOS

BARS = 6


def tokens(seed):
    """Bars of a low or a high piano with drums now and then, dense or sparse, in a tempo of their own."""
    rng, written = random.Random(seed), []
    for _ in range(BARS):
        written.append(f"t-{20 + seed % 12}")
        centre = rng.choice((45, 75))
        for onset in range(0, 48, rng.choice((6, 12, 24))):
            written += [f"o-{onset}", *(["i-128", "p-164", "d-3", "v-20"] if rng.random() < 0.3 else [])]
            written += [
                "i-0",
                f"p-{centre + rng.randint(-5, 5)}",
                f"d-{rng.randint(3, 12)}",
                f"v-{rng.randint(10, 30)}",
            ]
        written.append("b-1")
    return written


@pytest.fixture(scope="module")
def model():
    return museformer(scope="plan")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, model):
    """A model, what prepare would have written, and a store of it."""
    folder = tmp_path_factory.mktemp("inspected")
    model.save_pretrained(folder / "model")
    songs = {f"song-{number}": tokens(number) for number in range(16)}
    (folder / "data").mkdir()
    (folder / "data" / "valid.tokens").write_text("".join(" ".join(song) + "\n" for song in songs.values()))
    (folder / "data" / "valid.items.jsonl").write_text("".join(json.dumps({"id": name}) + "\n" for name in songs))
    config = model.config
    header = StoreHeader(fingerprint(model), config.vocabulary_sha256, config.layers, config.dim)
    with StoreWriter(folder / "store", "valid", header) as writer:
        for name, song in songs.items():
            means = dict(zip(AXES, np.nanmean(by_bar(song), 0).tolist(), strict=True))
            writer.put(name, summaries_of(model, song), {"attributes": means})
    with StoreWriter(folder / "other", "valid", replace(header, model_sha256="x")) as writer:
        for name in songs:
            writer.put(name, torch.randn(2, config.layers, config.dim), {})
    return folder


def test_what_is_linear_in_the_summaries_is_found_and_what_is_not_is_not():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(600, 2, 5, generator=generator, dtype=torch.float64)
    attributes = np.full((600, len(AXES)), np.nan)
    attributes[:, 0] = 3 * values[:, 1, 2] + 1
    attributes[:, 1] = torch.randn(600, generator=generator)
    attributes[:, 2] = 7
    songs = torch.arange(600) // 10
    rows = {(row["view"], row["axis"]): row for row in probes.decodability(values, songs, attributes)}
    assert rows["layer 1", AXES[0]]["r2"] > 0.99
    assert rows["all layers", AXES[0]]["correlation"] > 0.99
    assert rows["layer 0", AXES[0]]["r2"] < 0.1
    assert rows["all layers", AXES[1]]["r2"] < 0.1
    assert rows["all layers", AXES[2]]["r2"] is rows["all layers", AXES[3]]["r2"] is None
    assert rows["layer 0", AXES[0]]["bars"] == 150


def test_ridge_is_least_squares_where_that_is_best():
    x = np.random.default_rng(0).normal(size=(200, 3))
    read = probes.ridge(x, x @ [1.0, -2.0, 0.5] + 4)
    np.testing.assert_allclose(read(np.eye(3)), [5, 2, 4.5], atol=0.02)


def test_components_explain_what_varies():
    line = torch.randn(100, 1, 1, dtype=torch.float64) * torch.ones(1, 2, 4, dtype=torch.float64)
    found = probes.components(line)
    assert [view["view"] for view in found] == ["layer 0", "layer 1", "all layers"]
    assert all(view["for_90"] == view["for_99"] == 1 for view in found)
    assert found[2]["explained"][-1] == pytest.approx(1)


def test_near_bars_are_of_other_songs_and_sound_alike_if_summaries_say_how_they_sound():
    attributes = np.tile(np.random.default_rng(0).normal(size=(200, 1)), (1, len(AXES)))
    angles = torch.from_numpy(attributes[:, 0])
    values = torch.stack([angles.sin(), angles.cos()], 1)[:, None]
    songs = torch.arange(200) % 20
    found = probes.neighbours(values, songs, attributes)
    assert found["difference"]["tempo"] < 0.2
    for bar, others in zip(found["bars"], found["nearest"], strict=True):
        assert all(songs[other] != songs[bar] for other in others)
    noise = probes.neighbours(torch.randn(200, 1, 8), songs, attributes)
    assert noise["difference"]["tempo"] > 0.6


def test_identity_changes_nothing_and_other_injections_do(model, folders):
    songs = gather(model, None, folders / "data", "valid", 3 + 1)
    rows = {row["injection"]: row for row in perplexities(model, songs)}
    assert rows["identity"]["change"] == 0
    assert rows["identity"]["perplexity"] == rows["none"]["perplexity"]
    for name in ("oracle", "other", "zero"):
        assert rows[name]["change"] > 0
        assert rows[name]["scope"] == "plan"


def test_bars_whose_numbers_a_model_has_not_learnt_are_harder_to_predict_as_they_stand():
    long = [
        InspectedSong(str(seed), (*tokens(seed), *tokens(seed + 1)), torch.zeros(12, 2, 32), np.zeros(0))
        for seed in range(3)
    ]
    model = museformer(patterns=(BarPattern(near=(), far=()),))  # bars are alone with their numbers
    with torch.no_grad():
        numbers = model.reg_proj_embeddings.weight[:, 32:40]  # after the tokens' dimensions
        numbers.zero_()
    unmoved = late_bars(model, long)  # of bars 7 to 12 the first four are the context
    assert [(row["first"], row["last"]) for row in unmoved] == [(9, 12)]
    assert unmoved[0]["tokens"] == sum(len(bar) for song in long for bar in remi.bars(song.tokens)[10:])
    assert unmoved[0]["whole"] == pytest.approx(unmoved[0]["shortened"], rel=1e-5)
    with torch.no_grad():
        numbers.normal_()
    moved = late_bars(model, long)[0]
    assert moved["whole"] != pytest.approx(moved["shortened"], rel=1e-3)
    ids = torch.tensor([[BOS, *vocabulary.published().ids(long[0].tokens)]])
    expected = torch.nn.functional.cross_entropy(model(ids)[0, :-1], ids[0, 1:], reduction="none")
    first = sum(map(len, remi.bars(long[0].tokens)[:10]))
    assert late_bars(model, long[:1])[0]["whole"] == pytest.approx(
        float(expected[first:].detach().mean().exp()), rel=1e-5
    )


def test_a_model_and_its_store_give_the_same_summaries(model, folders):
    made = gather(model, None, folders / "data", "valid", 5)
    stored = gather(model, folders / "store", folders / "data", "valid", 5)
    assert [song.id for song in made] == [song.id for song in stored]
    for one, other in zip(made, stored, strict=True):
        torch.testing.assert_close(one.summaries, other.summaries)
        np.testing.assert_array_equal(one.attributes, other.attributes)
    values, numbers, attributes = stacked(made)
    assert values.shape[0] == len(numbers) == len(attributes) == 5 * BARS
    torch.testing.assert_close(values.mean(0), torch.zeros_like(values[0]))


def waltz(seed):
    """Three beats of each bar of `tokens`."""
    bars = []
    for bar in remi.bars(tokens(seed)):
        rest = next((place for place, token in enumerate(bar) if token.startswith("o-") and int(token[2:]) >= 36), -1)
        bars += [*bar[:rest], "b-1"]
    return bars


def test_bars_are_measured_in_the_metre_that_the_items_tell(model, tmp_path):
    songs = {f"song-{number}": waltz(number) for number in range(4)}
    (tmp_path / "valid.tokens").write_text("".join(" ".join(song) + "\n" for song in songs.values()))
    rows = [{"id": name, "attributes": {"metre": "3/4"}} for name in songs]
    (tmp_path / "valid.items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = gather(model, None, tmp_path, "valid", 4)
    for song in found:
        np.testing.assert_array_equal(song.attributes, by_bar(songs[song.id], metre="3/4"))
        assert not np.array_equal(song.attributes, by_bar(songs[song.id]), equal_nan=True)
    asked = [piece.asked for piece in pieces(model, found, 2, 0)["none"]]
    assert [one["metre"] for one in asked] == ["3/4"] * 4
    cell = new_figure(1, 1).subplots()
    _roll(cell, remi.bars(found[0].tokens)[0], found[0].metre)
    assert cell.get_xlim() == (0, 3)


def test_tokens_that_are_not_of_the_items_are_refused(model, folders, tmp_path):
    for name in ("valid.tokens", "valid.items.jsonl"):
        (tmp_path / name).write_bytes((folders / "data" / name).read_bytes())
    with (tmp_path / "valid.tokens").open("a") as file:
        file.write("b-1\n")
    with pytest.raises(InputError, match=r"one line for each row of valid\.items\.jsonl, but has 17 for 16"):
        gather(model, None, tmp_path, "valid", 4)


def inspect(*arguments):
    return cli.main(["inspect", *map(str, arguments)])


def test_a_model_is_inspected_with_all_its_injections(folders, tmp_path):
    flags = ("--data", folders / "data", "--pieces", 4, "--bars", 2, "--output", tmp_path)
    assert inspect(folders / "model", "--store", folders / "store", *flags) == 0
    found = json.loads((tmp_path / "inspect.json").read_text())
    assert found["bars"] == 16 * BARS
    assert {row["injection"] for row in found["music"]} == {"none", "zero", "oracle"}
    assert [row["injection"] for row in found["perplexity"]] == ["none", "identity", "oracle", "other", "zero"]
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,iVBOR") == 6
    assert '="http' not in page  # it stands alone


def test_a_store_alone_is_measured_by_passage(folders, tmp_path):
    assert inspect(folders / "store", "--output", tmp_path) == 0
    found = json.loads((tmp_path / "inspect.json").read_text())
    assert found["measured"] == "by passage"
    assert "perplexity" not in found
    assert (tmp_path / "report.html").read_text().count("data:image/png") == 4


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["model"], "give a store, or a model with --data"),
        (["store", "--store", "store"], "is a store itself"),
        (["model", "--store", "other"], "made with another one"),
        (["other", "--data", "data"], "as many bars"),
        (["model", "--data", "model"], "valid.tokens"),
        (["store", "--subset", "test"], "not 'test'"),
        (["store", "--songs", "0"], "at least 1"),
        (["store", "--songs", "3"], "at least 4 songs"),
        (["nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_inspected_is_refused(arguments, reason, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folders)
    assert inspect(*arguments, "--output", tmp_path / "out") == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
