"""Every command and every script that writes a folder refuses to while another run does, and touches nothing there."""

import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_meloformer import cli
from fairseq_meloformer.evaluation.command import add_arguments as reports
from fairseq_meloformer.jobs import sole_writer
from fairseq_meloformer.words import probe_training

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
REPORTS = ("control", "listening", "methods", "quality")
COMMANDS = {
    "compose": ["rain", "--output", "F", "--bars", "1", "--no-injection", "--no-audio", "--no-picture"],
    "prepare": ["midi", "--output", "F"],
    "card": ["F"],
    "caption": ["--source", "measured", "--data", "data", "--output", "F/captions.jsonl"],
    "evaluate control": ["--output", "F"],
    "evaluate listening": ["--collect", "answers.csv", "--output", "F"],
    "evaluate methods": ["F", "--store", "store", "--model", "model"],
    "evaluate quality": ["data", "--output", "F"],
    "inspect": ["store", "--output", "F"],
    "studio": ["--output", "F", "--port", "0", "--no-browser"],
    "convert": ["checkpoint.pt", "F"],
}
"""Arguments; F is the folder that is written."""
WRITING_NONE = {"estimate", "help", "understand"}
HELD_BY_SCRIPTS = {
    "prepare.sh": ["midi", "F"],
    "extract.sh": ["bin", "model", "F", "--cpu"],
    "train_bridge.sh": ["store", "F", "--cpu"],
    "train_museformer.sh": ["bin", "F", "--cpu"],
    "tune_museformer.sh": ["model", "bin", "F", "--cpu"],
    "compare_methods.sh": ["store", "model", "data", "F"],
}
HELD_BY_COMMANDS = {
    "quickstart.sh": "meloformer compose",
    "studio.sh": "meloformer studio",
    "caption.sh": "meloformer caption",
    "pipeline.sh": "pipeline.py",
    "published.sh": "meloformer convert",
    "generate.sh": "fairseq-generate",  # by `composing.pieces.PieceFolder`, as `meloformer compose`
    "train_probe.sh": "python -m fairseq_meloformer.words.probe_training",
}
WRITING_NO_RESULTS = {"environment.sh", "test.sh"}


def filled(arguments, folder):
    return [re.sub(r"^F(?=/|$)", str(folder), argument) for argument in arguments]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that is being written to, among what commands read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "midi").mkdir()
    (tmp_path / "midi" / "a.mid").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "train.idx").touch()
    (tmp_path / "F").mkdir()
    (tmp_path / "F" / "result").write_text("half of it")
    return tmp_path / "F"


def test_no_command_and_no_script_is_forgotten():
    assert set(COMMANDS) | WRITING_NONE == set(cli.COMMANDS) - {"evaluate"} | {f"evaluate {name}" for name in REPORTS}
    parser = argparse.ArgumentParser()
    reports(parser)
    assert set(REPORTS) == set(parser._subparsers._group_actions[0].choices)
    known = {*HELD_BY_SCRIPTS, *HELD_BY_COMMANDS, *WRITING_NO_RESULTS}
    assert known == {path.name for path in SCRIPTS.glob("*.sh")}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_refused(command, folder, capsys):
    with sole_writer(folder):
        assert cli.main([*command.split(), *filled(COMMANDS[command], folder)]) == 2
    assert f"{folder} is being written to by another run" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_training_a_probe_is_refused(folder):
    with sole_writer(folder), pytest.raises(Exception, match="another run"):
        probe_training.main([str(folder), "--cache", str(folder.parent / "cache")])
    assert not (folder.parent / "cache").exists()


def test_the_pipeline_is_refused(folder):
    with sole_writer(folder):
        program = [sys.executable, str(SCRIPTS / "pipeline.py"), "midi", str(folder)]
        run = subprocess.run(program, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert f"{folder} is being written to by another run" in run.stderr
    assert [path.name for path in folder.iterdir()] == ["result"]


@pytest.fixture
def script(tmp_path):
    """Runs a script where the programs of the environment only say that they were called."""
    scripts, programs = tmp_path / "scripts", tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    scripts.mkdir()
    for name in ("meloformer", "fairseq-train", "fairseq-generate", "fairseq-preprocess"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*"\nsleep ${{SECONDS_AT_WORK:-0}}\nexit 3\n')
        (programs / name).chmod(0o755)
    (programs / "python").write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\necho "python $*"; exit 3\n'
    )
    (programs / "python").chmod(0o755)
    (scripts / "environment.sh").write_text(
        f"source {SCRIPTS / 'environment.sh'}\nMELOFORMER_VENV={tmp_path / 'venv'}\nprepare_environment() {{ :; }}\n"
    )

    def start(name, arguments, **environment):
        (scripts / name).write_text((SCRIPTS / name).read_text())
        settings = {"PATH": "/usr/bin:/bin", **environment}
        program = ["bash", str(scripts / name), *arguments]
        return subprocess.Popen(
            program,
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(name, arguments):
        with start(name, arguments) as process:
            return process.stdout.read()

    run.start = start
    return run


@pytest.mark.parametrize("name", HELD_BY_SCRIPTS)
def test_a_script_is_refused_until_all_that_another_has_started_has_ended(name, folder, script):
    arguments = filled(HELD_BY_SCRIPTS[name], folder)
    with script.start(name, arguments, SECONDS_AT_WORK="60") as first:
        try:
            assert first.stdout.readline().startswith(("meloformer ", "fairseq-"))  # at work
            first.kill()
            assert f"{folder} is being written to by another run" in script(name, arguments)
            other_machine = script(name, [*arguments, "--distributed-rank", "1"])
            assert ("another run" in other_machine) == (name == "prepare.sh")
        finally:
            os.killpg(first.pid, signal.SIGKILL)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("result", "half of it")]


@pytest.mark.parametrize("name", HELD_BY_COMMANDS)
def test_a_script_leaves_it_to_its_command(name, folder, script):
    needed = {
        "generate.sh": ["prompts", "model", "bridge", str(folder), "--cpu"],
        "train_probe.sh": [str(folder), "cache"],
    }
    needed["published.sh"] = ["checkpoint", "song.mid", str(folder)]
    printed = script(name, needed.get(name, ["--output", str(folder)]))
    assert HELD_BY_COMMANDS[name] in printed
    assert str(folder) in printed
