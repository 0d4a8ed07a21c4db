"""Stage B through the real fairseq-train and fairseq-validate, on a small store of invented summaries."""

import dataclasses
import json
import re
import shutil

import pytest
import torch
from fairseq import options
from fairseq_commands import ROOT, command, train_in_two_processes

from fairseq_meloformer.bridge import checkpoints
from fairseq_meloformer.encoders import registry
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.checkpoints import read_state
from fairseq_meloformer.plugin.bridge_criterion import BridgeCriterionConfig
from fairseq_meloformer.plugin.bridge_dataset import BridgeDataset
from fairseq_meloformer.plugin.bridge_model import BridgeModelConfig
from fairseq_meloformer.summaries.extraction import finish
from fairseq_meloformer.summaries.store import StoreHeader, SummaryStore
from fairseq_meloformer.summaries.writer import StoreWriter

LAYERS, DIM, COMPONENTS = 2, 8, 6
TEXTS = {"storm": -1.0, "暴风雨": -1.0, "calm": 1.0, "安静": 1.0}
RECIPE = ("--task", "summary_bridge", "--arch", "summary_bridge_debug", "--criterion", "summary_bridge", "--cpu")
SIZES = ("--text-encoder", "dummy:8", "--components", COMPONENTS, "--most-bars", 8, "--batch-size", 4)
LOG = ("--user-dir", ROOT / "user_dir", "--num-workers", 0, "--log-format", "simple", "--log-interval", 1)
OPTIMISER = ("--optimizer", "adam", "--lr", 0.003, "--max-update", 6, "--no-epoch-checkpoints", "--seed", 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """16 songs to train on and 6 to validate: summaries lie where their text says, and differ along the bars."""
    directory = tmp_path_factory.mktemp("store")
    generator = torch.Generator().manual_seed(0)
    header = StoreHeader("model", "vocabulary", LAYERS, DIM)
    for subset, count in (("train", 16), ("valid", 6)):
        ids = [f"{subset}{index}" for index in range(count)]
        with StoreWriter(directory, subset, header) as writer:
            for index, name in enumerate(ids):
                words = [text for text, place in TEXTS.items() if (place > 0) == (index % 2 == 0)]
                summaries = TEXTS[words[0]] + torch.randn(2 + index % 5, LAYERS, DIM, generator=generator)
                writer.put(name, summaries, {"captions": [{"text": text} for text in words]})
        finish(directory, subset, ids)
    return directory


def train(store, folder, *more):
    return command("train", store, *LOG, *RECIPE, *SIZES, *OPTIMISER, "--save-dir", folder, *more)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """Six updates of two batches each, with a checkpoint after three."""
    folder = tmp_path_factory.mktemp("bridge")
    return folder, train(store, folder, "--update-freq", 2, "--save-interval-updates", 3)


def losses(output):
    return {int(n): loss for loss, n in re.findall(r"train_inner.* loss=([\d.]+).*num_updates=(\d+)", output)}


def test_training_logs_quarters_and_layers_and_learns(trained):
    _, output = trained
    valid = [line for line in output.splitlines() if "valid on 'valid' subset" in line][-1]
    named = dict(re.findall(r"(\w+) ([\d.]+)(?: \||$)", valid))
    assert {"loss", "bridge", "endpoint", "bars", "layer_0", "layer_1"} <= named.keys()
    assert sum(name.startswith("quarter_") for name in named) >= 2
    values = losses(output)
    assert len(values) == 6
    assert float(values[6]) < float(values[1])


def test_a_resumed_run_equals_an_uninterrupted_one(store, trained, tmp_path):
    folder, output = trained
    middle = next(folder.glob("checkpoint_*_3.pt"))
    (tmp_path / "checkpoint_last.pt").write_bytes(middle.read_bytes())
    resumed = train(store, tmp_path, "--update-freq", 2)
    assert losses(resumed) == {n: loss for n, loss in losses(output).items() if n > 3}
    one, other = (read_state(path / "checkpoint_last.pt")["model"] for path in (folder, tmp_path))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one if isinstance(one[name], torch.Tensor))


def test_another_museformers_store_is_refused_but_for_tuning(store, trained, tmp_path):
    another, kept = tmp_path / "store", trained[0] / "checkpoint_last.pt"
    shutil.copytree(store, another)
    header = json.loads((another / "store.json").read_text())
    (another / "store.json").write_text(json.dumps(header | {"model_sha256": "another"}))
    (tmp_path / "save").mkdir()
    shutil.copy(kept, tmp_path / "save" / "checkpoint_last.pt")
    printed = command("train", another, *LOG, *RECIPE, *SIZES, *OPTIMISER, "--save-dir", tmp_path / "save", fails=True)
    assert "a bridge goes on being trained for the MuseFormer" in printed
    assert "museformer was 'model' and is 'another' here" in printed
    train(another, tmp_path / "tuned", "--finetune-from-model", kept, "--max-update", 1)
    assert checkpoints.load(tmp_path / "tuned" / "checkpoint_last.pt").config.museformer == "another"


def test_two_processes_equal_one_with_twice_the_batches(store, trained, tmp_path):
    printed = train_in_two_processes(tmp_path, store, *LOG, *RECIPE, *SIZES, *OPTIMISER, "--save-dir", tmp_path)
    folder, output = trained
    two, one = losses(printed), losses(output)
    assert two.keys() == one.keys()
    for update, loss in one.items():
        assert float(two[update]) == pytest.approx(float(loss), abs=2e-3)
    expected, received = (checkpoints.load(path / "checkpoint_last.pt").state_dict() for path in (folder, tmp_path))
    for name, value in expected.items():
        torch.testing.assert_close(received[name], value, rtol=1e-3, atol=1e-4)


def test_validation_agrees_with_training(store, trained):
    folder, output = trained
    arguments = ("--path", folder / "checkpoint_last.pt", "--batch-size", 4, "--log-format", "simple")
    printed = command("validate", store, *LOG[:2], "--task", "summary_bridge", *SIZES[:2], "--cpu", *arguments)
    last = re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", output)[-1]
    assert re.search(r"subset \| loss ([\d.]+)", printed)[1] == last


def test_a_bridge_is_validated_as_it_is_kept(store, trained, tmp_path):
    folder, output = trained
    checkpoints.load(folder / "checkpoint_last.pt").save_pretrained(tmp_path)
    arguments = ("--path", tmp_path, "--batch-size", 4, "--log-format", "simple")
    printed = command("validate", store, *LOG[:2], "--task", "summary_bridge", "--cpu", *arguments)
    last = re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", output)[-1]
    assert re.search(r"subset \| loss ([\d.]+)", printed)[1] == last


def test_a_checkpoint_is_a_bridge_for_the_core(trained):
    folder, _ = trained
    bridge = checkpoints.load(folder / "checkpoint_last.pt")
    assert (bridge.config.components, bridge.config.encoder, bridge.config.museformer) == (6, "dummy:8", "model")
    plan, mask = bridge.plan(["storm", "calm"], 3)
    assert plan.shape == (2, 3, LAYERS, DIM)
    assert mask.all()
    assert plan.isfinite().all()
    assert float(bridge.summaries.unit) > 0.5
    state = read_state(folder / "checkpoint_last.pt")["model"]
    assert int(state["ema.updates"]) == 6
    name = "denoiser.read.weight"
    assert not torch.equal(state[f"bridge.{name}"], state[f"ema.average.{name}"])


def test_a_bridge_can_make_some_layers_only(store, tmp_path):
    output = train(store, tmp_path, "--plan-layers", "1", "--max-update", 3)
    bridge = checkpoints.load(tmp_path / "checkpoint_last.pt")
    assert bridge.config.plan_layers == (1,)
    assert bridge.summaries.basis.shape == (COMPONENTS, 1, DIM)
    plan, _ = bridge.plan(["storm", "calm"], 3)
    assert plan.shape == (2, 3, LAYERS, DIM)
    assert torch.equal(plan[:, :, 0], bridge.summaries.mean[0].expand(2, 3, DIM))
    valid = [line for line in output.splitlines() if "valid on 'valid' subset" in line][-1]
    named = dict(re.findall(r"(\w+) ([\d.]+)(?: \||$)", valid))
    assert float(named["layer_0"]) == 0 < float(named["layer_1"])


def test_a_subset_without_captions_is_named(store):
    directory = store.parent / "uncaptioned"
    with StoreWriter(directory, "valid", StoreHeader("model", "vocabulary", LAYERS, DIM)) as writer:
        writer.put("song", torch.zeros(2, LAYERS, DIM), {})
    with pytest.raises(InputError, match=r"of the 1 songs of the subset 'valid' in .*uncaptioned none has any"):
        BridgeDataset(SummaryStore(directory).subset("valid"), registry.load("dummy:8"), seed=0, vary=False)


def test_layers_that_are_no_numbers_are_refused_by_the_name_of_their_option(store, tmp_path):
    assert "--plan-layers must be whole numbers such as 0,1,3, received 'top'" in command(
        "train", store, *LOG, *RECIPE, *SIZES, *OPTIMISER, "--save-dir", tmp_path, "--plan-layers", "top", fails=True
    )


def test_no_option_bears_a_name_of_fairseqs_own():
    """Of two options of one name fairseq silently keeps the first, default and all."""
    parser = options.get_training_parser("summary_bridge")
    ours = {field.name for kind in (BridgeModelConfig, BridgeCriterionConfig) for field in dataclasses.fields(kind)}
    assert not {action.dest for action in parser._actions} & (ours - {"_name"})
