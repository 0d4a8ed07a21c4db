"""Running the real fairseq commands in processes of their own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command(name, *arguments, data="", fails=False):
    """Run a fairseq command in a process of its own; its output."""
    program = [sys.executable, "-c", f"from fairseq_cli.{name} import cli_main; cli_main()", *map(str, arguments)]
    done = subprocess.run(
        program, check=False, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    assert (done.returncode != 0) == fails, done.stdout[-4000:]
    return done.stdout
