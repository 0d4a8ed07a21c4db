"""The command `meloformer studio`, as a person starts and stops it."""

import os
import signal
import socket
import subprocess
import sys

import httpx2
import pytest

from fairseq_meloformer.cli import main
from fairseq_meloformer.studio.command import address_of


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_it_opens_says_where_and_closes_at_once_even_while_it_composes(tmp_path):
    command = [sys.executable, "-m", "fairseq_meloformer.cli", "studio", "--port", "0", "--no-browser"]
    with subprocess.Popen(
        [*command, "--output", "pieces"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as studio:
        address = studio.stdout.readline().split(" at ")[1].split()[0]
        assert address.startswith("http://127.0.0.1:")
        with httpx2.Client(base_url=address, timeout=60) as client:
            assert "MeloFormer" in client.get("/").text
            with client.stream("POST", "/compose", json={"text": "calm", "bars": 32}) as answer:
                lines = answer.iter_lines()
                next(line for line in lines if '"bar"' in line)
                studio.send_signal(signal.SIGINT)
                assert '"done"' not in "".join(lines)
        assert studio.wait(30) == 0
        assert studio.stderr.read() == ""
    assert not list(tmp_path.iterdir())  # no piece was made


@pytest.mark.parametrize(
    ("host", "found"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")],  # noqa: S104  a name
)
def test_its_address_is_where_it_listens(host, found):
    try:
        listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with listening:
        assert address_of(listening) == f"http://{found}:{listening.getsockname()[1]}/"


def test_a_port_that_is_taken_is_said_before_models_are_loaded(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["studio", "--no-browser", "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}" in capsys.readouterr().err
