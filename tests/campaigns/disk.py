"""Disks that fail: commands that cannot write say so in a sentence, lose nothing, and finish on the next run.

python -m tests.campaigns.disk --cases 1000
"""

import os
import random
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from tests.campaigns import campaign, kills

_NOBODY = 65534
_LARGEST = 4096  # bytes of a file that a disk still takes


def _out() -> Path:
    return campaign.folder() / "out"


def _full(rng: random.Random) -> Callable[[], None]:
    """No file can grow beyond some bytes."""
    most = rng.choice((0, 1, 100, rng.randrange(_LARGEST)))

    def act() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return act


def _read_only(_: random.Random) -> Callable[[], None]:
    """The folder is somebody else's, or nobody may write into it."""
    _out().mkdir()
    _out().chmod(0o555)

    def act() -> None:
        if os.geteuid() == 0:
            os.setuid(_NOBODY)

    return act


def _file_in_its_place(_: random.Random) -> Callable[[], None]:
    _out().write_bytes(b"mine")
    return lambda: None


def _folder_in_a_files_place(rng: random.Random, files: list[str]) -> Callable[[], None]:
    (_out() / rng.choice(files)).mkdir(parents=True)
    return lambda: None


def case(rng: random.Random) -> str:
    name = rng.choice(kills.LIGHT)
    whole = kills.undisturbed(name)
    campaign.folder().chmod(0o755)  # for whom nothing is allowed
    shutil.rmtree(_out(), ignore_errors=True)
    _out().unlink(missing_ok=True)
    kind = rng.randrange(4)
    makers = (_full, _read_only, _file_in_its_place, lambda rng: _folder_in_a_files_place(rng, list(whole.made)))
    prepare = makers[kind](rng)

    def act() -> int:
        prepare()
        return kills.COMMANDS[name]()

    ended = kills.forked(act)
    status, said = ended.status, ended.said
    if "Traceback" in said:
        raise AssertionError(f"{name}: {said[-300:]}")
    if status == 0:
        if kills.files_made() != whole.made:
            raise AssertionError(f"{name} says nothing of what it could not write")
        return f"{name}: nothing was in its way"
    if status != 2 or not said.strip():
        raise AssertionError(f"{name} ended with {status}: {said[-200:]}")
    if kind == 2 and _out().read_bytes() != b"mine":
        raise AssertionError(f"{name} wrote over a file of somebody's")
    _mend()
    again = kills.forked(kills.COMMANDS[name])
    if again.status or kills.files_made() != whole.made:
        raise AssertionError(f"{name}, run again where it can write, ended with {again.status}: {again.said[-200:]}")
    return f"{name}: told in a sentence, and finished by the next run"


def _mend() -> None:
    """Take out of the way what was in it; what is written already stays."""
    if _out().is_file():
        _out().unlink()
    elif _out().is_dir():
        _out().chmod(0o755)
        for path in sorted(_out().rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


if __name__ == "__main__":
    campaign.main(case, 100)
