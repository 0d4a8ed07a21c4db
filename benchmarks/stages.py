"""Preparing, extracting, and what a bridge's training waits for."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.material import SkippedError, embedded, midi_folder, size, song, tokens_of
from benchmarks.measure import Figure, Options, Row, alternately, seconds
from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.bridge.baselines.objective import loss
from fairseq_meloformer.bridge.objective import Batch, Weights
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.encoders import registry
from fairseq_meloformer.encoders.embeddings import EmbeddingCache, TextStates
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.files import below
from fairseq_meloformer.pretrained import BRIDGE
from fairseq_meloformer.summaries.extraction import extract, fingerprint
from fairseq_meloformer.summaries.store import StoreHeader, SummaryStore
from fairseq_meloformer.summaries.writer import StoreWriter
from fairseq_meloformer.tokens import vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from torch import Tensor

    from fairseq_meloformer.museformer import MuseFormer

REFERENCE_SECONDS = 0.2
"""What MuseFormer's own tokeniser takes for a file on one core."""


def tokenising(options: Options) -> Iterator[Row]:
    """Reading, merging to six tracks and encoding MIDI files."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = midi_folder(options, Path(scratch), 4 if options.quick else 40)
        files = [path for path in below(folder) if _usable(path)]
        if not files:
            raise SkippedError(f"needs MIDI files that can be used; there is none in {folder}")
        times = [
            seconds(lambda: [tokens_of(path) for path in files], time.process_time) / len(files)
            for _ in range(options.repeats(3))
        ]
    ours = Figure.of(times)
    ratio = REFERENCE_SECONDS / ours.median
    yield Row(
        f"tokenising a MIDI file (mean of {len(files)}), on one core",
        ours.mapped(lambda value: 1e3 * value),
        "ms",
        "reference tokeniser (known)",
        Figure.of([1e3 * REFERENCE_SECONDS]),
        ratio,
        "at least 5 times as fast",
        ratio >= 5,
    )


def _usable(path: Path) -> bool:
    try:
        return bool(tokens_of(path))
    except InputError:
        return False


def extraction(options: Options) -> Iterator[Row]:
    """Extracting summaries into a store, against the bare forward pass."""
    model = embedded(options)
    length, number = (200, 2) if options.quick else (2000, 5)
    songs = [song(length, seed, device=options.device)[None] for seed in range(number)]

    @torch.no_grad()
    def bare() -> None:
        for tokens in songs:
            model(tokens)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            fill(Path(scratch), model, songs)

    bare()
    times = alternately({"bare": bare, "whole": whole}, options.repeats(3))
    rates = {name: figure.mapped(lambda value: length * number / value) for name, figure in times.items()}
    ratio = rates["whole"].median / rates["bare"].median
    yield Row(
        f"extraction, store included, {size(model)}",
        rates["whole"],
        "tokens/s",
        "bare forward pass",
        rates["bare"],
        ratio,
        "at least 0.8 times as many",
        ratio >= 0.8,
    )


def fill(directory: Path, model: MuseFormer, songs: Sequence[Tensor], copies: int = 1) -> None:
    """Write the summaries of songs (1, length) to the subset "train" of a store, with two texts each."""
    config = model.config
    header = StoreHeader(fingerprint(model), vocabulary.published().sha256, config.layers, config.dim, config.chunking)
    with StoreWriter(directory, "train", header) as writer:
        for number, tokens in enumerate(songs):
            summaries, _ = extract(model, tokens)
            captions = [{"text": text} for text in (f"song number {number}", f"第 {number} 首")]
            for copy in range(copies):
                name = f"{number}-{copy}"
                writer.put(name, summaries[0], {"id": name, "captions": captions})


def loader(options: Options) -> Iterator[Row]:
    """How long a training step of the bridge waits for its batch."""
    try:
        from fairseq_meloformer.plugin.bridge_dataset import BridgeDataset  # noqa: PLC0415  composing needs no fairseq
    except ImportError as error:
        raise SkippedError("needs fairseq") from error
    from fairseq.tasks import FairseqTask  # noqa: PLC0415

    bridge = Bridge.from_pretrained(BRIDGE, device=options.device).train()
    model = Composer(embedded(options), bridge).model  # which sees that the two belong together
    length, number, steps = (300, 4, 3) if options.quick else (2000, 48, 10)
    with tempfile.TemporaryDirectory() as scratch:
        songs = [song(length, seed, device=options.device)[None] for seed in range(number // 4)]
        fill(Path(scratch), model, songs, copies=4 * steps)
        encoder = EmbeddingCache(registry.load(bridge.config.encoder, options.device), Path(scratch) / "texts")
        dataset = BridgeDataset(SummaryStore(Path(scratch)).subset("train"), encoder, seed=0, vary=True)
        encoder.fill(dataset.texts())
        # As fairseq-train has it: one worker, ten batches ahead.
        batches = FairseqTask(None).get_batch_iterator(
            dataset, max_sentences=number, num_workers=1, data_buffer_size=10
        )
        shares = [100 * wait / (wait + step) for wait, step in _steps(bridge, batches.next_epoch_itr())]
    share = Figure.of(shares[1:])  # the first batch cannot be there yet
    yield Row(
        f"bridge training waits for data, batch of {number}",
        share,
        "% of a step",
        target="less than 2 %",
        met=share.median < 2,
    )


def _steps(bridge: Bridge, batches: Iterable[dict[str, Any]]) -> Iterator[tuple[float, float]]:
    """Seconds of waiting and of calculating, step by step."""
    optimizer = torch.optim.Adam(bridge.parameters())
    device = next(bridge.parameters()).device
    begun = time.perf_counter()
    for sample in batches:
        there = time.perf_counter()
        given = {name: value.to(device) for name, value in sample["net_input"].items()}
        text = TextStates(given["states"], given["mask"], given["pooled"])
        batch = Batch(given["summaries"], given["bars"], text, given["seeds"], given["attributes"])
        loss(bridge, batch, Weights()).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        done = time.perf_counter()
        yield there - begun, done - there
        begun = time.perf_counter()
