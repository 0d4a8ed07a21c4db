"""What the README shows exists: scripts, commands with their flags, links."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from fairseq_meloformer.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CARDS = sorted((ROOT / "fairseq_meloformer" / "pretrained").glob("*/README.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *CARDS,
]
COMMAND_LINES = sorted(set(re.findall(r"^meloformer \w.*?(?=\s+#|$)", README, re.MULTILINE)))


def test_there_are_commands_to_check():
    assert len(COMMAND_LINES) >= 4


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_is_one_that_the_command_takes(line):
    name, *arguments = shlex.split(line)[1:]
    parser = argparse.ArgumentParser()
    importlib.import_module(f"fairseq_meloformer.{COMMANDS[name].module}").add_arguments(parser)
    parser.parse_args(arguments)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_script_link_and_picture_is_there(path):
    text = path.read_text(encoding="utf-8")
    assert "@@" not in text
    for script in re.findall(r"bash (scripts/\w+\.sh)", text):
        assert (ROOT / script).is_file(), script
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (path.parent / link).exists(), link
