"""Models of strangers: whatever their files hold, one sentence says why it is not used, before memory is taken."""

import json
import math
import shutil
from contextlib import nullcontext

import pytest
import safetensors.torch
import torch
from torch import nn

from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.pretrained import BRIDGE, MUSEFORMER
from fairseq_meloformer.weights import fill, usable
from fairseq_meloformer.words.probe import DEFAULT as PROBE
from fairseq_meloformer.words.probe import Probe

MODELS = {"museformer": (MuseFormer, MUSEFORMER), "bridge": (Bridge, BRIDGE), "probe": (Probe, PROBE)}


@pytest.fixture(params=MODELS)
def model(request, tmp_path):
    """Its class, and a copy of the embedded one."""
    kind, home = MODELS[request.param]
    shutil.copytree(home, tmp_path / "model")
    return kind, tmp_path / "model"


def config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


SIZES = {MuseFormer: "ffn_dim", Bridge: "text_dim", Probe: "hidden"}


@pytest.mark.parametrize("size", [0, -1, 1.5, "4", None, True, [], 1 << 19, 10**9, 10**30, math.nan, math.inf])
def test_absurd_sizes_are_refused(model, size):
    kind, directory = model
    config(directory, **{SIZES[kind]: size})
    with pytest.raises(InputError):
        kind.from_pretrained(directory)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"layers": ' + b"9" * 5000 + b"}", b"[" * 3000, b'{"x": 1e999}']
)
def test_a_config_that_is_none_is_refused(model, text):
    kind, directory = model
    (directory / "config.json").write_bytes(text)
    with pytest.raises(InputError, match=r"config\.json"):
        kind.from_pretrained(directory)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_must_be_finite(model, value):
    kind, directory = model
    path = directory / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    name = max(tensors)
    tensors[name].view(-1)[-1] = value
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(InputError, match=f"{name} must be finite"):
        kind.from_pretrained(directory)


@pytest.mark.parametrize(
    ("values", "dtype", "problem"),
    [
        ([1.0, 2.0], torch.float8_e4m3fn, None),
        ([1.0, math.nan], torch.float8_e4m3fn, "must be finite"),
        ([1.0, 1e300], torch.float64, "must be finite as torch.float32"),
        ([1.0, 1j], torch.complex64, "must be torch.float32, received torch.complex64"),
    ],
)
def test_weights_must_be_numbers_that_the_model_can_hold(values, dtype, problem):
    module = nn.Linear(2, 1, bias=False)
    with nullcontext() if problem is None else pytest.raises(InputError, match=problem):
        fill(module, {"weight": torch.tensor([values]).to(dtype)}, "a file")
    if problem is None:
        assert torch.equal(module.weight, torch.tensor([values]))


def test_weights_must_be_a_safetensors_file_of_this_model(model):
    kind, directory = model
    path = directory / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    first, last = min(tensors), max(tensors)
    other = {**tensors, first: torch.zeros(3, 1, 4), "stranger": torch.zeros(1)}
    del other[last]
    safetensors.torch.save_file(other, path)
    with pytest.raises(InputError) as error:
        kind.from_pretrained(directory)
    for part in (f"{last} is missing", "stranger is unknown", f"{first} must be", "(3, 1, 4)"):
        assert part in str(error.value)
    for content in (b"", b"text", (1 << 60).to_bytes(8, "little")):
        path.write_bytes(content)
        with pytest.raises(InputError, match="must be a safetensors file"):
            kind.from_pretrained(directory)


def test_loading_draws_no_random_numbers(model):
    kind, directory = model
    torch.manual_seed(5)
    before = torch.get_rng_state()
    loaded = kind.from_pretrained(directory)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(tensor.is_meta for tensor in loaded.state_dict().values())


@pytest.mark.parametrize("values", [[], [0.0], [1.0, 0.0], [0.0, math.nan], ["x", "y"], None])
def test_quantiles_must_rise(tmp_path, values):
    content = json.loads((MUSEFORMER / "quantiles.json").read_text())
    content["quantiles"]["tempo"] = values
    (tmp_path / "quantiles.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="quantiles"):
        Quantiles.load(tmp_path / "quantiles.json")


def test_devices_that_are_not_there_are_refused():
    assert usable("cpu") == torch.device("cpu")
    for device in ("", "gpu", "meta", "cuda:99", "xla"):
        with pytest.raises(InputError, match="must be one that PyTorch can use"):
            usable(device)
