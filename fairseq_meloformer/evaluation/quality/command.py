"""`meloformer evaluate quality`: is it like real music? Composed pieces beside held-out songs, piece by piece."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairseq_meloformer import jobs
from fairseq_meloformer.composing import command as composing
from fairseq_meloformer.composing.composer import vocabulary_of
from fairseq_meloformer.corpus.tokens import TokenFile, metre_of
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.pieces import by_six, with_players
from fairseq_meloformer.evaluation.quality import measure, report
from fairseq_meloformer.evaluation.quality.memorisation import TrainingMelodies
from fairseq_meloformer.evaluation.quality.prediction import distant_bars, perplexity
from fairseq_meloformer.measures.passage import Passage, Song
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.midi.files import below
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.pretrained import BRIDGE, MUSEFORMER
from fairseq_meloformer.tokens import remi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairseq_meloformer.tokens.vocabulary import Vocabulary

ARMS: Final = {"default": (), "bridge only": ("--bridge-only",), "no plan": ("--no-injection",)}
"""How pieces are composed: flags of `meloformer compose`."""


@dataclass(frozen=True)
class HeldOut:
    """A held-out passage: its caption, its tokens bar by bar, and the metre of these."""

    caption: str
    bars: list[list[str]]
    metre: str

    def tokens(self, bars: int | None = None) -> list[str]:
        """The tokens of the first so many bars, or of all."""
        return list(chain.from_iterable(self.bars[:bars]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the report."""
    parser.description = (
        "Measure pieces to captions of held-out songs, as `compose` makes them by default, with --bridge-only and with "
        "--no-injection, beside these songs, each piece by itself; and how well the model foretells the songs. Writes "
        "results.json, report.md and the pieces. Stopped at any moment, the same command goes on."
    )
    parser.add_argument("data", type=Path, help="folder that `meloformer prepare` wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument("--midi", type=Path, nargs="+", metavar="DIR", help="measure these pieces; compose none")
    parser.add_argument("--split", default="test", help="held-out songs (default test)")
    parser.add_argument("--pieces", type=int, default=64, metavar="N", help="songs and pieces of each (default 64)")
    parser.add_argument("--bars", type=int, default=16, metavar="N", help="bars of each (default 16)")
    parser.add_argument("--model", default=str(MUSEFORMER), metavar="PATH", help="MuseFormer (default: embedded)")
    parser.add_argument("--bridge", default=str(BRIDGE), metavar="DIR", help="its bridge (default: embedded)")
    parser.add_argument(
        "--training-songs", type=int, default=2000, metavar="N", help="passages to look for copies in, and for n-grams"
    )


def run(args: argparse.Namespace) -> int:
    """Compose, measure, write the report.

    Raises:
        InputError: counts below 1, too few held-out songs of that length, or a folder without pieces of that length.
    """
    if min(args.pieces, args.bars, args.training_songs) < 1:
        raise InputError("--pieces, --bars and --training-songs must be at least 1")
    with jobs.sole_writer(args.output):
        return _report(args)


def _report(args: argparse.Namespace) -> int:
    model = MuseFormer.from_pretrained(args.model)
    vocabulary = vocabulary_of(model)
    songs = held_out(args.data, args.split, args.pieces, args.bars, vocabulary)
    training = _training(args.data, args.training_songs, vocabulary)
    folders = {str(folder): folder for folder in args.midi} if args.midi else _compose(args, songs)
    real = [Song(song.tokens(args.bars), song.metre).passage() for song in songs]
    arms = {"real": real, **{name: _pieces(folder, args.bars) for name, folder in folders.items()}}
    melodies = TrainingMelodies(Song(vocabulary.tokens(song), metre).passage() for song, metre in training)
    known = [song for song, _ in training]
    found: dict[str, Any] = {
        "arms": measure.arms(arms, melodies, Quantiles.load(args.data / "quantiles.json")),
        "distant bars": distant_bars(model, [vocabulary.ids(song.tokens()) for song in songs]),
        "perplexity": perplexity(model, [vocabulary.ids(song.tokens(args.bars)) for song in songs], known),
        "settings": {key: str(value) for key, value in vars(args).items() if key in _SETTINGS},
    }
    jobs.write_json(args.output / "results.json", found)
    report.write_markdown(found, args.output / "report.md")
    sys.stdout.write(f"{args.output / 'report.md'}\n")
    return 0


_SETTINGS: Final = ("data", "split", "pieces", "bars", "model", "bridge", "training_songs")


def held_out(data: Path, split: str, number: int, bars: int, vocabulary: Vocabulary) -> list[HeldOut]:
    """Passages of a split that have captions and at least so many bars, spread evenly over it.

    Raises:
        InputError: there is no such split, or it has too few of them.
    """
    tokens = TokenFile(data, split, vocabulary)
    fit = []
    for row in jobs.read_jsonl(data / f"{split}.items.jsonl"):
        split_up = remi.bars(vocabulary.tokens(tokens[row["id"]])) if row["captions"] else []
        if len(split_up) >= bars:
            fit.append(HeldOut(row["captions"][0]["text"], split_up, metre_of(row)))
    if len(fit) < max(2, number):
        raise InputError(
            f"{data} must have at least {max(2, number)} captioned passages of {bars} bars in {split!r}, but has "
            f"{len(fit)}: lower --pieces or --bars"
        )
    return [fit[index * len(fit) // number] for index in range(number)]


def _training(data: Path, number: int, vocabulary: Vocabulary) -> list[tuple[list[int], str]]:
    """Passages to train on, spread evenly: their tokens, and the metre of these."""
    tokens = TokenFile(data, "train", vocabulary)
    rows = [(row["id"], metre_of(row)) for row in jobs.read_jsonl(data / "train.items.jsonl")]
    return [(tokens[name], metre) for name, metre in rows[:: max(1, len(rows) // number)][:number]]


def _compose(args: argparse.Namespace, songs: Sequence[HeldOut]) -> dict[str, Path]:
    """Folders of pieces to the songs' captions, by arm, composed by the command that everybody uses."""
    prompts = args.output / "prompts.jsonl"
    rows = [jobs.dumps({"id": f"{number:04d}", "text": song.caption}) + "\n" for number, song in enumerate(songs)]
    jobs.write_atomic(prompts, lambda file: file.write("".join(rows).encode()))
    parser = argparse.ArgumentParser()
    composing.add_arguments(parser)
    models = ["--model", args.model, "--bridge", args.bridge]
    folders = {name: args.output / name.replace(" ", "-") for name in ARMS}
    for name, folder in folders.items():
        asked = ["--prompts", str(prompts), "--output", str(folder), "--bars", str(args.bars)]
        composing.run(parser.parse_args([*asked, *models, *ARMS[name], "--no-audio", "--no-picture"]))
    return folders


def _pieces(folder: Path, bars: int) -> list[Passage]:
    """The first bars of all pieces of a folder that have so many; says how many have not, or cannot be read.

    Raises:
        InputError: no piece is left.
    """
    found, refused = [], []
    for path, players in with_players(below(folder)):
        try:
            found.append(Song(by_six(path, players)).passage(0, bars))
        except InputError as error:
            refused.append(f"{path.name}: {error}")
    if not found:
        why = "; ".join(refused[:3]) or "there is none"
        raise InputError(f"{folder} must have MIDI files of at least {bars} bars to measure: {why}")
    if refused:
        sys.stderr.write(f"warning: {len(refused)} pieces of {folder} are left out: {'; '.join(refused[:3])} ...\n")
    return found
