"""Reading and writing models, and refusing what is none."""

import argparse
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from malicious import Malicious

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer import checkpoints
from fairseq_meloformer.museformer.arguments import arguments_from_config
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.tokens.vocabulary import published

TINY = MuseFormerConfig(
    layers=2,
    dim=16,
    ffn_dim=32,
    heads=2,
    token_dim=16,
    bar_dim=8,
    beat_dim=8,
    vocabulary_sha256=published().sha256,
)


@pytest.fixture
def golden(shared):
    return shared / "museformer" / "golden"


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MuseFormer(TINY).eval()


def fairseq_names(model):
    return OrderedDict((f"decoder.{name}", tensor) for name, tensor in model.state_dict().items())


def namespace(**others):
    return argparse.Namespace(**{**arguments_from_config(TINY), "user_dir": "museformer", **others})


def write(path: Path, model, /, **parts):
    torch.save({"args": namespace(), "model": fairseq_names(model), "extra_state": {"epoch": 1}, **parts}, path)
    return path


def test_the_published_layout_is_read_as_it_is(golden):
    loaded = checkpoints.load(golden / "tiny4_checkpoint_0.10.2_layout.pt")
    stored = safetensors.torch.load_file(golden / "tiny4_unique_parameters.safetensors")
    assert loaded.parameters.keys() == {name.removeprefix("decoder.") for name in stored}
    assert all(torch.equal(loaded.parameters[name.removeprefix("decoder.")], tensor) for name, tensor in stored.items())
    assert loaded.config == MuseFormerConfig(
        dim=64,
        ffn_dim=128,
        heads=4,
        token_dim=64,
        bar_dim=32,
        beat_dim=16,
        dropout=0.0,
        attention_dropout=0.0,
        vocabulary_sha256=published().sha256,
    )


def test_names_are_those_of_the_published_checkpoint(golden):
    lines = (golden / "parameters.txt").read_text().splitlines()
    entries = [line for line in lines if line.startswith("decoder.")]
    names = [entry.split()[0] for entry in entries]
    same = dict(re.findall(r"^(\S+) .*same tensor as (\S+)\)", "\n".join(entries), re.MULTILINE))
    distinct = {name: torch.zeros(1) for name in map(checkpoints.canonical, names)}
    assert len(distinct) == 93
    assert len(names) == 145
    assert checkpoints.with_aliases(distinct).keys() == set(names)
    assert {checkpoints.canonical(name) for name in same} <= {name.removeprefix("decoder.") for name in same.values()}


def test_todays_layout_gives_the_same_model(model, tmp_path):
    old = write(tmp_path / "old.pt", model)
    cfg = {"_name": None, "task": namespace(take_bos_as_bar=False), "model": namespace(), "common": {"seed": 1}}
    extra = {"val_loss": np.float64(9.5), "best": np.float32(9.5)}
    new = write(tmp_path / "new.pt", model, args=None, cfg=cfg, extra_state=extra)
    first, second = checkpoints.load(old), checkpoints.load(new)
    assert first.config == second.config == TINY
    assert checkpoints.model_hash(first.parameters) == checkpoints.model_hash(second.parameters)


def test_checkpoints_of_old_torch_are_read(model, tmp_path):
    path = tmp_path / "old.pt"
    state = {"args": namespace(), "model": fairseq_names(model)}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert checkpoints.load(path).config == TINY


def test_all_forms_have_one_hash(model, tmp_path):
    expected = checkpoints.model_hash(model.state_dict())
    model.save_pretrained(tmp_path)
    assert checkpoints.model_hash(checkpoints.load(tmp_path).parameters) == expected
    assert checkpoints.model_hash(checkpoints.load(tmp_path / "model.safetensors").parameters) == expected
    assert checkpoints.model_hash(checkpoints.load(write(tmp_path / "a.pt", model)).parameters) == expected
    with torch.no_grad():
        model.layer_norm.bias[0] += 1e-3
    assert checkpoints.model_hash(model.state_dict()) != expected


def test_a_half_precision_checkpoint_becomes_a_float32_model(model, tmp_path):
    half = {name: tensor.half() for name, tensor in fairseq_names(model).items()}
    loaded = MuseFormer.from_pretrained(write(tmp_path / "half.pt", model, model=half))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.layers[0].reg_fc1.weight, model.layers[0].reg_fc1.weight, atol=1e-3, rtol=1e-3)
    assert loaded.layers[0].sum_fc1 is loaded.layers[0].reg_fc1


def test_each_parameter_is_stored_once_and_other_files_stay(model, tmp_path):
    (tmp_path / "README.md").write_text("card")
    model.save_pretrained(tmp_path)
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert len(stored) == len({p.data_ptr() for p in model.parameters()})
    assert not any("sum_fc1" in name or name.startswith("decoder.") for name in stored)
    assert (tmp_path / "README.md").read_text() == "card"
    assert {entry.name for entry in tmp_path.iterdir()} == {"README.md", "model.safetensors", "config.json"}


def test_the_file_may_be_rewritten_while_its_model_is_in_use(model, tmp_path):
    path = write(tmp_path / "last.pt", model)
    loaded = checkpoints.load(path)
    path.write_bytes(b"")
    assert checkpoints.model_hash(loaded.parameters) == checkpoints.model_hash(model.state_dict())


def test_a_pickle_that_runs_code_is_refused_without_running_it(model, tmp_path):
    victim = tmp_path / "executed"
    path = write(tmp_path / "evil.pt", model, extra_state=Malicious(victim))
    with pytest.raises(InputError, match=r"evil\.pt was not loaded: it asks for .*mkdir, which may run code"):
        checkpoints.load(path)
    assert not victim.exists()


def test_no_environment_variable_makes_loading_unsafe(model, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = write(tmp_path / "evil.pt", model, extra_state=Malicious(tmp_path / "executed"))
    with pytest.raises(InputError, match="may run code"):
        checkpoints.load(path)
    assert not (tmp_path / "executed").exists()


def test_parameters_that_must_be_one_are_refused_when_they_differ(model, tmp_path):
    state = fairseq_names(model)
    name = "decoder.layers.1.self_attn.sum_query_proj.weight"
    state[name] = state[name] + 1
    with pytest.raises(InputError, match=rf"{re.escape(name)} and .*reg_query_proj.weight must be one parameter"):
        checkpoints.load(write(tmp_path / "a.pt", model, model=state))


def test_unsupported_variants_are_named_all_at_once(model, tmp_path):
    args = namespace(share_ffn=False, learned_bar_abs_pos=True, con2sum=((((None, 1),),),))
    with pytest.raises(InputError) as error:
        checkpoints.load(write(tmp_path / "a.pt", model, args=args))
    for part in ("a.pt", "--share-ffn must be True, received False", "--learned-bar-abs-pos", "--con2sum", "(None, 1)"):
        assert part in str(error.value)


def test_a_directory_without_a_model_says_what_is_there_and_what_to_run(tmp_path):
    with pytest.raises(InputError, match=r"model\.safetensors is missing \(there is nothing\)"):
        checkpoints.load(tmp_path)
    (tmp_path / "checkpoint_best.pt").touch()
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError) as error:
        checkpoints.load(tmp_path)
    assert "config.json is missing (there is checkpoint_best.pt, model.safetensors)" in str(error.value)
    assert f"meloformer convert {tmp_path / 'checkpoint_best.pt'} {tmp_path}" in str(error.value)


def test_what_is_no_model_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"not tensors")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    torch.save(model.state_dict(), tmp_path / "state.pt")
    torch.save(
        {"args": namespace(arch="transformer_lm"), "model": {"decoder.x": torch.zeros(1)}}, tmp_path / "other.pt"
    )
    torch.save({"model": fairseq_names(model)}, tmp_path / "noargs.pt")
    torch.save({"args": namespace(), "model": {1: torch.zeros(1)}}, tmp_path / "numbers.pt")
    for path, message in (
        ("none.pt", "no .*none.pt"),
        ("model", "must be a safetensors file"),
        ("text.pt", "must be a fairseq checkpoint"),
        ("state.pt", r"with 'model' and 'args' or 'cfg', but holds entries like \['[^']*', '[^']*', '[^']*'\]$"),
        ("other.pt", "arch 'transformer_lm'"),
        ("noargs.pt", "must say how it was trained"),
        ("numbers.pt", r"names, which are strings, but \[1\] are none"),
    ):
        with pytest.raises(InputError, match=message):
            checkpoints.load(tmp_path / path)


def test_parameters_must_fit_the_configuration(model):
    parameters = {checkpoints.canonical(name): tensor for name, tensor in model.state_dict().items()}
    del parameters["layer_norm.bias"]
    parameters["layer_norm.weight"] = torch.zeros(3)
    parameters["extra"] = torch.zeros(1)
    with pytest.raises(InputError) as error:
        checkpoints.assign(model, parameters)
    for part in ("layer_norm.bias is missing", "extra is unknown", "layer_norm.weight must be (16,), received (3,)"):
        assert part in str(error.value)
