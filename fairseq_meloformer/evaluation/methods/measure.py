"""What is measured of a way from text to a plan, on songs of a store that it was not trained on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from fairseq_meloformer.bridge.baselines.objective import loss as own_loss
from fairseq_meloformer.bridge.objective import Batch, Weights
from fairseq_meloformer.composing.composer import Composer, vocabulary_of
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.corpus.tokens import TokenFile
from fairseq_meloformer.encoders.embeddings import EmbeddingCache
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.oracle import padded
from fairseq_meloformer.injection import prefix_training
from fairseq_meloformer.measures.attributes import ALL_AXES, AXES, measure
from fairseq_meloformer.summaries.store import SummaryStore
from fairseq_meloformer.tokens.vocabulary import BAR_END, PAD
from fairseq_meloformer.words.probe import Probe
from fairseq_meloformer.words.prompts import Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from fairseq_meloformer.bridge.model import Bridge
    from fairseq_meloformer.museformer.model import MuseFormer

    Floats = NDArray[np.float64]

_POOL: Final = 1000  # songs of the training subset to fit on and to compare with
_RIDGE: Final = 10.0
_CE_BATCH: Final = 8
_RESAMPLES: Final = 1000


@dataclass(frozen=True)
class SampleSizes:
    """How much is measured.

    Attributes:
        bars: of pieces and plans.
        prompts: held-out songs, each with the longest of its captions as the prompt.
        diverse: prompts for which diversity is measured.
        seeds: plans and pieces of each of these.
        nfe: steps of methods that have steps.
        bar_tokens: most tokens in a bar of a piece.
    """

    bars: int = 16
    prompts: int = 32
    diverse: int = 4
    seeds: int = 4
    nfe: int = 10
    bar_tokens: int = 512


@dataclass(frozen=True)
class HeldOutSong:
    """A song of a store with a caption."""

    id: str
    path: str
    text: str
    attributes: Mapping[str, object]
    summaries: Tensor


class Songs:
    """Held-out songs, and a sample of those that methods are trained on.

    Raises:
        InputError: the store has too few songs that are long enough and captioned.
    """

    def __init__(self, directory: Path, sizes: SampleSizes, tokens: Path | None = None) -> None:
        self.directory, self.sizes, self._tokens = directory, sizes, tokens
        store = SummaryStore(directory)
        held_out = next((name for name in ("valid", "test") if name in store.subsets), "train")
        self.subset = held_out
        self.held_out = _captioned(store, held_out, sizes.prompts, sizes.bars)
        self.pool = _captioned(store, "train", _POOL, sizes.bars)
        if len(self.held_out) < max(3, sizes.diverse) or len(self.pool) < 2 * sizes.seeds:
            raise InputError(
                f"comparing methods needs at least {max(3, sizes.diverse)} captioned songs of {sizes.bars} bars in "
                f"{held_out} and {2 * sizes.seeds} in train; {directory} has {len(self.held_out)} and {len(self.pool)}"
            )

    @cached_property
    def asked(self) -> Floats:
        """What the held-out songs are: (songs, axes)."""
        return table([song.attributes for song in self.held_out])

    @cached_property
    def scale(self) -> Floats:
        """Standard deviation of each axis over the training songs (axes,)."""
        deviation: Floats = np.nanstd(table([song.attributes for song in self.pool]), axis=0)
        return np.where(deviation > 0, deviation, 1.0)

    def ids(self, model: MuseFormer) -> list[list[int]]:
        """Tokens of the held-out songs."""
        if self._tokens is None:
            return []
        file = TokenFile(self._tokens, self.subset, vocabulary_of(model))
        return [file[song.id] for song in self.held_out]

    def alike(self, bridge: Bridge) -> list[list[HeldOutSong]]:
        """For each prompt of the diversity, the training songs whose captions the text encoder finds nearest to it.

        One of each file at most: windows of one song are more alike than songs of one caption.
        """
        encoder = EmbeddingCache(bridge.encoder, self.directory / "texts")
        texts = [song.text for song in (*self.pool, *self.held_out[: self.sizes.diverse])]
        pooled = torch.nn.functional.normalize(bridge.text(encoder.encode(texts)).pooled, dim=-1)
        near = pooled[len(self.pool) :] @ pooled[: len(self.pool)].T
        groups = []
        for row in near:
            found: dict[str, HeldOutSong] = {}
            for index in row.argsort(descending=True).tolist():
                found.setdefault(self.pool[index].path, self.pool[index])
            groups.append(list(found.values())[: 2 * self.sizes.seeds])
        return groups


def _captioned(store: SummaryStore, subset: str, count: int, bars: int) -> list[HeldOutSong]:
    songs = store.subset(subset)
    long = [index for index, length in enumerate(songs.bars) if length >= bars]
    fitting = []
    for index in long:
        about = songs.metadata(index)
        if about.get("captions") and about.get("attributes"):
            fitting.append(index)
    chosen = [fitting[round(place)] for place in np.linspace(0, len(fitting) - 1, min(count, len(fitting)))]
    found = []
    for index in chosen:
        item = songs[index]
        about = item.metadata
        text = max((caption["text"] for caption in about["captions"]), key=len)
        path = str(about.get("path", item.id))
        found.append(HeldOutSong(item.id, path, text, about["attributes"], item.summaries.float()))
    return found


def table(rows: Sequence[Mapping[str, object]]) -> Floats:
    """Attributes as (rows, axes); NaN where nothing was measured."""
    values = [[row.get(axis) for axis in AXES] for row in rows]
    return np.array([[v if isinstance(v, (int, float)) else np.nan for v in row] for row in values], dtype=float)


def rank_correlations(asked: Floats, heard: Floats, rows: NDArray[np.int64] | None = None) -> Floats:
    """Spearman's correlation of each axis (..., axes) of two tables (songs, axes).

    What could not be measured is last on neither side: it takes the middle rank. An axis without variety in what is
    asked is NaN, and one without variety in what is heard 0. With `rows` (..., songs) it is that of resamples, in
    which songs keep the ranks that they have among all.
    """
    left, right = (np.stack([_ranks(column) for column in part.T], axis=1) for part in (asked, heard))
    if rows is not None:
        left, right = left[rows], right[rows]
    left, right = (part - part.mean(-2, keepdims=True) for part in (left, right))
    spreads = [np.sqrt((part**2).sum(-2)) for part in (left, right)]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = (left * right).sum(-2) / (spreads[0] * spreads[1])
    return np.where(spreads[0] == 0, np.nan, np.where(spreads[1] == 0, 0.0, found))


def _ranks(values: Floats) -> Floats:
    known = ~np.isnan(values)
    ranks = np.full(len(values), (known.sum() - 1) / 2)
    _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    ranks[known] = (np.cumsum(counts) - (counts + 1) / 2)[inverse]
    return ranks


def control(asked: Floats, heard: Floats) -> dict[str, Any]:
    """Mean rank correlation over the axes with its 95 % interval, by a bootstrap over prompts, and by axis."""
    rows = np.random.default_rng(0).integers(len(asked), size=(_RESAMPLES, len(asked)))
    low, high = np.quantile(_mean(rank_correlations(asked, heard, rows)), [0.025, 0.975])
    axes = rank_correlations(asked, heard)
    return {
        "value": float(_mean(axes)),
        "low": float(low),
        "high": float(high),
        "axes": {
            axis: None if np.isnan(found) else round(float(found), 3) for axis, found in zip(AXES, axes, strict=True)
        },
    }


def _mean(values: Floats) -> Floats:
    """Mean over the last axis of what is known; 0 where nothing is."""
    known = ~np.isnan(values)
    total: Floats = np.where(known, values, 0).sum(-1) / np.maximum(known.sum(-1), 1)
    return total


class Evaluator:
    """Measures methods against one MuseFormer and one set of songs."""

    def __init__(self, model: MuseFormer, songs: Songs) -> None:
        self.model, self.songs, self.sizes = model, songs, songs.sizes
        self._tokens = songs.ids(model)

    def compose(self, bridge: Bridge | None, requests: Sequence[Request], plan: Any = None) -> Floats:  # noqa: ANN401  see Composer.compose
        """Compose pieces, and what is heard in them (pieces, axes)."""
        injected = bridge is not None or plan is not None
        settings = Settings(nfe=self.sizes.nfe, bar_tokens=self.sizes.bar_tokens, injected=injected)
        pieces = Composer(self.model, bridge).compose(requests, settings, plan)
        return table([measure(piece.midi) for piece in pieces])

    def requests(self) -> list[Request]:
        """One piece for each held-out song."""
        return [Request(song.text, seed=seed, bars=self.sizes.bars) for seed, song in enumerate(self.songs.held_out)]

    def references(self) -> dict[str, Any]:
        """Control of the songs' own plans, of differences of means, and of none."""
        real = torch.stack([song.summaries[: self.sizes.bars] for song in self.songs.held_out])
        mask = torch.ones(real.shape[:2], dtype=torch.bool)
        requests = self.requests()
        found: dict[str, dict[str, Any]] = {
            "oracle": {"heard": control(self.songs.asked, self.compose(None, requests, (real, mask)))},
            "difference": {
                "heard": control(self.songs.asked, self.compose(None, requests, (self.differences(), mask)))
            },
            "none": {"heard": control(self.songs.asked, self.compose(None, requests))},
        }
        if self._tokens:
            found["oracle"]["nats"] = self._nats([song.summaries for song in self.songs.held_out], None)
            found["none"]["nats"] = self._nats(None, None)
        return found

    def differences(self) -> Tensor:
        """Plans without training (songs, bars, layers, dim), the same in all bars: the mean summary, and what is asked.

        For each axis that is the mean of the training songs that have more of it than the median less the mean of the
        others, times what the probe reads in the caption.
        """
        means = torch.stack([song.summaries.mean(0) for song in self.songs.pool])
        values = torch.from_numpy(table([song.attributes for song in self.songs.pool]))
        asked = Probe.from_pretrained().read([song.text for song in self.songs.held_out])
        plans = means.mean(0).repeat(len(asked), 1, 1)
        for amounts, axis in zip(asked.T, values.T, strict=True):
            middle = axis.nanmedian()
            more, less = axis > middle, axis <= middle
            if more.any():
                plans += amounts[:, None, None] * (means[more].mean(0) - means[less].mean(0))
        return plans[:, None].repeat(1, self.sizes.bars, 1, 1)

    def checkpoint(self, bridge: Bridge) -> dict[str, Any]:
        """Error and control of plans, control of pieces, and nats a token of the songs under plans of their captions.

        Plans of a prefix are no summaries, so that the first two say nothing of it and are None.
        """
        texts = [song.text for song in self.songs.held_out]
        plan, _ = bridge.plan(texts, self.sizes.bars, seed=0, nfe=self.sizes.nfe)
        row: dict[str, Any] = {"plan_error": None, "read": None}
        if bridge.config.method != "prefix":
            real = torch.stack([song.summaries[: self.sizes.bars] for song in self.songs.held_out])
            difference = bridge.summaries.normalise(plan) - bridge.summaries.normalise(real)
            row["plan_error"] = float(difference.square().mean())
            row["read"] = control(self.songs.asked, self._read(bridge, plan))
        row["heard"] = control(self.songs.asked, self.compose(bridge, self.requests()))
        if self._tokens:
            bars = [len(song.summaries) for song in self.songs.held_out]
            plans, mask = bridge.plan(texts, bars, seed=0, nfe=self.sizes.nfe)
            own = [one[kept] for one, kept in zip(plans, mask, strict=True)]
            row["nats"] = self._nats(own, bridge)
        return row

    def diversity(self, bridge: Bridge) -> dict[str, float]:
        """Mean distance of plans, and of pieces, to one prompt, over that of real songs with such a caption."""
        groups = self.songs.alike(bridge)
        chosen = self.songs.held_out[: self.sizes.diverse]
        requests = [
            Request(song.text, seed=seed, bars=self.sizes.bars) for song in chosen for seed in range(self.sizes.seeds)
        ]
        seeds = [request.seed for request in requests]
        texts = [request.text for request in requests]
        plan, _ = bridge.plan(texts, self.sizes.bars, seed=seeds, nfe=self.sizes.nfe)
        plans = bridge.summaries.normalise(plan).flatten(1).numpy().reshape(len(chosen), self.sizes.seeds, -1)
        real = [
            bridge.summaries.normalise(torch.stack([song.summaries[: self.sizes.bars] for song in group]))
            .flatten(1)
            .numpy()
            for group in groups
        ]
        heard = (self.compose(bridge, requests) / self.songs.scale).reshape(len(chosen), self.sizes.seeds, -1)
        real_heard = [table([song.attributes for song in group]) / self.songs.scale for group in groups]
        return {
            "plans": float(np.mean([distance(own) for own in plans]) / np.mean([distance(own) for own in real])),
            "pieces": float(np.mean([distance(o) for o in heard]) / np.mean([distance(o) for o in real_heard])),
        }

    def _read(self, bridge: Bridge, plan: Tensor) -> Floats:
        """Attributes (songs, axes) that a linear reader of mean summaries finds in plans."""
        mean = [bridge.summaries.normalise(song.summaries).mean(0).numpy() for song in self.songs.pool]
        states, wanted = np.array(mean, dtype=float), table([song.attributes for song in self.songs.pool])
        centre, middle = states.mean(0), np.nanmean(wanted, axis=0)
        x, y = states - centre, np.nan_to_num(wanted - middle)
        weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ y)
        own: Floats = (bridge.summaries.normalise(plan).mean(1).double().numpy() - centre) @ weights + middle
        return own

    @torch.no_grad()
    def _nats(self, plans: Sequence[Tensor] | None, bridge: Bridge | None) -> float:
        """Mean nats a token of the held-out songs."""
        scope = (bridge.config.scope if bridge is not None else None) or self.model.config.scope
        layers = None if bridge is None else bridge.config.plan_layers
        found: list[Tensor] = []
        for first in range(0, len(self._tokens), _CE_BATCH):
            ids = [torch.tensor(song) for song in self._tokens[first : first + _CE_BATCH]]
            songs = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD)
            values = mask = None
            if plans is not None:
                values, mask = padded(plans[first : first + _CE_BATCH], None)
            found.append(prefix_training.cross_entropy(self.model, songs, values, mask, scope, layers))
        return float(torch.cat(found).mean())


def distance(rows: Floats) -> float:
    """Mean root-mean-square difference of pairs of rows (rows, values); what is NaN in either does not count."""
    left, right = np.triu_indices(len(rows), 1)
    return float(np.sqrt(np.nanmean((rows[left] - rows[right]) ** 2, axis=1)).mean())


def step_seconds(bridge: Bridge, model: MuseFormer, bars: int, bar_tokens: int, *, songs: int, repeats: int) -> float:
    """Processor seconds of one step of training (forward, back, Adam) on invented songs.

    Args:
        bridge: of any method; it is spoiled.
        model: the frozen MuseFormer.
        bars: of each song.
        bar_tokens: tokens in each bar, its end included.
        songs: in the batch.
        repeats: steps of which the fastest counts.
    """
    generator = torch.Generator().manual_seed(0)
    summaries = torch.randn(songs, bars, bridge.config.layers, bridge.config.dim, generator=generator)
    text = bridge.encoder.encode(["a song"] * songs)
    tokens = torch.randint(BAR_END + 1, model.config.vocabulary_size, (songs, bars, bar_tokens), generator=generator)
    tokens[..., -1] = BAR_END
    batch = Batch(summaries, torch.full((songs,), bars), text, list(range(songs)), torch.zeros(songs, len(ALL_AXES)))
    optimiser = torch.optim.Adam(bridge.train().parameters(), lr=1e-5)
    fastest = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        if bridge.config.method == "prefix":
            total = prefix_training.loss(bridge, model, batch, tokens.flatten(1), Weights()).total
        else:
            total = own_loss(bridge, batch, Weights()).total
        optimiser.zero_grad()
        torch.autograd.backward(total / songs)
        optimiser.step()
        fastest = min(fastest, time.process_time() - began)
    return fastest
