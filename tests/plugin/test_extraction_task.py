"""Stage A through the real fairseq-generate: killed, resumed, on two ranks, and never mixed."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import torch
from fairseq import options
from fairseq_cli import generate
from fairseq_commands import ROOT

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.summaries.statistics import Statistics
from fairseq_meloformer.summaries.store import SummaryStore, shard_paths
from fairseq_meloformer.tokens.vocabulary import BOS, published

CONFIG = MuseFormerConfig(layers=2, dim=32, ffn_dim=64, heads=2, token_dim=16, bar_dim=8, beat_dim=8)

# One item a shard, and a kill in the middle of writing the fifth.
KILLED = """
import os, signal
from fairseq_meloformer.summaries import writer
write, count = writer.write_shard, 0
def write_shard(path, *made):
    global count
    count += 1
    if count == 5:
        path.with_name(f".{path.name}.tmp").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, *made)
writer.write_shard = write_shard
writer.StoreWriter.__init__.__defaults__ = (0, 1, 60.0)
from fairseq_cli.generate import cli_main
cli_main()
"""


def model(folder, seed):
    torch.manual_seed(seed)
    MuseFormer(CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return model(tmp_path_factory.mktemp("model"), 1)


@pytest.fixture(scope="module")
def described(corpus):
    """The corpus with descriptions of its training songs beside it, as `meloformer prepare` makes them."""
    rows = [{"id": f"song {n}.mid:0-9", "captions": [{"text": f"第{n}首"}]} for n in range(len(corpus.songs["train"]))]
    (corpus.data / "train.items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    yield corpus
    (corpus.data / "train.items.jsonl").unlink()


def arguments(corpus, frozen, store, rank=0, world=1, subset="train"):
    return [
        *(corpus.data, "--user-dir", ROOT / "user_dir", "--task", "summary_extraction", "--path", frozen, "--cpu"),
        *("--gen-subset", subset, "--summary-store", store, "--max-tokens", 300, "--num-workers", 0),
        *("--distributed-world-size", world, "--distributed-rank", rank),
    ]


def in_process(*given):
    """What fairseq-generate does after its start; it ends the process when all is written."""
    parsed = options.parse_args_and_arch(options.get_generation_parser(), [str(value) for value in given])
    with pytest.raises(SystemExit) as end:
        generate.main(parsed)
    assert end.value.code == 0


def assert_complete(corpus, frozen, store):
    frozen = MuseFormer.from_pretrained(frozen)
    subset = SummaryStore(store).subset("train")
    assert len(subset) == len(corpus.songs["train"])
    for number, song in enumerate(corpus.songs["train"]):
        item = subset[f"song {number}.mid:0-9"]
        assert item.metadata["captions"] == [{"text": f"第{number}首"}]
        alone, _ = frozen.summaries(torch.tensor([[BOS, *published().ids(song.split())]]))
        torch.testing.assert_close(item.summaries, alone[0], atol=1e-5, rtol=1e-5)
    everything = torch.cat([item.summaries for item in subset]).double()
    statistics = Statistics.load(store / "train" / "statistics.safetensors")
    assert statistics.bars == len(everything)
    torch.testing.assert_close(statistics.mean, everything.mean(0))
    torch.testing.assert_close(statistics.std, everything.std(0, correction=0))


def test_killed_and_resumed_on_two_ranks_and_never_mixed(described, frozen, tmp_path, caplog):
    store = tmp_path / "store"
    zeroth, first = (arguments(described, frozen, store, rank, 2) for rank in range(2))
    program = [sys.executable, "-c", KILLED, *map(str, zeroth)]
    assert subprocess.run(program, cwd=ROOT, capture_output=True, check=False).returncode == -9
    assert len(shard_paths(store / "train")) == 4
    in_process(*first)
    assert not (store / "train" / "statistics.safetensors").exists()
    caplog.clear()
    with caplog.at_level("INFO"):
        in_process(*zeroth)
    assert "11 of 15 songs to extract" in caplog.text
    assert "train: complete, 30 songs" in caplog.text
    assert_complete(described, frozen, store)

    shards = {path: path.read_bytes() for path in shard_paths(store / "train")}
    in_process(*arguments(described, frozen, store))
    other = arguments(described, model(tmp_path / "other", 2), store)
    with pytest.raises(InputError, match="made with model_sha256"):
        generate.main(options.parse_args_and_arch(options.get_generation_parser(), [str(value) for value in other]))
    assert {path: path.read_bytes() for path in shard_paths(store / "train")} == shards


@pytest.mark.parametrize("changed", ["train.items.jsonl", "train.bin"])
def test_other_descriptions_or_songs_are_not_mixed_with_what_is_there(described, frozen, tmp_path, changed):
    data, store = tmp_path / "data", tmp_path / "store"
    shutil.copytree(described.data, data)
    given = arguments(dataclasses.replace(described, data=data), frozen, store)
    in_process(*given)
    content = (data / changed).read_bytes()
    swap = (b"captions", b"positions") if changed.endswith("jsonl") else (content[:2], content[2:4])
    (data / changed).write_bytes(content.replace(*swap))
    with pytest.raises(InputError, match=r"extracted from other songs or descriptions .* another --summary-store"):
        generate.main(options.parse_args_and_arch(options.get_generation_parser(), [str(value) for value in given]))
    (data / changed).write_bytes(content)  # as preparing the same again leaves it
    in_process(*given)


def test_songs_that_were_not_prepared_by_us_get_numbers(corpus, frozen, tmp_path):
    in_process(*arguments(corpus, frozen, tmp_path, subset="valid"))
    subset = SummaryStore(tmp_path).subset("valid")
    assert set(subset.ids) == {str(number) for number in range(7)}
    assert subset.metadata("3") == {"id": "3"}


def test_descriptions_of_other_songs_are_refused(corpus, frozen, tmp_path):
    path = corpus.data / "valid.items.jsonl"
    path.write_text('{"id": "a"}\n')
    given = [str(value) for value in arguments(corpus, frozen, tmp_path, subset="valid")]
    try:
        with pytest.raises(InputError, match="one row with an id of its own for each of the 7 songs"):
            generate.main(options.parse_args_and_arch(options.get_generation_parser(), given))
    finally:
        path.unlink()
