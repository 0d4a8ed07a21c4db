"""The command `meloformer convert`: a fairseq checkpoint becomes a directory that nothing but torch is needed for."""

import argparse
from pathlib import Path

from fairseq_meloformer.museformer import checkpoints
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.music.vocabulary import Vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("checkpoint", type=Path, help="fairseq checkpoint (.pt) of a museformer_lm")
    parser.add_argument("directory", type=Path, help="where model.safetensors and config.json go")
    parser.add_argument("--dict", type=Path, help="dict.txt, for a vocabulary that is not one of the published two")


def run(args: argparse.Namespace) -> int:
    """Convert; exit status 0.

    Raises:
        InputError: a checkpoint that cannot be used.
    """
    model = convert(args.checkpoint, args.directory, Vocabulary.read(args.dict) if args.dict else None)
    config, digest = model.config, checkpoints.model_hash(model.state_dict())
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{args.directory}: {config.layers} layers, dim {config.dim}, {count:,} parameters, hash {digest}")  # noqa: T201
    return 0


def convert(checkpoint: Path, directory: Path, vocabulary: Vocabulary | None = None) -> MuseFormer:
    """Write the directory form of a checkpoint; the model that was in it.

    Raises:
        InputError: a checkpoint that cannot be used.
    """
    loaded = checkpoints.load(checkpoint, vocabulary)
    model = MuseFormer(loaded.config)
    checkpoints.assign(model, loaded.parameters)
    model.save_pretrained(directory)
    return model
