"""The command `meloformer help options`: what fairseq's help shows only once a task, model and criterion are named."""

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.optim import OPTIMIZER_REGISTRY
from fairseq.optim.lr_scheduler import LR_SCHEDULER_REGISTRY
from fairseq.tasks import TASK_REGISTRY

from fairseq_meloformer.plugin import native

_PACKAGE = __name__.rpartition(".")[0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `meloformer help`."""
    parser.add_argument("topic", choices=["options"], help="options: those of the plugin, by what brings them")


def run(_: argparse.Namespace) -> int:
    """Print them; exit status 0."""
    sys.stdout.write("Options of fairseq's commands with --user-dir user_dir, beside fairseq's own\n\n")
    sys.stdout.writelines(_texts())
    sys.stdout.write(f"Everywhere:\n  {native.FLAG} DIR  your own checkout of MuseFormer in the place of ours\n")
    return 0


def _texts() -> Iterator[str]:
    registries: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("--task", TASK_REGISTRY),
        ("--arch", MODEL_REGISTRY),
        ("--criterion", CRITERION_REGISTRY),
        ("--optimizer", OPTIMIZER_REGISTRY),
        ("--lr-scheduler", LR_SCHEDULER_REGISTRY),
    )
    for flag, registry in registries:
        shown: set[str] = set()
        for name, kind in sorted(registry.items()):
            if not kind.__module__.startswith(_PACKAGE):
                continue
            named = name if flag != "--arch" else ", ".join(a for a, one in ARCH_MODEL_REGISTRY.items() if one is kind)
            yield _shown(f"{flag} {named}", kind.add_args, shown)


def _shown(title: str, add: Callable[[argparse.ArgumentParser], None], before: set[str]) -> str:
    """The help of what `add` gives to a parser, but for what was shown before, which is named."""
    parser = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    with contextlib.redirect_stdout(io.StringIO()):
        add(parser)
    again = [action for action in parser._actions if action.dest in before]  # noqa: SLF001  there is no other way
    for action in again:
        action.help = argparse.SUPPRESS
    before |= {action.dest for action in parser._actions}  # noqa: SLF001
    rest = f"\n  and {len(again)} options that are above\n" if again else ""
    return f"{title}\n{parser.format_help().strip()}{rest}\n\n"
