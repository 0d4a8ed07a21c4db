"""What training on so many songs costs on this machine, measured in a minute, and computed for others."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch

from fairseq_meloformer import workers
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.cost import work
from fairseq_meloformer.evaluation.cost.machines import CORE_DOLLARS, MACHINES
from fairseq_meloformer.evaluation.cost.measure import measure
from fairseq_meloformer.render import markdown
from fairseq_meloformer.weights import usable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from fairseq_meloformer.evaluation.cost.measure import Measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `meloformer estimate`."""
    parser.add_argument(
        "--pairs", metavar="N,...", default="1000,5000,50000", help="songs with texts (default %(default)s)"
    )
    parser.add_argument(
        "--sizes", metavar="NAME,...", default=",".join(work.NAMES), help="of models (default %(default)s)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="to measure on (default: a GPU if there is one)")


def run(args: argparse.Namespace) -> int:
    """The command `meloformer estimate`."""
    pairs, sizes = _numbers(args.pairs), args.sizes.split(",")
    if unknown := [name for name in sizes if name not in work.NAMES]:
        raise InputError(f"--sizes must be of {', '.join(work.NAMES)}, received {', '.join(unknown)}")
    device = usable(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    sys.stdout.write("\n".join(_page(pairs, sizes, device)) + "\n")
    return 0


def _numbers(text: str) -> list[int]:
    if all(part.isdecimal() and int(part) for part in text.split(",")):
        return [int(part) for part in text.split(",")]
    raise InputError(f"--pairs must be numbers such as 1000,5000, received {text!r}")


def _page(pairs: list[int], sizes: list[str], device: torch.device) -> Iterator[str]:
    cores = workers.cores()
    on_gpu = device.type == "cuda"
    here = torch.cuda.get_device_name(device) if on_gpu else f"{cores} cores"
    if not on_gpu:
        torch.set_num_threads(1)  # as each process of --gpus has; they share the work
    for name in sizes:
        found = measure(work.size(name), device)
        yield f"### {name}: {found.museformer / 1e6:.1f}M + {found.bridge / 1e6:.1f}M parameters\n"
        yield from markdown.table(
            ["a unit", "is a", "ms here", "MFLOP here", "GFLOP/s here", "MFLOP on a GPU", "operations on a GPU"],
            _rates(found),
        )
        places = {
            here: {s: unit.seconds / (1 if on_gpu and s != "prepare" else cores) for s, unit in found.units.items()}
        }
        places |= {f"{one.name} (computed)": one.seconds(found.units) for one in MACHINES}
        dollars = {f"{one.name} (computed)": one.dollars for one in MACHINES}
        for count in pairs:
            yield f"{count:,} pairs, hours:\n"
            yield from _hours(count, found, places, dollars if on_gpu else {here: CORE_DOLLARS * cores, **dollars})
            yield _space(count, name, found)


def _rates(found: Measured) -> Iterator[list[str]]:
    for stage, unit in found.units.items():
        millions = [f"{count / 1e6:.3g}" if count else "" for count in (unit.flops, unit.gpu_flops)]
        rate = f"{unit.flops / unit.seconds / 1e9:.1f}" if unit.flops else ""
        started = f"{unit.gpu_operations:.2g}" if unit.gpu_operations else ""
        yield [stage, work.STAGES[stage][:-1], f"{1e3 * unit.seconds:.3g}", millions[0], rate, millions[1], started]


def _hours(
    pairs: int, found: Measured, places: Mapping[str, Mapping[str, float]], dollars: Mapping[str, float]
) -> Iterator[str]:
    counts = work.units(pairs, found.museformer)
    columns = [work.hours(counts, seconds) for seconds in places.values()]
    rows = [[stage, counts[stage], *(f"{column[stage]:.2g}" for column in columns)] for stage in counts]
    totals = [sum(column.values()) for column in columns]
    rows.append(["all", "", *(f"{total:.3g}" for total in totals)])
    rows.append(
        ["dollars", "", *(_money(total, dollars.get(name)) for name, total in zip(places, totals, strict=True))]
    )
    yield from markdown.table(["stage", "units", *places], rows)


def _money(hours: float, dollars: float | None) -> str:
    return "" if dollars is None else f"{hours * dollars:.3g}"


def _space(pairs: int, name: str, found: Measured) -> str:
    config = work.size(name).museformer
    disk = work.disk_gb(pairs, config.layers, config.dim, found.museformer + found.bridge)
    parts = ", ".join(f"{part} {count:.3g}" for part, count in disk.items())
    memory = work.training_gb(found.museformer, found.kept_a_token)
    return f"Disk: {sum(disk.values()):.3g} GB ({parts}). Memory to train the MuseFormer: {memory:.2g} GB.\n"
