"""What fairseq needs today, and loading that runs nothing."""

import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import data_utils
from fairseq.distributed import utils as distributed
from malicious import Malicious

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.plugin import compat


def test_numpy_names_that_fairseq_reads_are_there():
    assert np.vectorize(int, otypes=[vars(np)["compat"].long])([1.0]).dtype.kind == "i"
    assert vars(np)["int"] is int
    assert vars(np)["float"] is float


def test_applying_twice_wraps_once():
    before = data_utils.batch_by_size, checkpoint_utils.load_checkpoint
    compat.apply()
    assert (data_utils.batch_by_size, checkpoint_utils.load_checkpoint) == before


def test_processes_that_do_not_know_of_each_other_are_not_trained(monkeypatch):
    cfg = SimpleNamespace(distributed_training=SimpleNamespace(distributed_world_size=1, distributed_init_method=None))
    cfg.distributed_training.tpu = cfg.distributed_training.pipeline_model_parallel = False
    cfg.common = SimpleNamespace(tpu=False)
    assert distributed.call_main(cfg, lambda _: 7) is None
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"train 2 times into one folder: give the script --gpus N"):
        distributed.call_main(cfg, lambda _: pytest.fail("it was trained"))


@pytest.mark.parametrize("size", [0, 1, 5, 8, 13])
@pytest.mark.parametrize("limits", [{"max_sentences": 4}, {"max_tokens": 350}, {"max_sentences": 8, "max_tokens": 900}])
def test_batches_hold_every_sample_once(size, limits):
    indices = np.random.default_rng(0).permutation(size)
    lengths = np.full(size, 100)
    for multiple in (1, 8):
        batches = data_utils.batch_by_size(
            indices, lambda _: 100, num_tokens_vec=lengths, required_batch_size_multiple=multiple, **limits
        )
        assert [index for batch in batches for index in batch] == indices.tolist()
        assert all(0 < len(batch) <= limits.get("max_sentences", 3) for batch in batches)


@pytest.mark.parametrize("forced", [False, True])
def test_fairseq_loads_nothing_that_runs_code(tmp_path, monkeypatch, forced):
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    victim = tmp_path / "executed"
    torch.save({"args": None, "model": {}, "extra_state": Malicious(victim)}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"model": Malicious(victim)}))
    for name in ("evil.pt", "plain.pt"):
        for load in (
            checkpoint_utils.load_checkpoint_to_cpu,
            lambda path: checkpoint_utils.load_model_ensemble_and_task([path]),
        ):
            with pytest.raises(InputError, match="was not loaded"):
                load(str(tmp_path / name))
    assert not victim.exists()


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path))
    with pytest.raises(OSError, match="Model file not found"):
        checkpoint_utils.load_model_ensemble_and_task([str(tmp_path / "none.pt")])


def test_what_a_user_can_mend_is_said_without_a_traceback(capsys):
    sys.excepthook(InputError, InputError("data must be there"), None)
    assert capsys.readouterr().err == "error: data must be there\n"
    hidden = ValueError("please ensure that the architectures match")
    hidden.__context__ = InputError("this one must be another")
    sys.excepthook(ValueError, hidden, None)
    assert capsys.readouterr().err == "error: this one must be another\n"
    told = InputError("file: data must be there")
    told.__context__ = InputError("data must be there")
    sys.excepthook(InputError, told, None)
    assert capsys.readouterr().err == "error: file: data must be there\n"
    sys.excepthook(ValueError, ValueError("a fault of ours"), None)
    assert "ValueError: a fault of ours" in capsys.readouterr().err


def test_a_second_name_is_the_same_file_and_never_written_into(tmp_path):
    first, other = tmp_path / "checkpoint_1_2.pt", tmp_path / "checkpoint_last.pt"
    first.write_text("new")
    other.write_text("old")
    kept = tmp_path / "kept"
    kept.hardlink_to(other)
    assert checkpoint_utils.PathManager.copy(str(first), str(other), overwrite=True)
    assert other.samefile(first)
    assert kept.read_text() == "old"
    assert checkpoint_utils.PathManager.copy(str(first), str(other), overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint_1_2.pt", "checkpoint_last.pt", "kept"}
