"""`meloformer evaluate listening`: what do people hear? One blind offline page of pieces, and the table of its answers.

Arms: pieces to their text, the same pieces under another prompt's text, pieces without a plan, real songs (by the six
instruments of the model), and any folder of MIDI. All are rendered alike and at equal loudness. Which piece is of which
arm stands in `key.json`, which stays at home.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from fairseq_meloformer import jobs, midi
from fairseq_meloformer.composing import command as composing
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.listening import pages, report
from fairseq_meloformer.evaluation.pieces import by_six
from fairseq_meloformer.midi.files import below
from fairseq_meloformer.pretrained import BRIDGE, MUSEFORMER
from fairseq_meloformer.words.prompt_files import read_prompts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from miditoolkit import MidiFile

    from fairseq_meloformer.words.prompts import Prompt

TEXT: Final = "text"
OTHER: Final = "other prompt"
PLAIN: Final = "no plan"
REAL: Final = "real song"


@dataclass(frozen=True)
class Heard:
    """A piece as it is heard in the test: to which prompt, of which arm, from which file, and its notes."""

    prompt: Prompt
    arm: str
    path: Path
    song: MidiFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the report."""
    parser.description = (
        "Make a listening test: listening.html, one page to send to listeners, and key.json, which says what each "
        "piece is. With --collect, read the answers that came back: results.json and report.md."
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the test")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="prompts, one a line, or JSONL with id and text")
    parser.add_argument("--songs", type=Path, metavar="DIR", help="real songs, as MIDI: a file a prompt, see --rival")
    parser.add_argument(
        "--rival",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="pieces of another system: <id>.mid or <id>-<k>.mid for every prompt, or files that know of no prompts",
    )
    parser.add_argument("--bars", type=int, default=16, metavar="N", help="bars to compose (default 16)")
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="most that is heard (default 30)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="other pieces in another order (default 0)")
    parser.add_argument("--model", default=str(MUSEFORMER), metavar="PATH", help="MuseFormer (default: embedded)")
    parser.add_argument("--bridge", default=str(BRIDGE), metavar="DIR", help="its bridge (default: embedded)")
    parser.add_argument("--collect", type=Path, nargs="+", metavar="CSV", help="answers to the test in DIR")


def run(args: argparse.Namespace) -> int:
    """Make the test, or read its answers.

    Raises:
        InputError: arguments that do not fit, a folder that lacks pieces, no synthesiser, or answers to another test.
    """
    if bool(args.prompts) == bool(args.collect):
        raise InputError("give either --prompts FILE, to make a test, or --collect CSV ..., to read its answers")
    with jobs.sole_writer(args.output):
        return _collect(args) if args.collect else _make(args)


def _collect(args: argparse.Namespace) -> int:
    results = report.collect(args.output / "key.json", args.collect)
    jobs.write_json(args.output / "results.json", results)
    report.write_markdown(results, args.output / "report.md")
    sys.stdout.write(f"{args.output / 'report.md'}\n")
    return 0


def _make(args: argparse.Namespace) -> int:
    heard = _pieces(args)
    drawn = Random(args.seed)
    sounds = pages.sounds({piece.path: piece.song for piece in heard}, args.seconds)
    items = _coded([{"prompt": piece.prompt.id, "arm": piece.arm, "path": piece.path} for piece in heard], drawn)
    pairs = _coded(_pairs(heard, drawn), drawn)
    texts = {piece.prompt.id: piece.prompt.text for piece in heard}
    key: dict[str, Any] = {
        "items": {code: {name: item[name] for name in ("prompt", "arm")} for code, item in items.items()},
        "pairs": {code: {name: pair[name] for name in ("prompt", "left", "right")} for code, pair in pairs.items()},
    }
    content = [*(f"{code}{sounds[item['path']].data}" for code, item in items.items()), jobs.dumps(key)]
    key["study"] = hashlib.sha256("".join(content).encode()).hexdigest()[:12]
    _require_same(args.output / "key.json", key["study"])
    jobs.write_json(args.output / "key.json", key)
    page = args.output / "listening.html"
    pages.write(page, key["study"], texts, items, pairs, sounds)
    length = sum(sounds[item["path"]].seconds for item in items.values())
    length += sum(sounds[path].seconds for pair in pairs.values() for path in pair["paths"])
    sys.stdout.write(f"{page}\n")
    sys.stderr.write(
        f"{page}: {len(items)} pieces and {len(pairs)} pairs, {length / 60:.0f} minutes of listening, "
        f"{page.stat().st_size / 1e6:.1f} MB. Send it to listeners; key.json says what each piece is: keep it. "
        f"Their answers: meloformer evaluate listening --output {args.output} --collect *.csv\n"
    )
    return 0


def _require_same(key_file: Path, study: str) -> None:
    """Check that no other test's key is about to be lost."""
    there = json.loads(key_file.read_text("utf-8"))["study"] if key_file.is_file() else study
    if there != study:
        raise InputError(
            f"{key_file} must stay, without which no answers to the test {there} can be read, and this would be the "
            f"test {study}: give another --output, or remove {key_file.name} if that test was never sent"
        )


def _named(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not (name and separator and folder):
        raise argparse.ArgumentTypeError(f"must be NAME=DIR, received {text!r}")
    return name, Path(folder)


def _pieces(args: argparse.Namespace) -> list[Heard]:
    """All pieces, composed where they are this system's, prompt by prompt in the order of the arms."""
    prompts = read_prompts(args.prompts)
    folders = [*([(REAL, args.songs)] if args.songs else []), *args.rival]
    arms = [TEXT, OTHER, PLAIN, *(name for name, _ in folders)]
    problems = (
        (len(prompts) >= 2, f"{args.prompts} must hold at least 2 prompts, since a piece is heard with another's text"),
        (args.bars >= 1, f"--bars must be at least 1, received {args.bars}"),
        (1 <= args.seconds <= 600, f"--seconds must be from 1 to 600, received {args.seconds:g}"),
        (len({*arms}) == len(arms), f"names of arms must differ, received {', '.join(arms)}"),
    )
    if faults := [text for holds, text in problems if not holds]:
        raise InputError("; ".join(faults))
    others = {name: _of_folder(folder, prompts, args.seed) for name, folder in folders}
    songs = {path: _read(path, arm) for arm, paths in others.items() for path in paths}
    composed = {arm: _compose(args, arm, flags) for arm, flags in ((TEXT, ()), (PLAIN, ("--no-injection",)))}
    paths: dict[str, Sequence[Path]] = {
        arm: [folder / f"{prompt.id}-0.mid" for prompt in prompts] for arm, folder in composed.items()
    }
    songs |= {path: _read(path, arm) for arm in composed for path in paths[arm]}
    paths |= {OTHER: [*paths[TEXT][1:], paths[TEXT][0]], **others}
    return [
        Heard(prompt, arm, path := paths[arm][index], songs[path])
        for index, prompt in enumerate(prompts)
        for arm in arms
    ]


def _read(path: Path, arm: str) -> MidiFile:
    """A piece by those who play it, and a real song by the six instruments that pieces are written for."""
    return by_six(path) if arm == REAL else midi.read(path)


def _compose(args: argparse.Namespace, arm: str, flags: Sequence[str]) -> Path:
    parser = argparse.ArgumentParser()
    composing.add_arguments(parser)
    folder: Path = args.output / "pieces" / arm.replace(" ", "-")
    asked = [
        "--prompts",
        str(args.prompts),
        "--output",
        str(folder),
        "--bars",
        str(args.bars),
        "--seed",
        str(args.seed),
    ]
    models = ["--model", args.model, "--bridge", args.bridge]
    composing.run(parser.parse_args([*asked, *models, *flags, "--no-audio", "--no-picture"]))
    return folder


def _of_folder(folder: Path, prompts: Sequence[Prompt], seed: int) -> list[Path]:
    """A file a prompt: that of its name, or where none is named after a prompt, any, each once.

    Raises:
        InputError: a prompt has none.
    """
    files = below(folder)
    by_name: dict[str, Path] = {}
    for path in files:
        by_name.setdefault(path.stem, path)
    named = [by_name.get(prompt.id) or by_name.get(f"{prompt.id}-0") for prompt in prompts]
    if any(named):
        if missing := [prompt.id for prompt, path in zip(prompts, named, strict=True) if path is None]:
            raise InputError(f"{folder} must have a MIDI file for every prompt, but has none for {', '.join(missing)}")
        return [path for path in named if path is not None]
    if len(files) < len(prompts):
        raise InputError(f"{folder} must have {len(prompts)} MIDI files, one a prompt, but has {len(files)}")
    return Random(seed).sample(files, len(prompts))


def _pairs(heard: Sequence[Heard], drawn: Random) -> list[dict[str, Any]]:
    """A pair a prompt: the piece to its text and that of one other arm, in turn, on either side."""
    arms = list(dict.fromkeys(piece.arm for piece in heard))[1:]
    pieces = {(piece.prompt.id, piece.arm): piece.path for piece in heard}
    pairs = []
    for index, prompt in enumerate(dict.fromkeys(piece.prompt.id for piece in heard)):
        left, right = drawn.sample([TEXT, arms[index % len(arms)]], 2)
        pairs.append(
            {"prompt": prompt, "left": left, "right": right, "paths": [pieces[prompt, left], pieces[prompt, right]]}
        )
    return pairs


def _coded(rows: Sequence[Mapping[str, Any]], drawn: Random) -> dict[str, Mapping[str, Any]]:
    """Rows in random order, under codes that tell nothing."""
    codes = drawn.sample(range(16**6), len(rows))
    return {f"{code:06x}": row for code, row in zip(codes, drawn.sample(rows, len(rows)), strict=True)}
