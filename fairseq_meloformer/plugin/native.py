"""The user's own checkout of MuseFormer in the place of ours: `--museformer-native DIR`, or MUSEFORMER_NATIVE=DIR.

DIR holds upstream's package `museformer`, a fairseq user directory that registers the same names. Hooks work on it by
module names. fairseq imports user directories before it reads its command line, hence the look at `sys.argv`.
"""

import argparse
import os
import sys
from pathlib import Path

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.arguments import TASK

FLAG = "--museformer-native"
VARIABLE = "MUSEFORMER_NATIVE"
PACKAGE = "museformer"
MODEL = "museformer_lm"
"""The model that upstream registers, and we in its absence."""


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
    _keep_arguments()


def _keep_arguments() -> None:
    """Let upstream's task and model have their arguments as its own parsers read them, as fairseq 0.10 hands them on.

    Of what registers with a dataclass, fairseq 0.12 drops all arguments that are no field of it, which most of
    upstream's are not, and turns tuples into lists, which upstream asserts them not to be.
    """
    from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY  # noqa: PLC0415
    from fairseq.tasks import TASK_DATACLASS_REGISTRY  # noqa: PLC0415

    TASK_DATACLASS_REGISTRY.pop(TASK, None)
    if MODEL_DATACLASS_REGISTRY.pop(MODEL, None):
        MODEL_REGISTRY[MODEL].__dataclass = None  # noqa: SLF001  where fairseq looks


def in_use() -> bool:
    """Whether the names belong to the user's own code."""
    return bool(os.environ.get(VARIABLE))
