"""The stages of pipeline.sh: what each runs, how far it is, and how the trainings share the time."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_meloformer.corpus.prepare import find
from fairseq_meloformer.encoders import registry
from fairseq_meloformer.encoders.embeddings import EmbeddingCache
from fairseq_meloformer.errors import InputError, in_words
from fairseq_meloformer.jobs import sole_writer, write_json
from fairseq_meloformer.pretrained import MUSEFORMER
from fairseq_meloformer.summaries.extraction import STATISTICS
from fairseq_meloformer.summaries.store import SummaryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRIPTS = Path(__file__).resolve().parent
ENCODER = "e5-small"
SIZES = {"mini": "museformer_lm_v2s1_mini", "small": "museformer_lm_v2s1_small", "base": "museformer_lm_v2s1"}
WEIGHTS = {"train": 8, "tune": 5, "extract": 1, "embed": 1, "bridge": 4, "compose": 1}
FIRST_PIECES = ("暴风雨", "a slow lullaby, high and soft", "a lively dance", "江南烟雨")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHORTEST = 20.0  # seconds of a training, however little of the budget is left
_AROUND = (
    120.0  # seconds for what is around a training: programs that start, songs that are read, a model that is written
)


@dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
        name: of it and its log.
        command: to run, for the seconds that it may take.
        made: whether it is finished.
        share: how far it is, from 0 to 1; None where it is a training, which takes the time it is given.
    """

    name: str
    command: Callable[[float], list[str | Path]]
    made: Callable[[], bool]
    share: Callable[[], float] | None = None


def seconds(text: str) -> float:
    """Of a time such as 4h, 90m or 2h30m."""
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        raise InputError(f"--budget must be a time such as 4h, 90m or 2h30m, received {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))


def stages(midi: Path, out: Path, size: str) -> list[Stage]:
    """All stages of a run, in order."""
    data, store, pieces = out / "data", out / "store", out / "pieces"
    base = MUSEFORMER if size == "mini" else out / "museformer"
    prompts = out / "prompts.txt"

    def script(name: str, *arguments: str | Path) -> list[str | Path]:
        return ["bash", SCRIPTS / f"{name}.sh", *arguments]

    def prepared() -> float:
        settled = _lines(data / "songs.jsonl", data / "rejected.jsonl") / max(1, len(find(midi)))
        return 0.75 * settled + 0.15 * (data / "prepare.json").is_file()  # then splits are written, and binarised

    def extracted() -> float:
        wanted = _lines(*data.glob("bin/*.items.jsonl"))
        return sum(len(SummaryStore.finished(store, path.stem)) for path in data.glob("bin/*.idx")) / max(1, wanted)

    def training(name: str, *arguments: str | Path) -> Callable[[float], list[str | Path]]:
        def command(time_left: float) -> list[str | Path]:
            ending = ("--lr-scheduler", "in_time", "--stop-time-hours", f"{time_left / 3600:.6f}", "--max-update", "0")
            return script(name, *arguments, *ending, "--save-interval-updates", "50")

        return command

    every = [
        Stage(
            "prepare",
            lambda _: script("prepare", midi, data, "--normalise-pitch", "--window-bars", "8-32", "--describe", "6"),
            (data / "bin").is_dir,
            prepared,
        ),
        Stage(
            "train",
            training("train_museformer", data / "bin", base, "--arch", SIZES[size]),
            (base / "config.json").is_file,
        ),
        Stage(
            "tune",
            training("tune_museformer", base, data / "bin", out / "tuned"),
            (out / "tuned" / "config.json").is_file,
        ),
        Stage(
            "extract",
            lambda _: script("extract", data / "bin", out / "tuned", store),
            lambda: all((store / path.stem / STATISTICS).is_file() for path in (data / "bin").glob("*.idx")),
            extracted,
        ),
        Stage(
            "embed",
            lambda _: [sys.executable, Path(__file__).resolve(), "--embed", store],
            lambda: _has(out / "logs" / "embed.log", "share 1.0"),
            lambda: _last(out / "logs" / "embed.log", r"share ([\d.]+)"),
        ),
        Stage(
            "bridge",
            training("train_bridge", store, out / "bridge", "--text-encoder", ENCODER),
            (out / "bridge" / "bridge" / "config.json").is_file,
        ),
        Stage(
            "compose",
            lambda _: [
                *(Path(sys.executable).with_name("meloformer"), "compose", "--prompts", prompts, "--output", pieces),
                *("--model", out / "tuned", "--bridge", out / "bridge" / "bridge", "--bars", "8", "--batch-size", "4"),
            ],
            lambda: _lines(pieces / "manifest.jsonl") >= len(FIRST_PIECES),
            lambda: _lines(pieces / "manifest.jsonl") / len(FIRST_PIECES),
        ),
    ]
    prompts.write_text("".join(f"{text}\n" for text in FIRST_PIECES), encoding="utf-8")
    return every if size != "mini" else [stage for stage in every if stage.name != "train"]


class Run:
    """One run, or the next part of one that was stopped.

    Args:
        out: folder of everything.
        asked: MIDI folder and size, which must stay the same.
        budget: seconds in all.
    """

    def __init__(self, out: Path, asked: dict[str, str], budget: float) -> None:
        self._path, self._budget = out / "pipeline.json", budget
        self._known = {"asked": asked, "spent": {}, "given": {}, "process": 0}
        if self._path.is_file():
            self._known = json.loads(self._path.read_text(encoding="utf-8"))
        if self._known["asked"] != asked:
            raise InputError(f"{out} has a run with {self._known['asked']}, received {asked}: give another folder")
        self._end_process(out)

    def run(self, every: list[Stage]) -> None:
        """Do what is left to do."""
        for number, stage in enumerate(every, start=1):
            said = f"stage {number} of {len(every)}: {stage.name}"
            if stage.made():
                _say(f"{said}, done", end="\n")
                continue
            spent = self._known["spent"]
            later = sum(WEIGHTS[one.name] for one in every[number - 1 :] if one.name in WEIGHTS)
            if stage.name not in self._known["given"]:
                left = self._budget - sum(taken for name, taken in spent.items() if name != stage.name)
                self._known["given"][stage.name] = max(_SHORTEST, left * WEIGHTS.get(stage.name, later) / later)
            if stage.share is None and self._known["given"][stage.name] == _SHORTEST:
                _say(
                    f"{said}: --budget is spent, so it trains for seconds; in another OUT, with more, it is better",
                    end="\n",
                )
            self._do(stage, said, self._known["given"][stage.name])
            _say(f"{said}, done in {_words(spent[stage.name])}", end="\n")

    def _do(self, stage: Stage, said: str, given: float) -> None:
        log = self._path.parent / "logs" / f"{stage.name}.log"
        log.parent.mkdir(exist_ok=True)
        before, began = self._known["spent"].get(stage.name, 0.0), time.monotonic()
        with log.open("a", encoding="utf-8") as file:
            since = file.tell()
            process = subprocess.Popen(  # noqa: S603  our own scripts
                list(map(str, stage.command(given - min(0.2 * given, _AROUND)))),
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                self._watch(stage, said, given, process, lambda: before + time.monotonic() - began)
            except BaseException:
                _end(process.pid)
                process.wait()
                raise
        if process.returncode or not stage.made():
            raise InputError(f"{said} failed: {_reason(log, since)} (all that it said is in {log})")

    def _watch(
        self, stage: Stage, said: str, given: float, process: subprocess.Popen[bytes], spent: Callable[[], float]
    ) -> None:
        pause, start = 0.05, 0.0 if stage.share is None else stage.share()
        began = spent()
        while process.poll() is None:
            self._known["process"] = process.pid
            self._known["spent"][stage.name] = spent()
            write_json(self._path, self._known)
            share = min(0.99, spent() / given if stage.share is None else stage.share())
            done = share - (start if stage.share else 0.0)
            took = spent() - (began if stage.share else 0.0)
            left = f", {_words(took * (1 - share) / done)} left" if done > 0 else ""
            _say(f"{said}, {100 * share:.0f} %{left}")
            time.sleep(pause)
            pause = min(2.0, 1.5 * pause)
        self._known["spent"][stage.name] = spent()
        self._known["process"] = 0
        write_json(self._path, self._known)

    def _end_process(self, out: Path) -> None:
        """End what an earlier run left working when it was killed: two trainings must not write to one folder."""
        number = int(self._known["process"])
        if not number:
            return
        told = subprocess.run(  # noqa: S603
            ["ps", "-o", "args=", "-p", str(number)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if str(out) in told.stdout:
            _end(number)
            time.sleep(1)


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)


def _say(line: str, end: str = "") -> None:
    """Write over the last line of a terminal; elsewhere nothing can be: one in ten of all, and one in two minutes."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{line}{end}")
    else:
        stage = line.split(",", maxsplit=1)[0]
        percent = re.search(r"(\d+) %", line)
        minutes = int(time.monotonic()) // 120
        marks = {line} if percent is None else {(stage, "tenth", int(percent[1]) // 10), (stage, "minutes", minutes)}
        if marks - _SAID:
            sys.stdout.write(f"{line}\n")
        _SAID.update(marks)
    sys.stdout.flush()


_SAID: set[object] = set()


def _words(duration: float) -> str:
    if duration < 90:
        return f"{duration:.0f} s"
    return f"{duration / 60:.0f} min" if duration < 5400 else f"{duration / 3600:.1f} h"


def _lines(*paths: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in paths if path.is_file())


def _has(path: Path, text: str) -> bool:
    return path.is_file() and text in path.read_text(encoding="utf-8", errors="replace")


def _last(path: Path, pattern: str) -> float:
    found = re.findall(pattern, path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else []
    return float(found[-1]) if found else 0.0


def _reason(log: Path, since: int) -> str:
    """What a stage failed for, by the last of what it said, which begins at byte `since` of its log."""
    lines = log.read_bytes()[since:].decode(errors="replace").splitlines()
    lines = [line.strip() for line in lines if line.strip()] or ["it said nothing"]
    # Of several processes all end after the error of one; but what scripts say on their way is none.
    errors = [line for line in lines if re.match(r"(error|[\w.]*(Error|Exception)): ", line)]
    return lines[-1] if lines[-1].startswith("meloformer") else (errors or lines)[-1]


def _batches(texts: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(texts), 64):
        yield texts[first : first + 64]


def embed(store: Path) -> None:
    """Fill the cache of what the text encoder makes of a store's captions."""
    songs = [SummaryStore(store).subset(name) for name in ("train", "valid")]
    found = (one.metadata(number).get("captions", []) for one in songs for number in range(len(one)))
    texts = sorted({caption["text"] for captions in found for caption in captions})
    cache, done = EmbeddingCache(registry.load(ENCODER), store / "texts"), 0
    for batch in _batches(texts):
        cache.fill(batch)
        done += len(batch)
        print(f"share {done / len(texts)}", flush=True)


def main() -> int:
    """Run the stages; exit status 2 for input that cannot be used, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="pipeline.sh", description=__doc__)
    parser.add_argument("midi", metavar="MIDI_DIR", type=Path, nargs="?", help="folder of MIDI files")
    parser.add_argument("out", metavar="OUT", type=Path, nargs="?", help="folder for everything that is made")
    parser.add_argument("--size", choices=SIZES, default="mini", help="of the MuseFormer (default mini)")
    parser.add_argument("--budget", default="4h", metavar="TIME", help="for all stages: 90m, 4h (default), 2h30m")
    parser.add_argument("--embed", metavar="STORE", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.embed:
        embed(args.embed)
        return 0
    if args.out is None:
        parser.error("MIDI_DIR and OUT are needed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        find(args.midi)
        midi, out, budget = args.midi.resolve(), args.out.resolve(), seconds(args.budget)
        with sole_writer(out):
            Run(out, {"midi": str(midi), "size": args.size}, budget).run(stages(midi, out, args.size))
    except (InputError, OSError) as error:
        print(f"pipeline: {in_words(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\npipeline: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    models = f"--model {out / 'tuned'} --bridge {out / 'bridge' / 'bridge'}"
    print(f"ready: {out / 'pieces'}\nmore of them: meloformer compose TEXT {models} --output DIR")
    return 0


if __name__ == "__main__":
    sys.exit(main())
