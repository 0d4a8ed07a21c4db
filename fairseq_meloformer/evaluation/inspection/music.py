"""Songs to look at: their summaries, and what is measured in each of their bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from fairseq_meloformer.composing.composer import summaries_of
from fairseq_meloformer.corpus.tokens import metre_of
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import read_jsonl
from fairseq_meloformer.measures.attributes import AXES, by_bar
from fairseq_meloformer.midi.metre import FOUR_FOUR
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.summaries.extraction import fingerprint
from fairseq_meloformer.summaries.store import SummaryStore

_FEWEST_SONGS: Final = 4


@dataclass(frozen=True)
class InspectedSong:
    """One song, or passage of one.

    Attributes:
        id: its name.
        tokens: what it is written in; none if only its summaries are known.
        summaries: (bars, layers, dim) float32.
        attributes: (bars, axes) of every bar, or of the whole song in all its bars; NaN where nothing was measured.
        metre: of its bars.
    """

    id: str
    tokens: tuple[str, ...]
    summaries: Tensor
    attributes: np.ndarray[Any, np.dtype[np.float64]]
    metre: str = FOUR_FOUR


def gather(
    model: MuseFormer | None, store: Path | None, data: Path | None, subset: str, most: int
) -> list[InspectedSong]:
    """Read songs, evenly spread over a subset.

    Args:
        model: makes summaries where there is no store.
        store: summaries.
        data: what `meloformer prepare` wrote: tokens, by which each bar is measured.
        subset: train, valid, ...
        most: songs to take.

    Raises:
        InputError: nothing to take summaries from, files that do not belong together, or too few songs.
    """
    if store is None and (model is None or data is None):
        raise InputError("inspection needs summaries: give a store, or a model with --data DATA (from prepare)")
    songs = _stored(store, model, data, subset, most) if store is not None else _made(model, data, subset, most)
    songs = [song for song in songs if len(song.summaries)]
    if len(songs) < _FEWEST_SONGS:
        raise InputError(f"inspection needs at least {_FEWEST_SONGS} songs with bars in {subset!r}, found {len(songs)}")
    return songs


def _made(model: MuseFormer | None, data: Path | None, subset: str, most: int) -> list[InspectedSong]:
    assert model is not None and data is not None  # noqa: S101, PT018  `gather` has checked
    written = _tokens(data, subset)
    outside = int(model.config.chunking == "bosbar")
    songs = []
    for name in _spread(sorted(written), most):
        tokens, metre = written[name]
        summaries = summaries_of(model, tokens)[outside:].float().cpu()
        songs.append(InspectedSong(name, tokens, summaries, by_bar(tokens, metre=metre), metre))
    return songs


def _stored(path: Path, model: MuseFormer | None, data: Path | None, subset: str, most: int) -> list[InspectedSong]:
    store = SummaryStore(path)
    if model is not None and fingerprint(model) != store.header.model_sha256:
        raise InputError(f"the store {path} must be of the model that is inspected, but it was made with another one")
    items = store.subset(subset)
    written = {} if data is None else _tokens(data, subset)
    if data is not None and not any(name in written for name in items.ids):
        raise InputError(f"{data} must be the data of the store {path}, but no item of {subset!r} is in both")
    outside = int(store.header.chunking == "bosbar")
    songs = []
    for name in _spread(sorted(name for name in items.ids if not written or name in written), most):
        item = items[name]
        summaries = item.summaries.float()[outside:]
        tokens, metre = written.get(name, ((), FOUR_FOUR))
        attributes = (
            by_bar(tokens, metre=metre)
            if tokens
            else np.tile(_axes(item.metadata.get("attributes", {})), (len(summaries), 1))
        )
        if len(attributes) != len(summaries):
            raise InputError(
                f"item {name!r} must have as many bars in {data} as in the store, {len(summaries)}, "
                f"but has {len(attributes)}: were they made from each other?"
            )
        songs.append(InspectedSong(name, tokens, summaries, attributes, metre))
    return songs


def _tokens(data: Path, subset: str) -> dict[str, tuple[tuple[str, ...], str]]:
    """Tokens of a subset's passages, and the metre of their bars, by their ids."""
    tokens, items = data / f"{subset}.tokens", data / f"{subset}.items.jsonl"
    if not tokens.is_file() or not items.is_file():
        raise InputError(f"--data must be what `meloformer prepare` wrote, with {tokens.name} and {items.name}: {data}")
    lines, rows = tokens.read_text(encoding="utf-8").splitlines(), list(read_jsonl(items))
    if len(lines) != len(rows):
        raise InputError(
            f"{tokens} must have one line for each row of {items.name}, but has {len(lines)} for {len(rows)}: "
            "run scripts/prepare.sh again"
        )
    return {str(row["id"]): (tuple(line.split()), metre_of(row)) for row, line in zip(rows, lines, strict=True)}


def _spread(names: Sequence[str], most: int) -> list[str]:
    return [names[round(place)] for place in np.linspace(0, len(names) - 1, min(most, len(names))).tolist()]


def _axes(attributes: dict[str, Any]) -> list[float]:
    return [float(attributes.get(axis, np.nan)) for axis in AXES]


def stacked(songs: Sequence[InspectedSong]) -> tuple[Tensor, Tensor, np.ndarray[Any, np.dtype[np.float64]]]:
    """All bars: summaries (bars, layers, dim) in unit variance, number of the song (bars,), attributes (bars, axes)."""
    values = torch.cat([song.summaries for song in songs]).double()
    values = values - values.mean(0)
    spread = values.square().mean(0).sqrt()
    numbers = torch.cat([torch.full((len(song.summaries),), index) for index, song in enumerate(songs)])
    return values / torch.where(spread > 0, spread, 1.0), numbers, np.concatenate([song.attributes for song in songs])
