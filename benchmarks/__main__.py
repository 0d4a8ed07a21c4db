"""Measure everything that has to be fast, and print a table.

Writes benchmarks/results.json and the picture docs/speed.png, or both to --output. Takes some minutes; the machine
should have nothing else to do, since threads wait for each other at every step.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks import attention, composing, decoding, stages
from benchmarks.material import SkippedError
from benchmarks.measure import Options
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_json
from fairseq_meloformer.weights import usable

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from benchmarks.measure import Figure, Row

BENCHMARKS: dict[str, Callable[[Options], Iterator[Row]]] = {
    "compose": composing.compose,
    "plan": composing.plan,
    "batch": decoding.batch,
    "streams": decoding.streams,
    "lengths": decoding.lengths,
    "precision": decoding.precision,
    "forward": attention.forward,
    "training": attention.training,
    "rate": attention.rate,
    "memory": attention.memory,
    "tokenising": stages.tokenising,
    "extraction": stages.extraction,
    "loader": stages.loader,
}
_HEAD = ("", "ours (least - greatest)", "baseline", "ratio", "target")
_WIDTHS = (62, 42, 60, 8, 30)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that were asked for; 1 if a target was missed."""
    args = _parse(arguments)
    output = args.output or _default_output(args.quick or args.device != "cpu")
    measured = bool(args.output or args.quick or args.device != "cpu")
    picture = output if measured else Path(__file__).resolve().parents[1] / "docs"
    options = Options(args.quick, args.midi, args.data, output, picture / "speed.png", str(usable(args.device)))
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    options.output.mkdir(parents=True, exist_ok=True)
    machine = _machine(options.device, args.threads)
    kept = _kept(options.output / "results.json", machine, args.only or BENCHMARKS)
    torch.set_num_threads(args.threads)
    results: dict[str, list[dict[str, object]]] = {}
    missed = 0
    _print(_HEAD)
    for name in args.only or BENCHMARKS:
        results[name] = []
        try:
            for row in BENCHMARKS[name](options):
                _print(_cells(row))
                results[name].append(dataclasses.asdict(row))
                missed += row.met is False
        except SkippedError as reason:
            print(f"{name}: skipped, {reason}")
        except InputError as reason:
            print(f"{name}: FAILED, {reason}")
            missed += 1
    write_json(options.output / "results.json", {"machine": machine, "results": {**kept, **results}})
    return int(missed > 0 and not args.quick)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=BENCHMARKS, metavar="NAME", help=f"some of: {', '.join(BENCHMARKS)}"
    )
    parser.add_argument("--quick", action="store_true", help="toy sizes: shows that everything runs, measures nothing")
    parser.add_argument("--device", default="cpu", help="where models calculate: cpu (default), cuda, cuda:1 ...")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="threads (default: all)")
    parser.add_argument("--midi", type=Path, metavar="DIR", help="MIDI files to tokenise, and to take perplexity on")
    parser.add_argument("--data", type=Path, metavar="DATA", help="prepared music; perplexity is of its split valid")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="of results and picture (default: benchmarks/, docs/)"
    )
    return parser.parse_args(arguments)


def _default_output(other: bool) -> Path:
    """Beside this file; elsewhere for what is other than a full run on a CPU."""
    return Path(tempfile.mkdtemp(prefix="benchmarks-")) if other else Path(__file__).parent


def _cells(row: Row) -> tuple[str, ...]:
    theirs = f"{row.baseline}: {_number(row.theirs.median)} {row.unit}" if row.theirs is not None else ""
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    ratio = "" if row.ratio is None else _number(row.ratio)
    return row.what, f"{_figure(row.ours)} {row.unit}", theirs, ratio, f"{row.target} {verdict}".strip()


def _figure(figure: Figure) -> str:
    if figure.low == figure.high:
        return _number(figure.median)
    return f"{_number(figure.median)} ({_number(figure.low)} - {_number(figure.high)})"


def _number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _print(cells: Sequence[str]) -> None:
    print("  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip(), flush=True)


def _machine(device: str, threads: int) -> dict[str, object]:
    """What all figures of one file are of."""
    return {
        "processor": _processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _kept(path: Path, machine: dict[str, object], anew: Container[str]) -> dict[str, object]:
    """Results of earlier runs that are not measured anew.

    Raises:
        SystemExit: they are of another machine, which the file can not say.
    """
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {"machine": machine, "results": {}}
    kept = {name: rows for name, rows in found["results"].items() if name not in anew}
    if kept and found["machine"] != machine:
        raise SystemExit(
            f"all figures of {path} must be of one machine, but {', '.join(kept)} are of {found['machine']}, and this "
            f"is {machine}: measure everything anew (without --only), or give another --output"
        )
    return kept


def _processor() -> str:
    """Its name, where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
