"""What the README shows exists: scripts, commands with their flags, links."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from fairseq_meloformer.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
CARDS = sorted((ROOT / "fairseq_meloformer" / "pretrained").glob("*/README.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "checkpoints" / "README.md",
    *CARDS,
]
COMMAND_LINES = sorted(
    {
        line.removeprefix("meloformer ")
        for page in (ROOT / "README.md", *CARDS)
        for line in re.findall(
            r"^meloformer \w.*?(?=\s+#|$)|(?<=`)meloformer \w[^`]* --[^`]*(?=`)", page.read_text("utf-8"), re.MULTILINE
        )
    }
)


def test_there_are_commands_to_check():
    assert len(COMMAND_LINES) >= 8


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_is_one_that_the_command_takes(line):
    name, *arguments = shlex.split(line)
    parser = argparse.ArgumentParser()
    importlib.import_module(f"fairseq_meloformer.{COMMANDS[name].module}").add_arguments(parser)
    parser.parse_args(arguments)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_script_link_and_picture_is_there(path):
    text = path.read_text(encoding="utf-8")
    assert "@@" not in text
    for script in re.findall(r"bash (scripts/\w+\.sh)", text):
        assert (ROOT / script).is_file(), script
    for test in re.findall(r"tests/[\w/]+\.py", text):
        assert path.stem == "LOG" or (ROOT / test).is_file(), test
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (path.parent / link).exists(), link
