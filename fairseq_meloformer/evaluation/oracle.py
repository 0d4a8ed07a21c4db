"""Real songs that have what a prompt asks for: their plans are the best a bridge could do."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, Protocol

import torch

from fairseq_meloformer import midi
from fairseq_meloformer.composing.composer import plan_of
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES, Attributes, measure
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.midi.files import below
from fairseq_meloformer.midi.six_tracks import in_six_tracks
from fairseq_meloformer.summaries.store import SummaryStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from fairseq_meloformer.museformer.uncached import AnyMuseFormer

_MOST_FILES: Final = 400
_CLEAR: Final = 0.9
"""From this position on, more is not clearer."""
_AMONG: Final = 5
"""A song is drawn from so many of the best, so that prompts which ask for the same do not all follow one song."""


@dataclass(frozen=True)
class RealSong:
    """A song to follow: its bars and what was measured in it."""

    id: str
    bars: int
    attributes: Attributes


class OracleSource(Protocol):
    """Where real songs come from."""

    def songs(self) -> list[RealSong]:
        """All of them."""
        ...

    def plan(self, name: str, model: AnyMuseFormer) -> Tensor:
        """Summaries (bars, layers, dim) of one."""
        ...


@lru_cache(maxsize=1)
def source(path: str) -> OracleSource:
    """A store of summaries, or a folder of MIDI files."""
    directory = Path(path)
    if (directory / "store.json").is_file():
        return _Store(directory)
    if directory.is_dir():
        return _Folder(directory)
    raise InputError(f"songs for the oracle must be a store of summaries or a folder of MIDI files; {path} is neither")


class _Store:
    def __init__(self, directory: Path) -> None:
        store = SummaryStore(directory)
        held_out = [name for name in store.subsets if name != "train"]
        self._subsets = {name: store.subset(name) for name in held_out or store.subsets}
        self._where = {item: subset for subset in self._subsets.values() for item in subset.ids}

    def songs(self) -> list[RealSong]:
        found = []
        for subset in self._subsets.values():
            for name, bars in zip(subset.ids, subset.bars, strict=True):
                if attributes := subset.metadata(name).get("attributes"):
                    found.append(RealSong(name, bars, attributes))
        return found

    def plan(self, name: str, model: AnyMuseFormer) -> Tensor:
        summaries = self._where[name][name].summaries.float()
        wanted = (model.config.layers, model.config.dim)
        if tuple(summaries.shape[1:]) != wanted:
            raise InputError(
                f"a store for this model must have {wanted[0]} layers of {wanted[1]}, received {summaries.shape[1:]}: "
                "extract one with it (scripts/extract.sh)"
            )
        return summaries


class _Folder:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def songs(self) -> list[RealSong]:
        found, files = [], below(self._directory)
        if len(files) > _MOST_FILES:
            sys.stderr.write(
                f"warning: {self._directory} has {len(files)} MIDI files, of which the oracle takes the first "
                f"{_MOST_FILES}: extract a store to choose among all\n"
            )
        for path in files[:_MOST_FILES]:
            try:
                attributes = measure(in_six_tracks(midi.read(path)))
            except InputError:
                continue  # a file that is no song for this model is no oracle either
            if isinstance(bars := attributes.get("bars"), float):
                found.append(RealSong(str(path.relative_to(self._directory)), int(bars), attributes))
        return found

    def plan(self, name: str, model: AnyMuseFormer) -> Tensor:
        summaries, _ = plan_of(model, in_six_tracks(midi.read(self._directory / name)))
        return summaries


def choose(
    asked: Mapping[str, Mapping[str, int]], songs: Sequence[RealSong], bars: int, seed: int = 0
) -> dict[str, str]:
    """A song for each prompt: one of those that lie most clearly on the asked side of the corpus in every axis.

    Args:
        asked: directions by prompt.
        songs: to choose from; shorter ones than `bars` are left out.
        bars: of the pieces.
        seed: of the choice among the best.

    Returns:
        Ids by prompt; a prompt of which no song has all that it asks for is absent.

    Raises:
        InputError: no song is long enough.
    """
    long = [song for song in songs if song.bars >= bars]
    if not long:
        raise InputError(f"the oracle needs songs of at least {bars} bars with measured attributes; there is none")
    quantiles = Quantiles.fit(song.attributes for song in songs)
    positions = {song.id: quantiles.positions(song.attributes) for song in long}
    chosen = {}
    for prompt, directions in asked.items():
        clear = {
            name: min(min(place.get(axis, -sign) * sign, _CLEAR) for axis, sign in directions.items())
            for name, place in positions.items()
        }
        best = [name for name in sorted(clear, key=lambda name: -clear[name])[:_AMONG] if clear[name] > 0]
        if best and all(axis in AXES for axis in directions):
            chosen[prompt] = Random(f"{seed}/{prompt}").choice(best)
    return chosen


def padded(plans: Sequence[Tensor], bars: int | None) -> tuple[Tensor, Tensor]:
    """The first `bars` bars of plans (bars, layers, dim) as a batch, and its mask (batch, bars)."""
    cut = [plan[:bars] for plan in plans]
    values = torch.nn.utils.rnn.pad_sequence(list(cut), batch_first=True)
    lengths = torch.tensor([len(plan) for plan in cut])
    return values, torch.arange(values.shape[1]) < lengths[:, None]
