"""`meloformer evaluate control`: do pieces do what their prompts ask for?

Five arms: the plan of the prompt (text), of another prompt (shuffled), no plan (none, whose medians divide the axes),
of a real song that has what is asked (oracle), and no plan but decoding control (unplanned, with the full system). A
piece hears its prompt through its plan alone, so that the shuffled arm needs no pieces of its own: it is the pieces of
the text arm, held against the directions of other prompts.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from fairseq_meloformer import hub, jobs
from fairseq_meloformer.composing.command import add_full_system_arguments, add_plan_arguments
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation import oracle
from fairseq_meloformer.evaluation.control import measure, pictures, report
from fairseq_meloformer.evaluation.control.measure import Chunk, Condition, Setup, WantedPiece
from fairseq_meloformer.jobs import JsonlLog, sole_writer
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.museformer.config import SCOPES
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.pretrained import BRIDGE, MUSEFORMER
from fairseq_meloformer.summaries.extraction import fingerprint
from fairseq_meloformer.summaries.store import StoreHeader
from fairseq_meloformer.words.directions import LabelledPrompt
from fairseq_meloformer.words.probe import DEFAULT as PROBE
from fairseq_meloformer.words.prompt_files import read_prompts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from fairseq_meloformer.evaluation.control.report import Pieces, Timelines

PROMPTS: Final = Path(__file__).with_name("prompts")
ARMS: Final = ("text", "shuffled", "none", "oracle", "unplanned")
_NEEDS: Final = {"oracle": "store", "unplanned": "full_system"}
"""Arguments without which there are no such arms."""
STORMS: Final = {
    "meteor-shower": LabelledPrompt("流星雨", "zh", "implied", {"tempo": 1, "register": 1, "leaps": 1, "density": -1}),
    "rainstorm": LabelledPrompt("暴风雨", "zh", "implied", {"register": -1, "density": 1, "sustain": 1, "loudness": 1}),
}
_REJECTED: Final = "rejected.jsonl"
STRENGTHS: Final = (0.5, 1.0, 1.5)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the report."""
    parser.description = (
        "Directional accuracy of eight axes against the same model's median without injection: results.json, "
        "report.md, pictures, and all pieces. Stopped at any moment, the same command goes on."
    )
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="folder to write to")
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE", default=PROMPTS / "held_out.jsonl", help="default: the frozen ones"
    )
    parser.add_argument("--pieces", type=int, metavar="N", help="so many of the prompts, evenly by language and kind")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="pieces per prompt (default 3)")
    parser.add_argument("--bars", type=int, default=16, metavar="N", help="bars per piece (default 16)")
    parser.add_argument(
        "--arms",
        type=_listed,
        metavar="A,B",
        help=f"default {','.join(ARMS)}; oracle with --store, unplanned with --full-system",
    )
    parser.add_argument(
        "--none-pieces", type=int, default=64, metavar="N", help="pieces without injection (default 64)"
    )
    parser.add_argument("--full-system", action="store_true", help="also with decoding control, apart from bridge only")
    parser.add_argument("--scopes", type=_listed, default=(), metavar="A,B", help="sweep these scopes and their layers")
    parser.add_argument("--sweep-pieces", type=int, default=24, metavar="N", help="prompts of sweeps (default 24)")
    parser.add_argument("--sweep-bars", type=int, default=8, metavar="N", help="bars in sweeps and storms (default 8)")
    parser.add_argument(
        "--storms", type=int, default=20, metavar="N", help="pieces each of 流星雨 and 暴风雨 (default 20)"
    )
    parser.add_argument(
        "--timelines", type=int, default=12, metavar="N", help="pieces of two sections with a prompt each (default 12)"
    )
    parser.add_argument("--exact", type=int, default=24, metavar="N", help="prompts with tempo, key ... (default 24)")
    parser.add_argument("--store", metavar="DIR", default="", help="real songs for the oracle: a store, or MIDI files")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="songs composed together (default 32)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
    models = parser.add_argument_group("models")
    models.add_argument("--model", metavar="PATH", default=str(MUSEFORMER), help="MuseFormer (default: embedded)")
    models.add_argument("--bridge", metavar="DIR", default=str(BRIDGE), help="its bridge (default: embedded)")
    models.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    add_plan_arguments(parser.add_argument_group("plan"))
    add_full_system_arguments(parser.add_argument_group("full system"))
    parser.set_defaults(probe=str(PROBE))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def run(args: argparse.Namespace) -> int:
    """Compose what is missing, then write the report.

    Raises:
        InputError: arguments or prompts that do not fit.
    """
    if args.arms is None:
        args.arms = tuple(arm for arm in ARMS if arm not in _NEEDS or getattr(args, _NEEDS[arm]))
    _check(args)
    prompts = _prompts(args.prompts, args.pieces)
    setup = _setup(args)
    with sole_writer(args.output):
        return _report(args, prompts, setup)


def _report(args: argparse.Namespace, prompts: dict[str, LabelledPrompt], setup: Setup) -> int:
    base = Condition(
        "text", args.bars, scope=args.inject_scope, layers=args.inject_layers, strength=args.inject_strength
    )
    (args.output / _REJECTED).unlink(missing_ok=True)  # what failed is tried again
    log = JsonlLog(args.output / "chunks.jsonl")
    none = Condition("none", args.bars)
    none_items = [WantedPiece("none", "", seed) for seed in range(args.none_pieces)]
    half = args.sweep_bars  # of storms, sweeps and sections, which are held against the same bars without injection
    spans = [span for span in ((0, half), (half, 2 * half)) if span[1] <= args.bars]
    pieces = _compose(args, log, list(measure.chunks(setup, none, none_items, spans=spans)))
    quantiles = _quantiles(args.output, pieces)
    wanted: dict[Condition, list[WantedPiece]] = {}
    _main_conditions(args, base, prompts, wanted)
    songs = _oracle_condition(args, base, prompts, wanted)
    _sweeps(args, setup, base, prompts, wanted)
    _further(args, base, wanted)
    timelines = _timelines(args, base, prompts, wanted)
    todo = [
        chunk for condition, items in wanted.items() for chunk in measure.chunks(setup, condition, items, quantiles)
    ]
    pieces |= _compose(args, log, todo)
    results = report.results(
        pieces,
        prompts,
        {**wanted, none: none_items},
        base,
        storms=STORMS,
        exact=_exact(args.exact),
        songs=songs,
        timelines=timelines,
    )
    results["settings"] = {**setup.identity(), "prompts": len(prompts), "seeds": args.seeds, "bars": args.bars}
    jobs.write_json(args.output / "results.json", results)
    report.write_markdown(results, args.output / "report.md")
    pictures.draw(results, args.output)
    sys.stdout.write(f"{args.output / 'report.md'}\n")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Report everything that is wrong with the arguments at once."""
    counts = ("seeds", "none_pieces", "batch_size", "workers")
    further = ("sweep_pieces", "storms", "exact", "timelines")
    checks = [
        *((getattr(args, name) >= 1, f"--{name.replace('_', '-')} must be at least 1") for name in counts),
        (args.pieces is None or args.pieces >= 1, "--pieces must be at least 1"),
        (args.bars >= args.sweep_bars >= 2, "--bars must be at least --sweep-bars, and that at least 2"),
        *((getattr(args, name) >= 0, f"--{name.replace('_', '-')} must not be negative") for name in further),
        (set(args.arms) <= set(ARMS), f"--arms must be some of {','.join(ARMS)}, received {','.join(args.arms)}"),
        *(
            (arm not in args.arms or getattr(args, name), f"--arms {arm} needs --{name.replace('_', '-')}")
            for arm, name in _NEEDS.items()
        ),
        (
            set(args.scopes) <= set(SCOPES),
            f"--scopes must be some of {','.join(SCOPES)}, received {','.join(args.scopes)}",
        ),
        ("none" in args.arms and "text" in args.arms, "--arms must have text and none, whose medians divide the axes"),
        (hub.local(args.model).exists(), f"--model must be a model, but there is no {args.model}"),
    ]
    if problems := [text for holds, text in checks if not holds]:
        raise InputError("; ".join(problems))


def _prompts(path: Path, count: int | None) -> dict[str, LabelledPrompt]:
    """Prompts with what they ask for, by id; `count` of them in turn from each language and kind."""
    asked = {
        prompt.id: LabelledPrompt.read(prompt.text, prompt.about, f"{path}, {prompt.id}")
        for prompt in read_prompts(path)
    }
    return dict(_evenly(asked, len(asked) if count is None else count))


def _evenly(prompts: dict[str, LabelledPrompt], count: int) -> list[tuple[str, LabelledPrompt]]:
    groups: dict[tuple[str, str], list[tuple[str, LabelledPrompt]]] = {}
    for name, asked in prompts.items():
        groups.setdefault((asked.lang, asked.kind), []).append((name, asked))
    for group in groups.values():
        Random(0).shuffle(group)  # the same prompts whatever the count, and not the first of the file
    turns = max(map(len, groups.values()), default=0)
    return [group[turn] for turn in range(turns) for group in groups.values() if turn < len(group)][:count]


def _setup(args: argparse.Namespace) -> Setup:
    return Setup(
        model=args.model,
        bridge=args.bridge,
        probe=args.probe,
        sampling=Sampling(logit_guidance=args.logit_guidance),
        guidance_scale=args.guidance_scale,
        nfe=args.nfe,
        tilt=args.tilt,
        best_of=args.best_of,
        batch=args.batch_size,
        device=args.device,
        folder=str(args.output),
        songs=args.store,
    )


def _items(prompts: Iterable[tuple[str, LabelledPrompt]], seeds: int) -> list[WantedPiece]:
    # Prompt by prompt within a seed, so that a report that is stopped early has all prompts once.
    names = list(prompts)
    return [WantedPiece(name, asked.text, seed) for seed in range(seeds) for name, asked in names]


def _main_conditions(
    args: argparse.Namespace,
    base: Condition,
    prompts: dict[str, LabelledPrompt],
    wanted: dict[Condition, list[WantedPiece]],
) -> None:
    wanted[base] = _items(prompts.items(), args.seeds)
    if args.full_system:
        wanted[replace(base, full=True)] = _items(prompts.items(), args.seeds)
    if "unplanned" in args.arms:
        wanted[replace(base, arm="none", full=True)] = _items(prompts.items(), args.seeds)


def _oracle_condition(
    args: argparse.Namespace,
    base: Condition,
    prompts: dict[str, LabelledPrompt],
    wanted: dict[Condition, list[WantedPiece]],
) -> dict[str, str]:
    """Songs that the oracle follows, by prompt."""
    if "oracle" not in args.arms:
        return {}
    _check_store(args)
    asked = {name: prompt.directions for name, prompt in prompts.items()}
    songs = oracle.choose(asked, oracle.source(args.store).songs(), args.bars)
    wanted[replace(base, arm="oracle")] = [
        WantedPiece(name, prompts[name].text, 0, song) for name, song in songs.items()
    ]
    return songs


def _check_store(args: argparse.Namespace) -> None:
    """Warn of a store that another model was extracted into."""
    if not (Path(args.store) / "store.json").is_file():
        return
    made = StoreHeader.read(Path(args.store)).model_sha256
    if made != fingerprint(MuseFormer.from_pretrained(args.model)):
        sys.stderr.write(f"warning: {args.store} was extracted from another model than {args.model}\n")


def _sweeps(
    args: argparse.Namespace,
    setup: Setup,
    base: Condition,
    prompts: dict[str, LabelledPrompt],
    wanted: dict[Condition, list[WantedPiece]],
) -> None:
    """Conditions of the scope x layer heat map and of the strength sweep."""
    if not args.scopes or not args.sweep_pieces:
        return
    config = MuseFormer.from_pretrained(setup.model).config
    some = _items(_evenly(prompts, args.sweep_pieces), 1)
    short = replace(base, bars=args.sweep_bars)
    for scope, layer in product(args.scopes, [None, *range(config.layers)]):
        _want(wanted, replace(short, scope=scope, layers=None if layer is None else (layer,), strength=1.0), some)
    for strength in STRENGTHS:
        _want(wanted, replace(short, scope=base.scope or config.scope, layers=None, strength=strength), some)


def _further(args: argparse.Namespace, base: Condition, wanted: dict[Condition, list[WantedPiece]]) -> None:
    """The two storms, and prompts with exact requests (in the full system only)."""
    short = replace(base, bars=args.sweep_bars)
    systems = (False, True) if args.full_system else (False,)
    for full in systems if args.storms else ():
        _want(wanted, replace(short, full=full), _items(STORMS.items(), args.storms))
    if args.full_system and args.exact:
        items = [WantedPiece(name, row["text"], 0) for name, row in _exact(args.exact).items()]
        _want(wanted, replace(base, full=True, bars=None), items)


def _timelines(
    args: argparse.Namespace,
    base: Condition,
    prompts: dict[str, LabelledPrompt],
    wanted: dict[Condition, list[WantedPiece]],
) -> Timelines:
    """Pieces of two sections, each with a prompt of its own; what the bars of each section ask for."""
    half = args.sweep_bars
    some = _evenly(prompts, 2 * args.timelines)
    found, items = {}, []
    for (first, one), (second, other) in zip(some[0::2], some[1::2], strict=False):
        name = f"{first}+{second}"
        found[name] = {measure.span_name((0, half)): one, measure.span_name((half, 2 * half)): other}
        items.append(WantedPiece(name, f"1-{half}: {one.text} | {half + 1}-{2 * half}: {other.text}", 0))
    for full in ((False, True) if args.full_system else (False,)) if items else ():
        _want(wanted, replace(base, full=full, bars=2 * half), items)
    return found


def _want(wanted: dict[Condition, list[WantedPiece]], condition: Condition, items: Sequence[WantedPiece]) -> None:
    """Add items to a condition that may be part of several comparisons."""
    known = wanted.setdefault(condition, [])
    known += [item for item in items if item not in known]


def _exact(count: int) -> dict[str, dict[str, Any]]:
    """Prompts with exact requests, English and Chinese in turn."""
    rows = {prompt.id: {"text": prompt.text, **prompt.about} for prompt in read_prompts(PROMPTS / "exact.jsonl")}
    order = sorted(rows, key=lambda name: (name.partition("-")[2], name))
    return {name: rows[name] for name in order[:count]}


def _compose(args: argparse.Namespace, log: JsonlLog, todo: list[Chunk]) -> Pieces:
    """Pieces of these chunks by condition, prompt and seed, composed if they are not in the log; says what failed.

    Raises:
        InputError: not one chunk could be composed.
    """
    rejected = JsonlLog(args.output / _REJECTED)
    work = functools.partial(measure.compose, threads=1 if args.workers > 1 else None)
    jobs.run("compose", todo, work, key=lambda chunk: chunk.id, log=log, rejected=rejected, workers=args.workers)
    found: Pieces = {}
    for chunk in todo:
        if chunk.id in log.done:
            for row in log[chunk.id]["pieces"]:
                found[chunk.condition, row["prompt"], row["seed"]] = row
    reasons = sorted({rejected[chunk.id]["reason"] for chunk in todo if chunk.id in rejected.done})
    if not found:
        raise InputError(f"nothing could be composed: {'; '.join(reasons)}")
    if reasons:
        sys.stderr.write(f"warning: pieces that could not be composed count as wrong: {'; '.join(reasons)}\n")
    return found


def _quantiles(folder: Path, none: Pieces) -> Path:
    """Quantiles of what the model writes without injection, by which the full system chooses; of those axes it has."""
    path = folder / "quantiles.json"
    Quantiles.fit(row["attributes"] for row in none.values()).save(path)
    return path
