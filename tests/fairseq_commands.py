"""Running the real fairseq commands in processes of their own."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# A command's process begins where fairseq has been imported, and what its optimisers import when they are made; that
# takes most of its time. The plugin is not yet.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    ["fairseq.trainer", "fairseq.options", "torch._dynamo", "fairseq_meloformer.composing.composer"]
)


def command(name, *arguments, data="", fails=False):
    """Run a fairseq command in a process of its own; its output."""
    with tempfile.TemporaryDirectory() as folder:
        given, printed = Path(folder, "given"), Path(folder, "printed")
        given.write_text(data, encoding="utf-8")
        words = (name, *map(str, arguments))
        process = FORKED.Process(target=_command, args=(words, dict(os.environ), given, printed))
        process.start()
        process.join()
        output = printed.read_text(encoding="utf-8")
    assert (process.exitcode != 0) == fails, output[-4000:]
    return output


def _command(words, environment, given, printed):
    """The command in its process, with what a shell would give it: environment, place, words and streams."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    multiprocessing.set_start_method(None, force=True)  # and not that of this process, for loaders of data
    sys.argv = list(words)
    os.dup2(os.open(given, os.O_RDONLY), 0)
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    for stream in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)
    import_module(f"fairseq_cli.{words[0]}").cli_main()


def scripts_in(folder, *names):
    """Copy scripts to a folder in which their environment is the one that the tests run in."""
    for name in names:
        shutil.copy(ROOT / "scripts" / name, folder)
    lines = [f"source {ROOT / 'scripts' / 'environment.sh'}", f"MELOFORMER_VENV={sys.prefix}"]
    (folder / "environment.sh").write_text("\n".join([*lines, "prepare_environment() { :; }", ""]))


def train_in_two_processes(folder, *arguments):
    """Run fairseq-train as the scripts do with --gpus 2; what it prints."""
    scripts_in(folder)
    line = f'set -euo pipefail; source {folder / "environment.sh"}; gpus=2; fairseq_train "$@"'
    program = ["bash", "-c", line, "bash", *arguments]
    done = subprocess.run(
        list(map(str, program)), check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
