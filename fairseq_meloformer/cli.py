"""The `meloformer` command: a table of commands, each in a module that is imported only when it is called.

A command's module has `add_arguments(parser)` and `run(args) -> int`, which returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fairseq_meloformer import __version__
from fairseq_meloformer.errors import InputError, in_words

if TYPE_CHECKING:
    from collections.abc import Sequence


class Command(NamedTuple):
    """Where a command lives, below this package, and what it does."""

    module: str
    summary: str


COMMANDS = {
    "compose": Command("composing.command", "write music to a description in Chinese or English"),
    "prepare": Command("corpus.prepare", "turn a folder of MIDI files into training data"),
    "card": Command("corpus.data_card", "describe prepared data: counts, histograms, shares"),
    "caption": Command("corpus.sources.command", "describe MIDI files, or import descriptions from elsewhere"),
    "understand": Command("words.understand", "show what a description is taken to ask for"),
    "evaluate": Command("evaluation.command", "report how well pieces do what their prompts ask for"),
    "inspect": Command("evaluation.inspection.command", "look into summaries, and what injecting them does"),
    "estimate": Command("evaluation.cost.command", "say what training costs: time, disk, memory, money"),
    "studio": Command("studio.command", "open a page on this machine to compose on"),
    "convert": Command("convert", "turn a fairseq checkpoint into safetensors"),
    "help": Command("plugin.options_shown", "list the options of the fairseq plugin: meloformer help options"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 2 for input that cannot be used, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no Chinese ends no command
    arguments = sys.argv[1:] if arguments is None else arguments
    table = _table()
    if not arguments:
        table.print_help(sys.stderr)
        return 2
    name: str = table.parse_args(arguments[:1]).command
    try:
        return _run(name, arguments[1:])
    except (InputError, OSError) as error:
        print(f"meloformer {name}: {in_words(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nmeloformer {name}: stopped; the same command again goes on from here", file=sys.stderr)
        return 130


def _table() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="meloformer",
        usage="meloformer [-h] [--version] COMMAND ...",
        description="Free-text control, in Chinese and English, for a frozen MuseFormer.",
        epilog="\n".join(["commands:", *lines, "", "meloformer COMMAND --help shows a command's options."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"meloformer {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    return parser


def _run(name: str, arguments: Sequence[str]) -> int:
    try:
        Path.cwd()  # libraries end the process where there is none
    except FileNotFoundError:
        raise InputError("the current folder is gone: go to one that is there, then start the command again") from None
    try:
        module = importlib.import_module(f"fairseq_meloformer.{COMMANDS[name].module}")
    except ModuleNotFoundError as error:
        if error.name != "fairseq":
            raise
        raise InputError("needs the package fairseq, which scripts/train_bridge.sh installs") from error
    parser = argparse.ArgumentParser(prog=f"meloformer {name}", description=module.__doc__)
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(arguments))
    return status


if __name__ == "__main__":
    sys.exit(main())
