"""The scripts that train and tune a MuseFormer, run as they are on songs of a few bars."""

import os
import re
import shutil
import subprocess

import pytest
import torch
from fairseq_commands import scripts_in

from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.museformer.checkpoints import read_state
from fairseq_meloformer.summaries.store import SummaryStore, shard_paths
from fairseq_meloformer.tokens.vocabulary import SPECIAL, Vocabulary, published

SMALL = (
    "--arch",
    "museformer_lm_v2s1_debug",
    "--max-tokens",
    400,
    "--truncate-train",
    150,
    "--save-interval-updates",
    2,
)
SMALL += ("--max-valid-steps", 1, "--num-workers", 0, "--log-interval", 1, "--cpu")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The scripts in a folder whose environment is the one that the tests run in."""
    folder = tmp_path_factory.mktemp("scripts")
    scripts_in(folder, "train_museformer.sh", "tune_museformer.sh", "train_bridge.sh", "extract.sh", "published.sh")

    def run(name, *arguments, fails=False):
        program = ["bash", folder / (name if name.endswith(".sh") else f"{name}_museformer.sh"), *arguments]
        environment = os.environ | {"MELOFORMER_BEGINNINGS": "2"}
        done = subprocess.run(list(map(str, program)), env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, (done.stdout + done.stderr)[-4000:]
        return done.stdout + done.stderr

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def trained(scripts, corpus, tmp_path_factory):
    """What train_museformer.sh leaves, and what it printed."""
    folder = tmp_path_factory.mktemp("trained") / "whole"
    return folder, scripts("train", corpus.data, folder, *SMALL, "--max-update", 6, "--keep-interval-updates", 9)


def longest(corpus):
    """Bars that one in twenty of the training songs has within its first 150 tokens, at least 4."""
    bars = sorted(line.split()[:150].count("b-1") for line in corpus.songs["train"])
    return max(4, bars[int(0.95 * len(bars))])


def updates(printed):
    return list(map(int, re.findall(r"num_updates=(\d+)", printed)))


def rates(printed):
    return [float(rate) for rate in re.findall(r"num_updates=\d+, lr=([\d.e-]+)", printed)]


def test_training_goes_on_exactly_where_it_was_stopped_and_is_finished_on_request(scripts, corpus, trained, tmp_path):
    options = (*SMALL, "--max-update", 6, "--keep-interval-updates", 9)
    assert updates(trained[1]) == [1, 2, 3, 4, 5, 6]
    shutil.copytree(trained[0], tmp_path / "whole")
    (tmp_path / "parts" / "songs").mkdir(parents=True)
    stopped = next((tmp_path / "whole" / "songs").glob("checkpoint_*_4.pt"))
    shutil.copy(stopped, tmp_path / "parts" / "songs" / "checkpoint_last.pt")
    assert updates(scripts("train", corpus.data, tmp_path / "parts", *options)) == [5, 6]
    whole, parts = (read_state(tmp_path / name / "songs" / "checkpoint_last.pt") for name in ("whole", "parts"))
    assert whole["extra_state"]["train_iterator"] == parts["extra_state"]["train_iterator"]
    assert all(torch.equal(tensor, parts["model"][name]) for name, tensor in whole["model"].items())
    printed = scripts("train", "--finish", 3, corpus.data, tmp_path / "whole", *SMALL)
    assert updates(printed) == [7, 8, 9]
    first, *_, last = rates(printed)
    assert first > last
    done = (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert "finished already" in scripts("train", "--finish", 3, corpus.data, tmp_path / "whole", *SMALL)
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == done
    model = MuseFormer.from_pretrained(tmp_path / "whole")
    assert (model.config.scope, model.config.most_bars) == ("past", longest(corpus))
    assert not torch.equal(model.layer_norm.weight, whole["model"]["decoder.layer_norm.weight"])


def test_updates_are_counted_by_the_last_option_and_shorten_every_stage(scripts):
    environment = scripts.folder / "environment.sh"

    def at_most(updates, *options):
        line = f'source {environment}; at_most "$@"'
        return int(subprocess.check_output(["bash", "-euc", line, "bash", str(updates), *options], text=True))

    assert at_most(600) == 600
    assert at_most(600, "--max-update", "7", "--max-update=40") == 40
    assert at_most(600, "--max-update", "9000") == at_most(600, "--max-update", "0") == 600


def test_a_folder_without_songs_is_not_extracted(scripts, tmp_path):
    printed = scripts("extract.sh", tmp_path, "model", tmp_path / "store", fails=True)
    assert "must hold train.idx, valid.idx or test.idx" in printed
    assert not (tmp_path / "store").exists()


def test_two_processes_share_an_extraction_from_a_model_as_training_left_it(scripts, corpus, trained, tmp_path):
    for path in (corpus.data / "dict.txt", *corpus.data.glob("valid.*")):
        shutil.copy(path, tmp_path)
    assert "received '0'" in scripts("extract.sh", tmp_path, trained[0], tmp_path / "store", "--gpus", 0, fails=True)
    scripts("extract.sh", tmp_path, trained[0], tmp_path / "store", "--gpus", 2, "--cpu")
    shards = shard_paths(tmp_path / "store" / "valid")
    assert {path.name[:2] for path in shards} == {"r0", "r1"}
    assert len(SummaryStore(tmp_path / "store").subset("valid")) == 7
    assert (tmp_path / "store" / "valid" / "statistics.safetensors").is_file()


def test_a_training_begins_from_another_model_in_its_sizes_and_is_finished(scripts, corpus, shared, tmp_path):
    model = shared / "museformer" / "golden" / "tiny4_checkpoint_0.10.2_layout.pt"
    options = (*SMALL, "--finetune-from-model", model)
    assert updates(scripts("train", corpus.data, tmp_path, *options, "--max-update", 3)) == [1, 2, 3]
    assert updates(scripts("train", "--finish", 1, corpus.data, tmp_path, *options)) == [4]
    assert MuseFormer.from_pretrained(tmp_path).config.layers == 4  # the architecture has 2


def test_a_vocabulary_of_ones_own_is_kept_from_training_to_tuning(scripts, corpus, tmp_path):
    shutil.copytree(corpus.data, tmp_path / "data")
    symbols = Vocabulary([*published().symbols[len(SPECIAL) :], "x-0"])
    symbols.write(tmp_path / "data" / "dict.txt")
    options = (*SMALL, "--max-update", 2)
    scripts("train", tmp_path / "data", tmp_path / "model", *options)
    scripts("tune", tmp_path / "model", tmp_path / "data", tmp_path / "tuned", *options, "--attribute-weight", 0)
    assert MuseFormer.from_pretrained(tmp_path / "tuned").config.vocabulary_sha256 == symbols.sha256


def test_there_must_be_something_to_finish(scripts, corpus, tmp_path):
    assert "run the command without --finish first" in scripts(
        "train", "--finish", 9, corpus.data, tmp_path, fails=True
    )
    assert "--finish needs a number" in scripts("train", "--finish", corpus.data, tmp_path, fails=True)


@pytest.mark.parametrize("doors", [False, True])
def test_any_model_is_tuned_to_plans_in_its_own_sizes(scripts, corpus, shared, tmp_path, doors):
    data, model = tmp_path / "data", shared / "museformer" / "golden" / "tiny4_checkpoint_0.10.2_layout.pt"
    shutil.copytree(corpus.data, data)
    Quantiles.fit(measure(line.split()) for line in corpus.songs["train"]).save(data / "quantiles.json")
    in_time = ("--lr-scheduler", "in_time", "--stop-time-hours", 1e-4, "--max-update", 0)
    muon = ("--optimizer", "muon")
    options = [
        *SMALL,
        *((*in_time, *muon, "--train-summary-projections-only") if doors else ("--max-update", 3, "--gpus", 2)),
    ]
    printed = scripts("tune", model, data, tmp_path / "tuned", *options)
    if doors:
        done = (tmp_path / "tuned" / "model.safetensors").read_bytes()
        assert scripts("tune", model, data, tmp_path / "tuned", *options).count("finished already") == 2
        assert (tmp_path / "tuned" / "model.safetensors").read_bytes() == done
        for name, share in (("songs", 0.85), ("beginnings", 0.15)):
            trained = read_state(tmp_path / "tuned" / name / "checkpoint_last.pt")
            assert trained["cfg"]["optimization"]["stop_time_hours"] == pytest.approx(1e-4 * share)
            assert trained["extra_state"]["previous_training_time"] >= 0.36 * share
    assert ("training on 2 devices" in printed) == (not doors)
    assert ("attribute_error" in printed) == (not doors)
    before, tuned = (MuseFormer.from_pretrained(path) for path in (model, tmp_path / "tuned"))
    assert tuned.config.dim == 64 == before.config.dim
    assert tuned.config.ahead == 1
    assert (tuned.config.scope, tuned.config.most_bars) == ("plan", 32)
    assert (tmp_path / "tuned" / "quantiles.json").is_file()
    changed = {
        name for name, tensor in before.state_dict().items() if not torch.equal(tensor, tuned.state_dict()[name])
    }
    read = {name for name in changed if "sum_key2_proj" in name or "sum_value2_proj" in name}
    assert len(read) == 8
    assert (changed == read) == doors


def test_a_published_checkpoint_composes_as_it_was_downloaded(scripts, shared, trained, tmp_path):
    golden = shared / "museformer" / "golden"
    model, song = golden / "tiny4_checkpoint_0.10.2_layout.pt", golden / "six_track_sample.mid"
    short = ("--bars", 2, "--no-picture", "--no-audio")
    printed = scripts("published.sh", model, song, tmp_path, *short)
    assert "MuseFormer, 252,800 parameters" in printed
    pieces = [next((tmp_path / name).glob("*.mid")).read_bytes() for name in ("history", "plan", "plain")]
    assert len(set(pieces)) == 3
    converted = MuseFormer.from_pretrained(tmp_path / "museformer")
    assert converted.config == MuseFormer.from_pretrained(model).config
    assert "made with another settings" in scripts("published.sh", trained[0], song, tmp_path, *short, fails=True)
    assert MuseFormer.from_pretrained(tmp_path / "museformer").config == MuseFormer.from_pretrained(trained[0]).config
