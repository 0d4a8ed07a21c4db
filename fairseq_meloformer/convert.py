"""The command `meloformer convert`: a fairseq checkpoint becomes a directory that fairseq is not needed for."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from fairseq_meloformer import hub
from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.bridge.checkpoints import is_bridge
from fairseq_meloformer.bridge.checkpoints import load as load_bridge
from fairseq_meloformer.composing.full_system import QUANTILES
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import sole_writer, write_atomic
from fairseq_meloformer.museformer import checkpoints
from fairseq_meloformer.museformer.config import SCOPES, Scope
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.museformer.widening import widened
from fairseq_meloformer.tokens.vocabulary import Vocabulary
from fairseq_meloformer.weights import WEIGHTS, described


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="fairseq checkpoint (.pt) of a museformer_lm or a summary_bridge, or a MuseFormer's directory or Hub id",
    )
    parser.add_argument("directory", type=Path, help="where model.safetensors and config.json go")
    parser.add_argument(
        "--scope", choices=SCOPES, help='scope in which plans steer this MuseFormer best; "plan" after plan training'
    )
    parser.add_argument(
        "--most-bars",
        type=int,
        metavar="N",
        help="bars that this MuseFormer was trained to number; it composes longer pieces in passes of so many",
    )
    parser.add_argument(
        "--widen",
        type=int,
        metavar="N",
        help="make a MuseFormer N times as wide that computes the same, to train on: every neuron N times",
    )
    parser.add_argument("--dict", type=Path, help="dict.txt, for a vocabulary that is not one of the published two")


def run(args: argparse.Namespace) -> int:
    """Convert; exit status 0.

    Raises:
        InputError: a checkpoint that cannot be used.
    """
    vocabulary = Vocabulary.read(args.dict) if args.dict else None
    with sole_writer(args.directory):
        model = convert(args.checkpoint, args.directory, vocabulary, args.scope, args.most_bars, args.widen)
    count = sum(parameter.numel() for parameter in model.parameters())
    digest = checkpoints.model_hash(model.state_dict())
    sys.stdout.write(f"{args.directory}: {type(model).__name__}, {count:,} parameters, hash {digest}\n")
    if isinstance(model, MuseFormer) and not (args.directory / QUANTILES).is_file():
        sys.stderr.write(
            f"warning: {args.directory} has no {QUANTILES}, which says what counts as fast or high: pieces go by that "
            "of the embedded model until the one of its data is put there\n"
        )
    return 0


def convert(
    checkpoint: Path,
    directory: Path,
    vocabulary: Vocabulary | None = None,
    scope: Scope | None = None,
    most_bars: int | None = None,
    widen: int | None = None,
) -> MuseFormer | Bridge:
    """Write the directory form of a checkpoint; the model that was in it. Its configuration stays where None is given.

    The quantiles that lie beside a MuseFormer go with it.

    Raises:
        InputError: a checkpoint that cannot be used.
    """
    of_museformers = {"--scope": scope, "--most-bars": most_bars, "--widen": widen, "--dict": vocabulary}
    checkpoint = hub.local(checkpoint)
    pickled = checkpoint.is_file() and checkpoint.name != WEIGHTS
    if pickled and is_bridge(checkpoints.read_state(checkpoint, mmap=True)["model"]):
        if given := [name for name, value in of_museformers.items() if value is not None]:
            raise InputError(f"{' and '.join(given)} must be given for a MuseFormer, but {checkpoint} is a bridge")
        trained = load_bridge(checkpoint)
        trained.save_pretrained(directory)
        return trained
    loaded = checkpoints.load(checkpoint, vocabulary)
    config = loaded.config if scope is None else replace(loaded.config, scope=scope)
    config = config if most_bars is None else replace(config, most_bars=most_bars)
    model = described(lambda: MuseFormer(config))
    checkpoints.assign(model, loaded.parameters, str(checkpoint))
    model = model if widen is None else widened(model, widen)
    model.save_pretrained(directory)
    quantiles = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / QUANTILES
    if quantiles.is_file():
        content = quantiles.read_bytes()
        write_atomic(directory / QUANTILES, lambda file: file.write(content))
    return model
