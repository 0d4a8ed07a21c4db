"""Running the real fairseq commands in processes of their own."""

import atexit
import functools
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def environment():
    """Folder like a virtual environment, whose programs import nothing that all have in common (`warm_commands`)."""
    folder = Path(tempfile.mkdtemp())
    address, warm = folder / "socket", ROOT / "tests" / "warm_commands.py"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(address))
        listening.listen()
        server = subprocess.Popen(
            [sys.executable, "-P", warm, "serve", str(listening.fileno()), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[listening.fileno()],
        )
    (folder / "bin").mkdir()
    names = ("train", "generate", "preprocess", "validate", "interactive", "hydra-train")
    # Of Python's own programs, those that are modules or use the package.
    others = f'case "$*" in -m*|-c*fairseq_meloformer*) ;; *) exec {sys.executable} "$@" ;; esac\n'
    for name, before in {"python": others, "meloformer": "", **{f"fairseq-{name}": "" for name in names}}.items():
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\n{before}exec {sys.executable} -IS {warm} {address} {name} "$@"\n')
        program.chmod(0o755)
    atexit.register(server.communicate)
    return folder


def command(name, *arguments, data="", fails=False, programs=None):
    """Run a fairseq command in a process of its own, of the programs in this folder; its output."""
    program = [(programs or environment() / "bin") / f"fairseq-{name}", *arguments]
    done = subprocess.run(
        list(map(str, program)),
        check=False,
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode != 0) == fails, done.stdout[-4000:]
    return done.stdout


def scripts_in(folder, *names):
    """Copy scripts to a folder in which their environment is the one that the tests run in."""
    for name in names:
        shutil.copy(ROOT / "scripts" / name, folder)
    lines = [f"source {ROOT / 'scripts' / 'environment.sh'}", f"MELOFORMER_VENV={environment()}"]
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
