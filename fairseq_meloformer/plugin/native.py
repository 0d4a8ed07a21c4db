"""The user's own checkout of MuseFormer in the place of ours: `--museformer-native DIR`, or MUSEFORMER_NATIVE=DIR.

DIR holds upstream's package `museformer`, a fairseq user directory that registers the same names. Hooks work on it by
module names. fairseq imports user directories before it reads its command line, hence the look at `sys.argv`.
"""

import argparse
import os
import sys
from pathlib import Path

from fairseq_meloformer.errors import InputError

FLAG = "--museformer-native"
VARIABLE = "MUSEFORMER_NATIVE"
PACKAGE = "museformer"


def register() -> None:
    """Import the user's package, if one is asked for; it then holds the names that ours would take.

    The flag is taken off the command line, since no parser of fairseq knows it, and handed on as an environment
    variable, so that processes that fairseq starts find it too.

    Raises:
        InputError: no such package in the directory that was given.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(FLAG, default=os.environ.get(VARIABLE))
    found, rest = parser.parse_known_args(sys.argv[1:])
    if not found.museformer_native:
        return
    sys.argv[1:] = rest
    directory = Path(found.museformer_native).resolve()
    if not (directory / PACKAGE / "__init__.py").is_file():
        there = ", ".join(sorted(entry.name for entry in directory.iterdir())[:8]) if directory.is_dir() else "nothing"
        raise InputError(
            f"{FLAG} must name the directory that holds upstream's package {PACKAGE}/ "
            f"(in microsoft/muzic: museformer/), but {directory} holds {there}"
        )
    os.environ[VARIABLE] = str(directory)
    from fairseq.utils import import_user_module  # noqa: PLC0415  after compat

    import_user_module(argparse.Namespace(user_dir=str(directory / PACKAGE)))


def in_use() -> bool:
    """Whether the names belong to the user's own code."""
    return bool(os.environ.get(VARIABLE))
