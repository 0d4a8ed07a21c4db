"""Models and songs to measure with."""

from __future__ import annotations

import itertools
import json
import tarfile
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import torch

from benchmarks.measure import seconds
from fairseq_meloformer import midi
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.files import below
from fairseq_meloformer.midi.six_tracks import merge_six_tracks
from fairseq_meloformer.museformer import MuseFormer, MuseFormerConfig
from fairseq_meloformer.pretrained import MUSEFORMER
from fairseq_meloformer.tokens import remi, vocabulary
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from benchmarks.measure import Options

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real music beside the checkout, where there is some."""

BAR_TOKENS = 100


class SkippedError(Exception):
    """Something is missing that a benchmark needs."""


def full_size(options: Options) -> MuseFormer:
    """The published size with random weights; a toy in a quick run."""
    torch.manual_seed(0)
    toy = {"dim": 32, "ffn_dim": 64, "heads": 2, "token_dim": 32, "bar_dim": 8, "beat_dim": 8} if options.quick else {}
    config = MuseFormerConfig(**toy, dropout=0, attention_dropout=0, vocabulary_sha256=vocabulary.published().sha256)
    return MuseFormer(config).eval().to(options.device)


def embedded(options: Options) -> MuseFormer:
    """The model that ships."""
    return MuseFormer.from_pretrained(MUSEFORMER).to(options.device)


def linear_layers(model: torch.nn.Module) -> list[torch.nn.Linear]:
    """Its linear layers, those that share their weights once."""
    layers = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    return list({id(layer.weight): layer for layer in layers}.values())


def size(model: torch.nn.Module) -> str:
    """Number of parameters, as text."""
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f}M"


def song(length: int, seed: int = 0, *, even: bool = False, device: str = "cpu") -> Tensor:
    """(length,) ids of a made-up song with bars of 60 to 140 tokens, or of 100 each: speed hangs on lengths alone."""
    rng = Random(seed)
    bars = (_bar(rng, BAR_TOKENS if even else rng.randint(60, 140)) for _ in itertools.count())
    tokens = itertools.chain([BOS], itertools.chain.from_iterable(bars))
    return torch.tensor(list(itertools.islice(tokens, length)), device=device)


def reads(model: MuseFormer, bars: Sequence[int]) -> list[int]:
    """How many numbers of keys and values each token of a song must read, if its bars have so many tokens."""
    patterns = [model.config.pattern(layer) for layer in range(model.config.layers)]
    counts = []
    for bar, length in enumerate(bars):
        near = sum(bars[other] for pattern in patterns for other in pattern.near_bars(bar))
        far = sum(len(pattern.far_bars(bar)) for pattern in patterns)
        counts += [2 * model.config.dim * (near + far + len(patterns) * own) for own in range(1, length + 1)]
    return counts


@cache
def reading_speed(device: str) -> float:
    """Numbers (float32) a second at which a GPU or all cores read memory, in one large tensor."""
    numbers = torch.ones(1 << 26, device=device)
    return len(numbers) / min(seconds(numbers.sum) for _ in range(5))


def _bar(rng: Random, length: int) -> list[int]:
    """Ids of a bar: tempo, then onsets with an instrument and a note each, then the bar line."""
    ranges = vocabulary.published()
    tokens = [ranges.range("t")[20]]
    for place in range((length - 2) // 5):
        tokens += [ranges.range("o")[min(place, 47)], ranges.range("i")[0], ranges.range("p")[rng.randrange(40, 90)]]
        tokens += [ranges.range("d")[rng.randrange(8)], ranges.range("v")[15]]
    return [*tokens, *tokens[-1:] * (length - 1 - len(tokens)), BAR_END]


def midi_folder(options: Options, scratch: Path, most: int) -> Path:
    """A folder of at most so many MIDI files that no shipped model was trained on.

    Raises:
        SkippedError: there is none.
    """
    if options.midi is not None:
        return options.midi
    if not (REFERENCE / "midi.tar.gz").is_file():
        raise SkippedError("needs --midi DIR")
    rows = (json.loads(line) for line in (REFERENCE / "metadata.jsonl").read_text("utf-8").splitlines())
    wanted = {row["path"] for row in rows if row.get("museformer_split") == "valid"}
    with tarfile.open(REFERENCE / "midi.tar.gz") as archive:
        for member in itertools.islice((entry for entry in archive if entry.name in wanted), most):
            archive.extract(member, scratch, filter="data")
    return scratch


def tokens_of(path: Path) -> list[str]:
    """Tokens of a MIDI file, as `meloformer prepare` makes them."""
    return remi.encode(merge_six_tracks(midi.read(path)), "REMIGEN2", True, True, "six_tracks")


@cache
def _read(folder: Path) -> tuple[tuple[str, ...], ...]:
    songs = []
    for path in below(folder):
        try:
            songs.append(tuple(tokens_of(path)))
        except InputError:
            continue
    return tuple(songs)


def held_out(options: Options, scratch: Path, songs: int, longest: int) -> Iterator[Tensor]:
    """(length,) ids of songs that were not trained on, cut at `longest` tokens.

    Raises:
        SkippedError: there are none.
    """
    if options.data is not None:
        lines = (options.data / "valid.tokens").read_text("utf-8").splitlines()
        found = [tuple(line.split()) for line in lines[:: max(1, len(lines) // songs)]]
    else:
        found = list(_read(midi_folder(options, scratch, 2 * songs)))
    for tokens in found[:songs]:
        yield torch.tensor([BOS, *vocabulary.published().ids(tokens)][:longest], device=options.device)
