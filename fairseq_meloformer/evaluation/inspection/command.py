"""The command `meloformer inspect`: is there anything to steer by in the summaries, and does injecting them steer?"""

import argparse
import json
import sys
from pathlib import Path

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.inspection import measure, report
from fairseq_meloformer.evaluation.inspection.music import gather
from fairseq_meloformer.jobs import sole_writer, write_atomic, write_json
from fairseq_meloformer.museformer.checkpoints import model_hash
from fairseq_meloformer.museformer.model import MuseFormer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `meloformer inspect`."""
    parser.description = (
        "Look into summaries and what injecting them does: writes report.html, with all pictures in it, and "
        "inspect.json. Injection needs a model and the tokens of --data; bars are measured one by one only with --data."
    )
    parser.add_argument("subject", type=Path, metavar="STORE|MODEL", help="a store of summaries, or a MuseFormer")
    parser.add_argument("--store", type=Path, metavar="STORE", help="summaries of the model, if they are extracted")
    parser.add_argument("--data", type=Path, metavar="DATA", help="what `meloformer prepare` wrote")
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="folder to write to")
    parser.add_argument("--subset", default="valid", metavar="NAME", help="train, valid (default) or test")
    parser.add_argument("--songs", type=int, default=200, metavar="N", help="songs to look at (default 200)")
    parser.add_argument("--pieces", type=int, default=16, metavar="N", help="to write per injection (default 16)")
    parser.add_argument("--bars", type=int, default=8, metavar="N", help="of these pieces (default 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of these pieces")


def run(args: argparse.Namespace) -> int:
    """Inspect, and print where the report is."""
    low = [f"--{name} {getattr(args, name)}" for name in ("songs", "bars") if getattr(args, name) < 1]
    if low or args.pieces < 0:
        raise InputError(
            f"--songs and --bars must be at least 1 and --pieces at least 0, received {low or args.pieces}"
        )
    is_store = (args.subject / "store.json").is_file()
    if is_store and args.store is not None:
        raise InputError(f"{args.subject} is a store itself: leave --store out, or give a model before it")
    with sole_writer(args.output):
        return _report(args, is_store=is_store)


def _report(args: argparse.Namespace, *, is_store: bool) -> int:
    model = None if is_store else MuseFormer.from_pretrained(args.subject)
    songs = gather(model, args.subject if is_store else args.store, args.data, args.subset, args.songs)
    found, drawn = measure.summaries(songs)
    if model is not None and args.data is not None:
        more, pictures = measure.injections(model, songs, args.pieces, args.bars, args.seed)
        found, drawn = found | more, drawn | pictures
    found = {"subject": str(args.subject), "model": None if model is None else model_hash(model.state_dict()), **found}
    write_json(args.output / "inspect.json", found)
    page = report.page(found, drawn)
    write_atomic(args.output / "report.html", lambda file: file.write(page.encode()))
    sys.stdout.write(json.dumps({"report": str(args.output / "report.html"), "bars": found["bars"]}) + "\n")
    return 0
