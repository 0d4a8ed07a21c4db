"""Memory does not grow with what is described in a corpus: only names and numbers of its items are held."""

import json
import tracemalloc
from collections import deque
from functools import partial

import pytest
import torch

from fairseq_meloformer.corpus import data_card
from fairseq_meloformer.corpus.writing import Corpus, Sources
from fairseq_meloformer.encoders.registry import DummyEncoder
from fairseq_meloformer.jobs import JsonlLog
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.plugin.bridge_dataset import BridgeDataset
from fairseq_meloformer.summaries.extraction import finish
from fairseq_meloformer.summaries.store import StoreHeader, StoreItem, SummaryStore, write_shard

LONG = 20_000  # characters that a row has
HELD = 2_000  # bytes that may be held of it
FEW, MANY = 20, 120
NOTES = [word for pitch in (60, 64, 67, 72) for word in (f"o-{pitch - 60}", "i-0", f"p-{pitch}", "d-6", "v-20")]
BAR = ["t-28", *NOTES, "o-24", "i-128", "p-170", "d-1", "v-9", "b-1"]
ATTRIBUTES = measure(BAR * 4)


def item(number):
    texts = [{"text": f"{number} {part}" + "x" * (LONG // 4), "lang": "en", "source": "tests"} for part in range(4)]
    return {"id": f"{number}", "path": f"{number}.mid", "bars": [0, 1], "captions": texts, "attributes": ATTRIBUTES}


def described(folder, count):
    """A folder as `meloformer prepare` leaves it."""
    rows = [json.dumps(item(number)) + "\n" for number in range(count)]
    for split in ("train", "valid"):
        (folder / f"{split}.items.jsonl").write_text("".join(rows))
    about = {"transposition": 0, "left_out": []}
    with (folder / "songs.jsonl").open("w") as file:
        for number in range(count):
            window = {"bars": [0, 1], "content": f"{number}", "attributes": ATTRIBUTES, "variations": []}
            window["tokens"] = " ".join(BAR * (LONG // 130))
            file.write(json.dumps({"id": f"{number}.mid", "content": f"{number}", "windows": [window], **about}) + "\n")
    counts = {"files": count, "rejected": 0, "duplicate_songs": 0, "train": {}, "valid": {}, "test": {}}
    (folder / "prepare.json").write_text(json.dumps({"settings": {}, "counts": counts}))


def stored(folder, count):
    """A store of summaries in shards of five."""
    StoreHeader("model", "vocabulary", 1, 2).claim(folder)
    (folder / "train").mkdir()
    for number in range(0, count, 5):
        items = [StoreItem(f"{n}", torch.ones(3, 1, 2), item(n)) for n in range(number, number + 5)]
        write_shard(folder / "train" / f"r0-{number:05d}.safetensors", items)


def write_corpus(folder):
    log = JsonlLog(folder / "songs.jsonl")
    Corpus(log, list(log.done), Sources(), 0.1, 0.1).write(folder, 0, None, 0)


def load(folder):
    songs = SummaryStore(folder).subset("train")
    dataset = BridgeDataset(songs, DummyEncoder(4), seed=0, vary=True)
    deque(dataset.texts(), maxlen=0)
    deque((dataset[index] for index in range(len(dataset))), maxlen=0)
    finish(folder, "train", songs.ids)


@pytest.mark.parametrize(
    ("made", "used"),
    [(described, write_corpus), (described, data_card.write), (stored, load)],
    ids=["writing the splits", "the data card", "store, loader and statistics"],
)
def test_what_is_held_of_an_item_is_small(tmp_path, made, used):
    peaks = []
    for count in (FEW, MANY):
        folder = tmp_path / f"{len(peaks)}"
        folder.mkdir()
        made(folder, count)
        work = partial(used, folder)
        if used is data_card.write:
            write_corpus(folder)
        if not peaks:
            work()  # once to import what it needs
        tracemalloc.start()
        work()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (MANY - FEW) < HELD
