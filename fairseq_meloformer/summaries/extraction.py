"""Stage A: the summary tokens that a frozen MuseFormer makes of every bar.

They are what goes into `sum_key2_proj` of each layer, so hooks there read them from any implementation that keeps the
module names, the upstream code included. Our own model hands them out itself and saves the rest of the forward pass.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer import checkpoints
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.summaries.statistics import Moments, Statistics
from fairseq_meloformer.summaries.store import SummaryStore
from fairseq_meloformer.tokens.vocabulary import BAR_END, PAD

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


PROJECTION = "self_attn.sum_key2_proj"
"""The module of every layer whose input is the summaries."""

STATISTICS = "statistics.safetensors"


def core(model: nn.Module) -> MuseFormer | None:
    """Our network inside a model (fairseq wraps it), or None where the code is somebody else's."""
    return next((module for module in model.modules() if isinstance(module, MuseFormer)), None)


def projections(model: nn.Module) -> list[nn.Module]:
    """`sum_key2_proj` of each layer, first layer first.

    Raises:
        InputError: if there is none: the model is no MuseFormer.
    """
    found = [module for name, module in model.named_modules() if name.endswith(PROJECTION)]
    if not found:
        raise InputError(f"a MuseFormer must have a module layers.<n>.{PROJECTION}; {type(model).__name__} has none")
    return found


def sizes(model: nn.Module) -> tuple[int, int]:
    """Layers of a MuseFormer, and the width of a summary."""
    found = projections(model)
    return len(found), next(found[0].parameters()).shape[1]


@contextmanager
def capture(model: nn.Module) -> Iterator[list[Tensor]]:
    """While the context lasts, a forward pass leaves the input of every layer's `sum_key2_proj` in the yielded list.

    The tensors are as the model has them, in our case (finished bars of all songs, dim). Hooks are always removed.
    """
    captured: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        captured.append(inputs[0].detach())

    handles = [module.register_forward_pre_hook(keep) for module in projections(model)]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def extract(model: nn.Module, tokens: Tensor, bars: int | None = None) -> tuple[Tensor, Tensor]:
    """Summaries of every finished bar, with songs cut into bars as in generation.

    Args:
        model: a MuseFormer of ours or upstream's, perhaps wrapped by fairseq, in evaluation mode.
        tokens: (batch, length) ids: BOS, then the song; padded on the right with PAD.
        bars: of the longest song, where that is known; on a GPU nothing then waits for the device.

    Returns:
        summaries (batch, bars, layers, dim), zeros where a song has no such bar; mask (batch, bars), False there.
    """
    ours = core(model)
    if ours is not None:
        return ours.summaries(tokens, ours.config.chunking, bars)
    # Upstream's decoder finds the bars of one song only.
    songs = [_extract_one(model, song[song != PAD]) for song in tokens]
    summaries = nn.utils.rnn.pad_sequence(songs, batch_first=True)
    counts = torch.tensor([len(song) for song in songs], device=tokens.device)
    return summaries, torch.arange(summaries.shape[1], device=tokens.device) < counts[:, None]


def _extract_one(model: nn.Module, tokens: Tensor) -> Tensor:
    """(bars, layers, dim) of one song (length,) in a foreign model, which may pad its summaries at the end."""
    bars = int((tokens == BAR_END).sum())
    layers, width = sizes(model)
    with capture(model) as captured:
        model(tokens[None])
    if not captured and not bars:
        return torch.zeros(0, layers, width, device=tokens.device)
    if len(captured) != layers or any(layer.numel() // layer.shape[-1] < bars for layer in captured):
        shapes = [tuple(layer.shape) for layer in captured]
        raise InputError(f"{layers} layers must summarise {bars} bars, but {PROJECTION} received {shapes}")
    return torch.stack([layer.reshape(-1, layer.shape[-1])[:bars] for layer in captured], dim=1)


def fingerprint(model: nn.Module) -> str:
    """`checkpoints.model_hash` of a model's parameters; the same for ours and upstream's with one checkpoint."""
    return checkpoints.model_hash(dict((core(model) or model).named_parameters(remove_duplicate=False)))


def finish(directory: Path, subset: str, ids: Collection[str]) -> Statistics | None:
    """Once all items `ids` are in the store, write mean and std of the subset beside its shards; None before that.

    Every rank calls this after its last shard, so the last one finds the subset complete. Doing it twice is the same as
    doing it once.
    """
    if not set(ids) <= SummaryStore.finished(directory, subset):
        return None
    moments = Moments()
    for item in SummaryStore(directory).items(subset):
        moments.update(item.summaries)
    statistics = moments.statistics()
    statistics.save(directory / subset / STATISTICS)
    return statistics
