"""Kills: commands killed at random moments and run again make what undisturbed ones make, byte for byte, once.

python -m tests.campaigns.kills --cases 1000
"""

import copy
import json
import logging
import os
import random
import re
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import cli
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi import files
from fairseq_meloformer.museformer.checkpoints import read_state
from fairseq_meloformer.words.probe import Probe, ProbeConfig
from tests.campaigns import campaign
from tests.injection import models

_CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "fcntl.flock"}
_SPLITS = ("train", "valid")
_TRIES = 20
_UPDATES = 4  # of a bridge
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
def given() -> Path:
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
    prepared = ("--output", str(given / "data"), "--describe", "2", "--workers", "1")
    if cli.main(["prepare", str(given / "songs"), *prepared]):
        raise AssertionError((given / "data" / "rejected.jsonl").read_text())
    return given


@cache
def _binary() -> Path:
    """The prepared songs as fairseq reads them."""
    data, binary = given() / "data", given() / "data" / "bin"
    texts = [word for split in _SPLITS for word in (f"--{split}pref", str(data / f"{split}.tokens"))]
    made = ("--only-source", "--srcdict", str(data / "dict.txt"), "--destdir", str(binary), *texts)
    if _fairseq("preprocess", *made):
        raise AssertionError(f"{data} could not be made binary")
    for path in data.glob("*.items.jsonl"):
        shutil.copy(path, binary)
    return binary


@cache
def _store() -> Path:
    """Summaries of those songs, on which a bridge is trained."""
    store = given() / "store"
    if any(_extract(split, store) for split in _SPLITS):
        raise AssertionError(f"{store} could not be written")
    return store


def _out() -> Path:
    return campaign.folder() / "out"


def _prepare() -> int:
    return cli.main(["prepare", str(given() / "songs"), "--output", str(_out()), "--describe", "2", "--workers", "1"])


def _caption() -> int:
    data, written = str(given() / "data"), str(_out() / "captions.jsonl")
    return cli.main(["caption", "--source", "measured", "--data", data, "--output", written])


def _models() -> list[str]:
    return ["--model", str(given() / "museformer"), "--bridge", str(given() / "bridge")]


def small() -> list[str]:
    """Arguments with which `compose` is quick: tiny models, one bar, no sound."""
    fast = ("--bars", "1", "--nfe", "1", "--best-of", "1", "--batch-size", "1", "--no-audio")
    return [*_models(), "--probe", str(given() / "probe"), *fast]


def _compose() -> int:
    return cli.main(["compose", "rain", "雪", "--output", str(_out()), *small(), "--no-picture"])


def _extract(split: str = "train", store: Path | None = None) -> int:
    data = (str(_binary()), "--task", "summary_extraction", "--gen-subset", split)
    model = ("--path", str(given() / "museformer"), "--batch-size", "1", "--cpu")
    return _fairseq("generate", *data, *model, "--summary-store", str(store or _out()))


def _train() -> int:
    """A bridge's training, and the bridge's folder, without checkpoints, which tell how long it took."""
    sizes = ("--arch", "summary_bridge_debug", "--text-encoder", "dummy:12", "--components", "6", "--most-bars", "16")
    steps = ("--optimizer", "adam", "--lr", "0.003", "--max-update", str(_UPDATES), "--save-interval-updates", "1")
    kept = ("--keep-interval-updates", "1", "--no-epoch-checkpoints", "--batch-size", "2", "--save-dir", str(_out()))
    task = (str(_store()), "--task", "summary_bridge", "--criterion", "summary_bridge", "--cpu", "--seed", "1")
    last = _out() / "checkpoint_last.pt"
    # As the scripts do: fairseq adds an update whenever a finished training is started again.
    finished = last.exists() and read_state(last)["optimizer_history"][-1]["num_updates"] >= _UPDATES
    status = 0 if finished else _fairseq("train", *task, *sizes, *steps, *kept, "--log-format", "none")
    if not status:
        status = cli.main(["convert", str(last), str(_out() / "bridge")])
        for path in _out().glob("*.pt"):
            path.unlink()
    return status


def _control() -> int:
    few = ("--pieces", "1", "--seeds", "1", "--none-pieces", "6", "--batch-size", "3", "--best-of", "1", "--nfe", "1")
    none = ("--storms", "0", "--timelines", "0", "--exact", "0", "--arms", "text,none")
    bars = ("--bars", "4", "--sweep-bars", "2", "--output", str(_out()))
    return cli.main(["evaluate", "control", *bars, *_models(), *few, *none])


def _quality() -> int:
    asked = (str(given() / "data"), "--split", "train", "--pieces", "2", "--bars", "2", "--output", str(_out()))
    return cli.main(["evaluate", "quality", *asked, *_models()])


@cache
def _settings(name: str, arguments: tuple[str, ...]) -> Any:  # fairseq's own
    """What fairseq makes of a command line, which takes it longer than all the rest."""
    import_module("fairseq_meloformer.plugin")
    options = import_module("fairseq.options")
    if name == "preprocess":
        return options.get_preprocessing_parser().parse_args(arguments)
    parser = {"generate": options.get_generation_parser, "train": options.get_training_parser}[name]()
    parsed = options.parse_args_and_arch(parser, [*arguments, "--num-workers", "0"])
    return import_module("fairseq.dataclass.utils").convert_namespace_to_omegaconf(parsed)


def _fairseq(name: str, *arguments: str) -> int:
    """A command of fairseq's with our plugin; 1 if it refuses, as Python ends it."""
    settings = copy.deepcopy(_settings(name, arguments))
    logging.disable(logging.WARNING)
    try:
        import_module(f"fairseq_cli.{name}").main(settings)
    except SystemExit as ended:
        return int(ended.code or 0)
    except (InputError, OSError):
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        return 1
    finally:
        logging.disable(logging.NOTSET)
    return 0


COMMANDS = {
    "prepare": _prepare,
    "caption": _caption,
    "compose": _compose,
    "extract": _extract,
    "train": _train,
    "control": _control,
    "quality": _quality,
}
"""Commands by name, each of which writes to the folder `out`; the last two are long."""
LIGHT = ("prepare", "caption", "compose")
_SHARES = (4, 4, 4, 4, 4, 1, 1)


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
        except BaseException:  # noqa: BLE001  the child ends here
            traceback.print_exc()
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
    found = (path for path in sorted(_out().rglob("*")) if path.is_file())
    return {str(path.relative_to(_out())): _content(path) for path in found}


def _content(path: Path) -> bytes:
    """A file's bytes, without seconds that something took; safetensors with a sorted head, whose order is random."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        head, size = 8, int.from_bytes(content[:8], "little")
        content = json.dumps(json.loads(content[head : head + size]), sort_keys=True).encode() + content[head + size :]
    return re.sub(rb'"seconds":[\d.]+', b"", content) if path.suffix == ".jsonl" else content


@cache
def undisturbed(name: str) -> Undisturbed:
    """Run a command that nothing disturbs, once for all cases."""
    command, told = COMMANDS[name], campaign.folder() / "dealings"

    def act() -> int:
        counted = [0]
        _counting(None, counted)
        status = command()
        told.write_text(str(counted[0]))
        return status

    command()  # imports and reads what every fork would otherwise import and read anew
    shutil.rmtree(_out(), ignore_errors=True)
    ended = forked(act)
    if ended.status:
        raise AssertionError(f"{name} ends with {ended.status} undisturbed: {ended.said}")
    return Undisturbed(files_made(), ended.seconds, int(told.read_text()))


def _killed(name: str, rng: random.Random) -> bool:
    """Run a command that is killed; whether it was, or had ended before."""
    whole = undisturbed(name)
    after = rng.uniform(0.001, whole.seconds) if rng.random() < 0.5 else None
    most = rng.randrange(whole.dealings)

    def act() -> int:
        if after is None:
            _counting(most, [0])
        else:  # nobody handles it: it ends the process as abruptly as SIGKILL, wherever it is
            signal.setitimer(signal.ITIMER_PROF, after)
        return COMMANDS[name]()

    ended = forked(act)
    if ended.status > 0:
        raise AssertionError(f"{name} ended with {ended.status}, not by its kill: {ended.said[-200:]}")
    return ended.status < 0


def _finished() -> dict[str, int]:
    """Inodes of the pieces that the manifest names: who composes one again writes another file."""
    manifest = _out() / "manifest.jsonl"
    lines = manifest.read_bytes().split(b"\n")[:-1] if manifest.exists() else []
    return {file: (_out() / file).stat().st_ino for line in lines for file in json.loads(line)["files"].values()}


def case(rng: random.Random, *names: str) -> str:
    """Of one of the commands of these names, or of any."""
    name = rng.choice(names) if names else rng.choices(list(COMMANDS), _SHARES)[0]
    whole = undisturbed(name)
    for _ in range(_TRIES):
        shutil.rmtree(_out(), ignore_errors=True)
        if _killed(name, rng):
            break
    else:
        raise AssertionError(f"{name} could not be killed in {_TRIES} runs")
    finished = _finished()
    status = forked(COMMANDS[name]).status
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
