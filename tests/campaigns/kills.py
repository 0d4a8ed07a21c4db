"""Kills: commands killed at random moments and run again make what undisturbed ones make, byte for byte, once.

python -m tests.campaigns.kills --cases 1000
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import cli
from fairseq_meloformer.composing import command as _compose  # noqa: F401  imported once, before the forks
from fairseq_meloformer.corpus import prepare as _prepare  # noqa: F401
from fairseq_meloformer.corpus.sources import command as _caption  # noqa: F401
from fairseq_meloformer.midi import files
from fairseq_meloformer.words.probe import Probe, ProbeConfig
from tests.campaigns import campaign
from tests.injection import models

_CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "fcntl.flock"}
_TRIES = 20
Files = dict[str, bytes]


@dataclass(frozen=True)
class Undisturbed:
    """What a command leaves, in so many seconds of the processor and so many dealings with files."""

    made: Files
    seconds: float
    dealings: int


def _song(path: Path, number: int) -> None:
    song = MidiFile()
    song.time_signature_changes = [TimeSignature(4, 4, 0)]
    song.tempo_changes = [TempoChange(90.0 + number, 0)]
    track = Instrument(0, name="piano")
    track.notes = [Note(90, 50 + n * (2 * number + 1) % 24, 240 * n, 240 * n + 200) for n in range(96)]
    song.instruments.append(track)
    song.max_tick = 480 * 48
    files.write(song, path)


@cache
def _given() -> Path:
    """Songs, tiny models and prepared data, which commands read."""
    torch.set_num_threads(1)  # a fork has none of its parent's threads
    given = campaign.folder() / "given"
    (given / "songs").mkdir(parents=True)
    for number in range(6):
        _song(given / "songs" / f"歌{number}.mid", number)
    (given / "songs" / "broken.mid").write_bytes(b"MThd")
    models.museformer().save_pretrained(given / "museformer")
    models.bridge().save_pretrained(given / "bridge")
    torch.manual_seed(0)
    Probe(ProbeConfig(encoder="dummy:12", text_dim=12)).save_pretrained(given / "probe")
    if cli.main(["prepare", str(given / "songs"), "--output", str(given / "data"), "--workers", "1"]):
        raise AssertionError((given / "data" / "rejected.jsonl").read_text())
    return given


def command_line(name: str) -> list[str]:
    """Of one of `COMMANDS`, which writes to the folder `out`."""
    given, out = _given(), str(campaign.folder() / "out")
    return {
        "prepare": ["prepare", str(given / "songs"), "--output", out, "--describe", "2", "--workers", "1"],
        "caption": ["caption", "--source", "measured", "--data", str(given / "data"), "--output", f"{out}/c.jsonl"],
        "compose": [
            *("compose", "rain", "雪", "--output", out, "--bars", "1", "--no-audio", "--no-picture"),
            *("--model", str(given / "museformer"), "--bridge", str(given / "bridge"), "--nfe", "1"),
            *("--best-of", "1", "--probe", str(given / "probe"), "--batch-size", "1"),
        ],
    }[name]


COMMANDS = ("prepare", "caption", "compose")


@dataclass(frozen=True)
class Ended:
    """How a child ended: its status, negative for a signal; seconds of the processor; and what it told of errors."""

    status: int
    seconds: float
    said: str


def forked(act: Callable[[], int]) -> Ended:
    """Do something in a child of this process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 70
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(writing, 2)
            os.close(writing)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)  # whatever captures them
            for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            status = act()
        finally:
            os._exit(status)
    os.close(writing)
    try:
        with os.fdopen(reading, errors="replace") as file:
            said = file.read()
        _, ended = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ended(os.waitstatus_to_exitcode(ended), spent, said)


def _counting(most: int | None, counted: list[int]) -> None:
    """Count dealings with files from now on, and be killed before the one after so many."""

    def hook(event: str, _: object) -> None:
        if event in _CHANGES:
            counted[0] += 1
            if most is not None and counted[0] > most:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def files_made() -> Files:
    """What is in that folder now."""
    out = campaign.folder() / "out"
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@cache
def undisturbed(name: str) -> Undisturbed:
    """Run a command that nothing disturbs, once for all cases."""
    arguments, told = command_line(name), campaign.folder() / "dealings"

    def act() -> int:
        counted = [0]
        _counting(None, counted)
        status = cli.main(arguments)
        told.write_text(str(counted[0]))
        return status

    cli.main(arguments)  # imports and reads what every fork would otherwise import and read anew
    shutil.rmtree(campaign.folder() / "out", ignore_errors=True)
    ended = forked(act)
    if ended.status:
        raise AssertionError(f"{name} ends with {ended.status} undisturbed: {ended.said}")
    return Undisturbed(files_made(), ended.seconds, int(told.read_text()))


def _killed(name: str, rng: random.Random) -> bool:
    """Run a command that is killed; whether it was, or had ended before."""
    arguments, whole = command_line(name), undisturbed(name)
    after = rng.uniform(0.001, whole.seconds) if rng.random() < 0.5 else None
    most = rng.randrange(whole.dealings)

    def act() -> int:
        if after is None:
            _counting(most, [0])
        else:  # nobody handles it: it ends the process as abruptly as SIGKILL, wherever it is
            signal.setitimer(signal.ITIMER_PROF, after)
        return cli.main(arguments)

    ended = forked(act)
    if ended.status > 0:
        raise AssertionError(f"{name} ended with {ended.status}, not by its kill: {ended.said[-200:]}")
    return ended.status < 0


def _finished() -> dict[str, int]:
    """Inodes of the pieces that the manifest names: who composes one again writes another file."""
    out = campaign.folder() / "out"
    manifest = out / "manifest.jsonl"
    lines = manifest.read_bytes().split(b"\n")[:-1] if manifest.exists() else []
    return {file: (out / file).stat().st_ino for line in lines for file in json.loads(line)["files"].values()}


def case(rng: random.Random) -> str:
    name = rng.choice(COMMANDS)
    whole = undisturbed(name)
    for _ in range(_TRIES):
        shutil.rmtree(campaign.folder() / "out", ignore_errors=True)
        if _killed(name, rng):
            break
    else:
        raise AssertionError(f"{name} could not be killed in {_TRIES} runs")
    finished = _finished()
    status = forked(lambda: cli.main(command_line(name))).status
    made = files_made()
    # Killed after its last file, a command that refuses to overwrite has nothing left to do.
    if status and not (name == "caption" and made == whole.made):
        raise AssertionError(f"{name}, run again, ended with {status}; there are {sorted(made)}")
    if made != whole.made:
        differ = sorted(file for file in {*made, *whole.made} if made.get(file) != whole.made.get(file))
        raise AssertionError(f"{name}, run again, left other files than undisturbed: {differ}")
    if any(_finished().get(file) != inode for file, inode in finished.items()):
        raise AssertionError(f"{name} made again what was finished")
    return f"{name}: killed, and finished by the next run"


if __name__ == "__main__":
    campaign.main(case, 100)
