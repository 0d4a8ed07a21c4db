"""The command `meloformer convert`: what fairseq saved, for use without fairseq."""

import argparse
import dataclasses
from collections import OrderedDict

import pytest
import torch
from injection.models import bridge, museformer

from fairseq_meloformer import cli
from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.bridge.ema import Ema
from fairseq_meloformer.museformer import MuseFormer, MuseFormerConfig
from fairseq_meloformer.museformer.arguments import arguments_from_config
from fairseq_meloformer.museformer.checkpoints import load, model_hash
from fairseq_meloformer.tokens.vocabulary import Vocabulary, general, published

SONG = [[2, 500, 6, 70, 80, 340, 470, 5, 500, 5]]


def museformer_checkpoint(path, model):
    """As fairseq-train writes it."""
    named = OrderedDict((f"decoder.{name}", tensor) for name, tensor in model.state_dict().items())
    torch.save({"args": argparse.Namespace(**arguments_from_config(model.config)), "model": named}, path)
    return path


def bridge_checkpoint(path, model):
    """As fairseq-train writes it: weights, their average, the optimizer's state and everybody's arguments."""
    average = Ema(model, 0.9)
    with torch.no_grad():
        for parameter in average.average.parameters():
            parameter.mul_(0.5)
    state = {f"bridge.{name}": tensor for name, tensor in model.state_dict().items()}
    state |= {f"ema.{name}": tensor for name, tensor in average.state_dict().items()}
    state["_extra_state"] = {"bridge_config": dataclasses.asdict(model.config)}
    torch.save({"args": None, "cfg": {"model": {}}, "model": state, "extra_state": {"epoch": 1}}, path)
    return average.average


def test_a_museformer_becomes_a_directory(tmp_path, capsys):
    model = museformer()
    source, target = museformer_checkpoint(tmp_path / "a.pt", model), tmp_path / "out"
    assert cli.main(["convert", str(source), str(target)]) == 0
    printed = capsys.readouterr().out
    assert f"MuseFormer, {sum(p.numel() for p in model.parameters()):,} parameters" in printed
    assert model_hash(model.state_dict()) in printed
    converted, tokens = MuseFormer.from_pretrained(target), torch.tensor(SONG)
    torch.testing.assert_close(converted(tokens), model(tokens), atol=0, rtol=0)
    assert converted.config == model.config


def test_the_scope_that_steers_best_and_the_bars_that_it_knows_are_recorded(tmp_path):
    source = museformer_checkpoint(tmp_path / "a.pt", museformer())
    told = ("--scope", "history", "--most-bars", "24")
    assert cli.main(["convert", str(source), str(tmp_path / "out"), *told]) == 0
    config = MuseFormer.from_pretrained(tmp_path / "out").config
    assert (config.scope, config.most_bars) == ("history", 24)
    again = museformer_checkpoint(tmp_path / "b.pt", MuseFormer.from_pretrained(tmp_path / "out"))
    assert cli.main(["convert", str(again), str(tmp_path / "same")]) == 0
    assert MuseFormer.from_pretrained(tmp_path / "same").config == config


def test_of_a_bridge_the_average_becomes_a_directory(tmp_path, capsys):
    average = bridge_checkpoint(tmp_path / "a.pt", bridge())
    assert cli.main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "out")]) == 0
    assert model_hash(average.state_dict()) in capsys.readouterr().out
    converted = Bridge.from_pretrained(tmp_path / "out")
    assert converted.config == average.config
    plans = [model.plan(["rain", "暴风雨"], [3, 2], seed=4, nfe=3) for model in (converted, average)]
    assert torch.equal(plans[0][0], plans[1][0])
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {"model.safetensors", "config.json"}


def test_converting_twice_gives_the_same_bytes(tmp_path):
    bridge_checkpoint(tmp_path / "bridge.pt", bridge())
    museformer_checkpoint(tmp_path / "museformer.pt", museformer())
    for kind in ("bridge", "museformer"):
        for target in ("one", "two"):
            assert cli.main(["convert", str(tmp_path / f"{kind}.pt"), str(tmp_path / target / kind)]) == 0
        for file in ("model.safetensors", "config.json"):
            one, two = ((tmp_path / target / kind / file).read_bytes() for target in ("one", "two"))
            assert one == two


def test_another_vocabulary_is_given_by_its_file(tmp_path, capsys):
    vocabulary = Vocabulary(published().symbols[4:-8])
    vocabulary.write(tmp_path / "dict.txt")
    sizes = {**vars(museformer().config), "vocabulary_size": len(vocabulary), "vocabulary_sha256": vocabulary.sha256}
    path = museformer_checkpoint(tmp_path / "a.pt", MuseFormer(MuseFormerConfig(**sizes)))
    assert cli.main(["convert", str(path), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "552 symbols" in said
    assert f"meloformer convert {path} DIR --dict dict.txt" in said
    assert cli.main(["convert", str(path), str(tmp_path / "out"), "--dict", str(tmp_path / "dict.txt")]) == 0
    assert load(tmp_path / "out").config.vocabulary_sha256 == vocabulary.sha256


def test_the_vocabulary_of_a_directory_must_be_its_own(tmp_path, capsys):
    museformer().save_pretrained(tmp_path / "model")
    museformer(vocabulary_sha256="").save_pretrained(tmp_path / "untold")
    for name, vocabulary in (("other", general()), ("own", published())):
        vocabulary.write(tmp_path / f"{name}.txt")
    for model in ("model", "untold"):
        arguments = ["convert", str(tmp_path / model), str(tmp_path / "out"), "--dict"]
        assert cli.main([*arguments, str(tmp_path / "other.txt")]) == 2
        assert f"the vocabulary of {tmp_path / model} must be" in capsys.readouterr().err
        assert not (tmp_path / "out" / "config.json").exists()
        assert cli.main([*arguments, str(tmp_path / "own.txt")]) == 0
        assert load(tmp_path / "out").config.vocabulary_sha256 == published().sha256
        (tmp_path / "out" / "config.json").unlink()


@pytest.mark.parametrize("given", ["", "model.safetensors", "a.pt"])
def test_the_quantiles_beside_a_museformer_go_with_it(given, tmp_path, capsys):
    source = tmp_path / "source"
    museformer().save_pretrained(source)
    museformer_checkpoint(source / "a.pt", museformer())
    assert cli.main(["convert", str(source / given), str(tmp_path / "without")]) == 0
    assert "without has no quantiles.json" in capsys.readouterr().err
    (source / "quantiles.json").write_text("{}")
    assert cli.main(["convert", str(source / given), str(tmp_path / "with")]) == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "with" / "quantiles.json").read_text() == "{}"


@pytest.mark.parametrize("kind", ["missing", "text", "state"])
def test_what_is_no_checkpoint_is_refused_and_nothing_is_written(kind, tmp_path, capsys):
    path = tmp_path / "a.pt"
    if kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "state":
        torch.save(bridge().state_dict(), path)
    assert cli.main(["convert", str(path), str(tmp_path / "out")]) == 2
    assert "a.pt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bridge_of_another_version_is_refused(tmp_path, capsys):
    bridge_checkpoint(tmp_path / "a.pt", bridge())
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    state["model"]["_extra_state"]["bridge_config"]["unheard_of"] = 1
    torch.save(state, tmp_path / "config.pt")
    del state["model"]["_extra_state"]["bridge_config"]["unheard_of"]
    del state["model"]["ema.average.denoiser.read.weight"]
    torch.save(state, tmp_path / "weights.pt")
    for name, fault in (("config.pt", "unheard_of"), ("weights.pt", "denoiser.read.weight is missing")):
        assert cli.main(["convert", str(tmp_path / name), str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert name in said
        assert fault in said
    assert not (tmp_path / "out").exists()


def test_a_museformer_is_widened_and_computes_the_same(tmp_path):
    museformer().save_pretrained(tmp_path / "narrow")
    assert cli.main(["convert", str(tmp_path / "narrow"), str(tmp_path / "wide"), "--widen", "2"]) == 0
    narrow, wide = (MuseFormer.from_pretrained(tmp_path / name) for name in ("narrow", "wide"))
    assert wide.config.dim == 2 * narrow.config.dim
    torch.testing.assert_close(wide(torch.tensor(SONG)), narrow(torch.tensor(SONG)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "option", [("--widen", "2"), ("--scope", "plan"), ("--most-bars", "8"), ("--dict", "dict.txt")]
)
def test_what_is_asked_of_a_museformer_is_refused_for_a_bridge(option, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    published().write("dict.txt")
    bridge_checkpoint(tmp_path / "a.pt", bridge())
    assert cli.main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "out"), *option]) == 2
    assert f"{option[0]} must be given for a MuseFormer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
