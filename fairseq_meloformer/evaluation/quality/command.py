"""`meloformer evaluate quality`: composed pieces beside held-out songs, and how well those songs are foretold."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer import jobs
from fairseq_meloformer.bridge.model import Bridge
from fairseq_meloformer.composing.composer import Composer, vocabulary_of
from fairseq_meloformer.composing.piece import Piece, Settings
from fairseq_meloformer.corpus.tokens import TokenFile
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.quality import musicality
from fairseq_meloformer.evaluation.quality.ngram import NGram
from fairseq_meloformer.injection.prefix_training import cross_entropy
from fairseq_meloformer.measures.passage import Passage, Song
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.pretrained import BRIDGE, MUSEFORMER
from fairseq_meloformer.summaries.extraction import extract
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.tokens.vocabulary import BOS, PAD, Vocabulary
from fairseq_meloformer.words.prompts import Request

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    Plan = tuple[Tensor, Tensor]

_BATCH: Final = 16
_ORDERS: Final = (1, 3, 5)


@dataclass(frozen=True)
class HeldOut:
    """A held-out passage: its caption, and the tokens of its first bars."""

    caption: str
    tokens: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the report."""
    parser.description = (
        "Compare pieces without a plan, to captions, and to the songs' own plans, with the held-out songs themselves; "
        "and perplexities with that of n-gram models. Writes results.json and report.md."
    )
    parser.add_argument("data", type=Path, help="folder that `meloformer prepare` wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument("--split", default="test", help="held-out songs (default test)")
    parser.add_argument("--pieces", type=int, default=64, metavar="N", help="songs and pieces of each (default 64)")
    parser.add_argument("--bars", type=int, default=16, metavar="N", help="bars of each (default 16)")
    parser.add_argument("--model", default=str(MUSEFORMER), metavar="PATH", help="MuseFormer (default: embedded)")
    parser.add_argument("--bridge", default=str(BRIDGE), metavar="DIR", help="its bridge (default: embedded)")
    parser.add_argument("--training-songs", type=int, default=2000, metavar="N", help="of the n-gram models")


def run(args: argparse.Namespace) -> int:
    """Compose, measure, write the report.

    Raises:
        InputError: counts below 1, or too few held-out songs of that length.
    """
    if min(args.pieces, args.bars, args.training_songs) < 1:
        raise InputError("--pieces, --bars and --training-songs must be at least 1")
    model = MuseFormer.from_pretrained(args.model)
    vocabulary = vocabulary_of(model)
    songs = held_out(args.data, args.split, args.pieces, args.bars, vocabulary)
    ids = _padded(vocabulary, songs)
    plans = _plans(model, ids)
    # Two halves of the real songs say how near two corpora of music can be.
    real = [_passage(song.tokens) for song in songs]
    arms = {
        "real": real[1::2],
        **_compose(Composer(model, Bridge.from_pretrained(args.bridge)), songs, args.bars, plans),
    }
    found: dict[str, Any] = {
        "arms": {name: _measured(arm, real[::2] if name == "real" else real) for name, arm in arms.items()},
        "perplexity": perplexity(model, ids, plans, _training(args.data, args.training_songs, vocabulary)),
        "settings": {key: str(value) for key, value in vars(args).items() if key in _SETTINGS},
    }
    args.output.mkdir(parents=True, exist_ok=True)
    jobs.write_json(args.output / "results.json", found)
    report = args.output / "report.md"
    jobs.write_atomic(report, lambda file: file.write(_markdown(found).encode()))
    sys.stdout.write(f"{report}\n")
    return 0


_EXPLAINED: Final = (
    "Overlaps are areas in common with the held-out songs (1 is the same distribution); the column `real` compares one "
    "half of those songs with the other half."
)
_SETTINGS: Final = ("data", "split", "pieces", "bars", "model", "bridge", "training_songs")


def held_out(data: Path, split: str, number: int, bars: int, vocabulary: Vocabulary) -> list[HeldOut]:
    """So many bars of passages of a split that have captions, spread evenly over it.

    Raises:
        InputError: there is no such split, or it has too few of them.
    """
    tokens = TokenFile(data, split, vocabulary)
    fit = []
    for row in jobs.read_jsonl(data / f"{split}.items.jsonl"):
        split_up = remi.bars(vocabulary.tokens(tokens[row["id"]])) if row["captions"] else []
        if len(split_up) >= bars:
            fit.append(HeldOut(row["captions"][0]["text"], list(chain.from_iterable(split_up[:bars]))))
    if len(fit) < max(2, number):
        raise InputError(
            f"{data} must have at least {max(2, number)} captioned passages of {bars} bars in {split!r}, but has "
            f"{len(fit)}: lower --pieces or --bars"
        )
    return [fit[index * len(fit) // number] for index in range(number)]


def _training(data: Path, number: int, vocabulary: Vocabulary) -> list[list[int]]:
    tokens = TokenFile(data, "train", vocabulary)
    names = [row["id"] for row in jobs.read_jsonl(data / "train.items.jsonl")]
    return [tokens[name] for name in names[:: max(1, len(names) // number)][:number]]


def _passage(tokens: Sequence[str]) -> Passage:
    return Song(tokens).passage()


def _padded(vocabulary: Vocabulary, songs: Sequence[HeldOut]) -> Tensor:
    """Ids (songs, length), without BOS and END."""
    rows = [torch.tensor(vocabulary.ids(song.tokens)) for song in songs]
    return pad_sequence(rows, batch_first=True, padding_value=PAD)


def _plans(model: MuseFormer, ids: Tensor) -> Plan:
    """The songs' own plans, which are equally long, and their mask."""
    started = torch.cat([ids.new_full((len(ids), 1), BOS), ids], 1)
    parts = [extract(model, started[first : first + _BATCH]) for first in range(0, len(ids), _BATCH)]
    plans, masks = zip(*parts, strict=True)
    return torch.cat(plans), torch.cat(masks)


def _compose(composer: Composer, songs: Sequence[HeldOut], bars: int, plans: Plan) -> dict[str, list[Passage]]:
    requests = [Request(song.caption, seed=seed, bars=bars) for seed, song in enumerate(songs)]
    arms: dict[str, list[Passage]] = {"no plan": [], "captions": [], "own plans": []}
    for first in range(0, len(songs), _BATCH):
        rows = slice(first, first + _BATCH)
        own = (plans[0][rows], plans[1][rows])
        arms["no plan"] += _heard(composer.compose(requests[rows], Settings(injected=False)))
        arms["captions"] += _heard(composer.compose(requests[rows], Settings()))
        arms["own plans"] += _heard(composer.compose(requests[rows], Settings(), own))
    return arms


def _heard(pieces: Sequence[Piece]) -> list[Passage]:
    return [_passage(piece.tokens) for piece in pieces]


def _measured(passages: Sequence[Passage], real: Sequence[Passage]) -> dict[str, float]:
    areas = {name: musicality.overlap(passages, real, values) for name, values in musicality.DISTRIBUTIONS.items()}
    return {
        "similarity error": musicality.similarity_error(passages, real),
        **{f"overlap: {name}": area for name, area in areas.items()},
        **musicality.faults(passages),
    }


@torch.no_grad()
def perplexity(model: MuseFormer, ids: Tensor, plans: Plan, training: Sequence[Sequence[int]]) -> dict[str, float]:
    """Of held-out songs (songs, length), without and with plans, and under n-gram models of other songs.

    A mean over songs of each one's nats a token, so that long songs count no more than short ones.
    """
    scope = model.config.scope
    nats: dict[str, list[float]] = {"no plan": [], "own plans": []}
    for first in range(0, len(ids), _BATCH):
        rows = slice(first, first + _BATCH)
        nats["no plan"] += cross_entropy(model, ids[rows], None, None, scope).tolist()
        nats["own plans"] += cross_entropy(model, ids[rows], plans[0][rows], plans[1][rows], scope).tolist()
    songs = [song[song != PAD].tolist() for song in ids]
    for order in _ORDERS:
        ngram = NGram(training, order, model.config.vocabulary_size)
        nats[f"{order}-gram"] = [float(np.mean(ngram.nats(song))) for song in songs]
    return {name: float(np.exp(np.mean(values))) for name, values in nats.items()}


def _markdown(found: dict[str, Any]) -> str:
    arms = found["arms"]
    rows = ["| | " + " | ".join(arms) + " |", "|---" * (len(arms) + 1) + "|"]
    rows += [
        f"| {name} | " + " | ".join(f"{arm[name]:.3f}" for arm in arms.values()) + " |"
        for name in next(iter(arms.values()))
    ]
    settings = ", ".join(f"{name} {value}" for name, value in found["settings"].items())
    perplexities = [f"| {name} | {value:.2f} |" for name, value in found["perplexity"].items()]
    return "\n".join(
        [
            "# Quality",
            "",
            f"{settings}. {_EXPLAINED}",
            "",
            *rows,
            "",
            "## Perplexity of held-out songs",
            "",
            "| | |",
            "|---|---|",
            *perplexities,
            "",
        ]
    )
