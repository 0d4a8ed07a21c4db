"""`meloformer evaluate methods`: the bridge against other ways from text to a plan, trained for the same time.

Every method is measured alike, at several of its checkpoints: how far what is heard follows what was asked (the rank
correlation of the attributes of held-out songs with those of pieces to their captions), how probable the songs become
under plans of their captions, how diverse the plans of one prompt are, and what a step of training costs. Seconds are
of the processor, all threads together, and do not depend on what else the machine is doing.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairseq_meloformer import jobs
from fairseq_meloformer.bridge import checkpoints as bridges
from fairseq_meloformer.bridge.baselines.methods import SETTINGS
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.methods import pictures, report
from fairseq_meloformer.evaluation.methods.measure import Evaluator, SampleSizes, Songs, step_seconds
from fairseq_meloformer.jobs import JsonlLog
from fairseq_meloformer.museformer.model import MuseFormer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

# Bars a song and tokens a bar at which the cost of a step is measured: one of them grows at a time.
COSTS: Final = ((8, 40), (16, 40), (32, 40), (16, 20), (16, 80))
_COST_SONGS: Final = 4
_REFERENCES: Final = "references"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a method; the last one is also measured for diversity and cost."""

    method: str
    path: Path
    updates: int
    seconds: float
    last: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the report."""
    parser.description = (
        "Compare the methods that scripts/compare_methods.sh has trained: results.json, report.md and pictures. "
        "Stopped at any moment, the same command goes on."
    )
    sizes = SampleSizes()
    parser.add_argument("folder", type=Path, help="folder with a folder of checkpoints for each method")
    parser.add_argument("--store", type=Path, metavar="DIR", required=True, help="store that they were trained on")
    parser.add_argument("--model", metavar="PATH", required=True, help="MuseFormer of the store")
    parser.add_argument("--songs", type=Path, metavar="DATA", help="prepared music of the store, for nats a token")
    parser.add_argument("--budget", type=float, metavar="S", help="leave out what took more processor seconds")
    parser.add_argument("--checkpoints", type=int, default=4, metavar="N", help="of each method (default 4)")
    for field in dataclasses.fields(SampleSizes):
        default = getattr(sizes, field.name)
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=default, metavar="N", help=f"(default {default})")


def run(args: argparse.Namespace) -> int:
    """Measure what is missing, then write the report.

    Raises:
        InputError: arguments that do not fit, or nothing to compare.
    """
    sizes = _sizes(args)
    with jobs.sole_writer(args.folder):
        return _report(args, sizes)


def _report(args: argparse.Namespace, sizes: SampleSizes) -> int:
    found = [one for method in SETTINGS for one in _checkpoints(args.folder / method, args.budget, args.checkpoints)]
    if not found:
        raise InputError(f"{args.folder} must have a folder of checkpoints for each method: run compare_methods.sh")
    model = MuseFormer.from_pretrained(args.model)
    evaluator = Evaluator(model, Songs(args.store, sizes, args.songs))
    asked = f"{dataclasses.astuple(sizes)}|{args.store}|{args.model}|{args.songs}"
    log, rejected = JsonlLog(args.folder / "measured.jsonl"), args.folder / "rejected.jsonl"
    rejected.unlink(missing_ok=True)  # what failed is tried again
    work: dict[str, Callable[[], dict[str, Any]]] = {f"{_REFERENCES}|{asked}": evaluator.references}
    for one in found:
        key = f"{one.method}-{one.updates}{'-last' * one.last}|{one.seconds:.2f}|{asked}"
        work[key] = functools.partial(_measure, evaluator, one)
    failed = JsonlLog(rejected)
    jobs.run("methods", work, lambda key: work[key](), key=str, log=log, rejected=failed, workers=1)
    if reasons := [f"{key.partition('|')[0]}: {failed[key]['reason']}" for key in failed.done]:
        raise InputError(f"not all could be measured: {'; '.join(reasons)}")
    references, *rows = (log[key] for key in work)
    results = report.results(references, rows)
    results["settings"] = {**dataclasses.asdict(sizes), "songs": len(evaluator.songs.held_out), "budget": args.budget}
    jobs.write_json(args.folder / "results.json", results)
    report.write_markdown(results, args.folder / "report.md")
    pictures.draw(results, args.folder / "convergence.png")
    sys.stdout.write(f"{args.folder / 'report.md'}\n")
    return 0


def _sizes(args: argparse.Namespace) -> SampleSizes:
    sizes = SampleSizes(**{field.name: getattr(args, field.name) for field in dataclasses.fields(SampleSizes)})
    problems = [name for name, value in dataclasses.asdict(sizes).items() if value < 1]
    problems += ["checkpoints"] if args.checkpoints < 1 else []
    if problems:
        raise InputError("; ".join(f"--{name} must be at least 1" for name in problems))
    if sizes.seeds < 2:
        raise InputError("--seeds must be at least 2: diversity is a distance")
    return sizes


def _checkpoints(folder: Path, budget: float | None, count: int) -> list[Checkpoint]:
    """At most `count` checkpoints of a method within the budget, the last of them included, evenly by updates."""
    known: dict[int, Checkpoint] = {}
    for path in folder.glob("checkpoint_*.pt"):
        updates, seconds = bridges.progress(path)
        if budget is None or seconds <= budget:
            known[updates] = Checkpoint(folder.name, path, updates, seconds, last=False)
    ordered = [known[updates] for updates in sorted(known)]
    if not ordered:
        return []
    wanted = {round((len(ordered) - 1) * (place + 1) / count) for place in range(count)}
    last = len(ordered) - 1
    return [dataclasses.replace(ordered[place], last=place == last) for place in sorted(wanted)]


def _measure(evaluator: Evaluator, one: Checkpoint) -> dict[str, Any]:
    bridge = bridges.load(one.path)
    row = {"method": one.method, "updates": one.updates, "seconds": one.seconds, **evaluator.checkpoint(bridge)}
    if one.last:
        row["parameters"] = sum(parameter.numel() for parameter in bridge.parameters())
        row["diversity"] = evaluator.diversity(bridge)
        row["costs"] = [
            {"bars": bars, "bar_tokens": tokens, "seconds": _cost(evaluator, bridge, bars, tokens)}
            for bars, tokens in COSTS
        ]
    return row


def _cost(evaluator: Evaluator, bridge: Any, bars: int, bar_tokens: int) -> float:  # noqa: ANN401  a Bridge, spoiled
    spoiled = copy.deepcopy(bridge).requires_grad_(requires_grad=True)
    evaluator.model.requires_grad_(requires_grad=False)
    return step_seconds(spoiled, evaluator.model, bars, bar_tokens, songs=_COST_SONGS, repeats=2) / _COST_SONGS
