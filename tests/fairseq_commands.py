"""Running the real fairseq commands in processes of their own."""

import os
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


def train_in_two_processes(port, *arguments):
    """Run fairseq-train in two processes that share the work; what they print."""
    line = " ".join(f"'{argument}'" for argument in arguments)
    line = f"exec fairseq-train {line} --distributed-backend gloo --ddp-backend legacy_ddp --distributed-world-size 2"
    line += " --distributed-rank $RANK --distributed-init-method env:// --distributed-no-spawn"
    program = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    done = subprocess.run(
        [*program, "--no-python", "bash", "-c", line],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
