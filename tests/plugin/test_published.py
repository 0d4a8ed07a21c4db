"""A published checkpoint opens in fairseq's commands as it is."""

import re

import pytest
from fairseq_commands import ROOT, command

from fairseq_meloformer.museformer import checkpoints

PLUGIN = ("--user-dir", ROOT / "user_dir", "--task", "museformer_language_modeling", "--cpu", "--num-workers", 0)
SIZES = ("--attention-embed-dim", 64, "--ffn-embed-dim", 128, "--num-attention-heads", "(4,)", "--token-embed-dim", 64)
POSITIONS = ("--bar-abs-pos-embed-dim", 32, "--beat-abs-pos-embed-dim", 16)


@pytest.fixture
def published(shared):
    return shared / "museformer" / "golden" / "tiny4_checkpoint_0.10.2_layout.pt"


def loss(log):
    return re.findall(r"subset \| loss ([\d.]+)", log)[-1]


def test_it_is_validated_in_both_chunkings(corpus, published):
    arguments = (corpus.data, *PLUGIN, "--path", published, "--batch-size", 4, "--log-format", "simple")
    infer, train = command("validate", *arguments), command("validate", *arguments, "--chunking", "train")
    assert "bsz 7" in infer
    assert float(loss(infer)) == pytest.approx(float(loss(train)), abs=0.2)
    assert loss(infer) != loss(train)


@pytest.mark.parametrize("way", ["finetune", "restore", "directory"])
def test_training_goes_on_from_it(corpus, published, tmp_path, way):
    start = ("--finetune-from-model", published)
    if way == "restore":
        start = ("--restore-file", published)
    if way == "directory":
        loaded = checkpoints.load(published)
        checkpoints.save(tmp_path / "model", loaded.config, loaded.parameters)
        start = ("--finetune-from-model", tmp_path / "model")
    recipe = ("--arch", "museformer_lm_v2s1", *SIZES, *POSITIONS, "--optimizer", "adam", "--lr", 0, "--max-update", 1)
    batches = ("--max-tokens", 4000, "--log-format", "simple", "--save-dir", tmp_path / "new")
    log = command("train", corpus.data, *PLUGIN, *recipe, *batches, *start)
    assert "No existing checkpoint" not in log
    after = checkpoints.load(tmp_path / "new" / "checkpoint_last.pt")
    assert checkpoints.model_hash(after.parameters) == checkpoints.model_hash(checkpoints.load(published).parameters)


def test_it_continues_prompts_that_are_typed(corpus, published, tmp_path):
    (tmp_path / "prompts").write_text("\nt-30 o-1 i-0\n\n")
    sampling = ("--sampling", "--sampling-topk", 8, "--beam", 1, "--nbest", 1, "--min-len", 12, "--max-len-b", 16)
    batches = ("--buffer-size", 3, "--batch-size", 3, "--input", tmp_path / "prompts")
    printed = command("interactive", corpus.data, *PLUGIN, "--path", published, *sampling, *batches)
    songs = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", printed, re.MULTILINE))
    assert songs.keys() == {"0", "1", "2"}
    assert songs["1"].startswith("t-30 o-1 i-0 ")
    assert all(12 <= len(song.split()) <= 16 for song in songs.values())
