import errno
import importlib
import io
import os
import subprocess
import sys
import time
import types

import pytest

from fairseq_meloformer import __version__, cli
from fairseq_meloformer.errors import InputError


@pytest.fixture
def command(monkeypatch):
    """Puts a command called `try` into the table; its `run` is the function that the test gives."""

    def add(run, doc="Try things."):
        module = types.ModuleType("fairseq_meloformer.trial", doc)
        module.add_arguments = lambda parser: parser.add_argument("--bars", type=int, default=8)
        module.run = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "try", cli.Command("trial", "try things"))

    return add


def test_a_command_gets_its_own_arguments_and_gives_the_exit_status(command):
    command(lambda args: args.bars)
    assert cli.main(["try"]) == 8
    assert cli.main(["try", "--bars", "3"]) == 3


def test_a_commands_help_names_it_and_tells_its_options(command, capsys):
    command(lambda _: 0)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["try", "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("usage: meloformer try [-h] [--bars BARS]")
    assert "Try things." in shown


def test_unusable_input_is_one_line_without_a_traceback(command, capsys):
    def run(_):
        raise InputError("--bars must be at least 1, received 0")

    command(run)
    assert cli.main(["try"]) == 2
    assert capsys.readouterr().err == "meloformer try: --bars must be at least 1, received 0\n"


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.ENOTDIR, "a file stands in its place")],
)
def test_what_the_machine_refuses_is_one_line_too(command, capsys, number, said):
    def run(_):
        raise OSError(number, os.strerror(number), "/there/it.mid")

    command(run)
    assert cli.main(["try"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("meloformer try: /there/it.mid: ")
    assert said in shown
    assert shown.count("\n") == 1


def test_other_errors_keep_their_traceback(command):
    def run(_):
        raise ValueError("a mistake in the program")

    command(run)
    with pytest.raises(ValueError, match="a mistake"):
        cli.main(["try"])


def test_ctrl_c_says_that_the_job_can_go_on(command, capsys):
    def run(_):
        raise KeyboardInterrupt

    command(run)
    assert cli.main(["try"]) == 130
    assert "again goes on from here" in capsys.readouterr().err


def test_an_unknown_command_is_named_beside_the_known_ones(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["compos"])
    shown = capsys.readouterr().err
    assert "'compos'" in shown
    assert "compose" in shown


def test_no_command_at_all_shows_the_help(capsys):
    assert cli.main([]) == 2
    assert "compose" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"meloformer {__version__}\n"


def test_help_is_quick_and_lists_every_command_without_loading_any():
    code = (
        "import sys; from fairseq_meloformer import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: print('heavy:', {'torch', 'numpy', 'transformers', 'matplotlib'} & set(sys.modules))"
    )
    start = time.perf_counter()
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert time.perf_counter() - start < 2  # 0.1 s on an idle machine
    assert "heavy: set()" in shown
    assert all(f"  {name} " in shown and entry.summary in shown for name, entry in cli.COMMANDS.items())


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_of_the_table_is_there(name, capsys):
    module = importlib.import_module(f"fairseq_meloformer.{cli.COMMANDS[name].module}")
    assert callable(module.run)
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    assert f"usage: meloformer {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["雪", os.fsdecode(b"a\xff")])
def test_what_a_stream_cannot_show_is_escaped(command, monkeypatch, name):
    def run(_):
        sys.stdout.write(name)
        raise InputError(name)

    command(run)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert cli.main(["try"]) == 2
    shown = name.encode("ascii", "backslashreplace")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        assert shown in stream.buffer.getvalue()


def test_a_current_folder_that_is_gone_is_told(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    command(lambda _: 0)
    assert cli.main(["try"]) == 2
    assert "the current folder is gone" in capsys.readouterr().err
