"""Describe prepared data: data_card.md and a picture of what was measured in it, made from the prepared files alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairseq_meloformer.corpus.balance import AXES as CORNER_AXES
from fairseq_meloformer.corpus.balance import stratum
from fairseq_meloformer.corpus.splits import SPLITS, title_key
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import read_jsonl, sole_writer, write_atomic
from fairseq_meloformer.measures.attributes import ATTRIBUTES, AXES
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.render import markdown
from fairseq_meloformer.render.figures import new_figure, save
from fairseq_meloformer.render.pictures import INK, PALE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fairseq_meloformer.measures.attributes import Attributes

Row = dict[str, Any]

PICTURE: Final = "data_card.png"

_PARTICULAR: Final = re.compile(r"(\. |, but |: ).*", re.DOTALL)
_TRAIN: Final = "#2f6f9f"
_BINS: Final = 40
_REASONS: Final = 8  # most frequent reasons of refusal that are listed
# Corners of the control space: -1 and 1 are the lowest and highest third of the corpus.
_CORNERS: Final = {
    "sparse, high, quiet": {"density": -1, "register": 1, "loudness": -1},
    "low, sustained, loud": {"register": -1, "sustain": 1, "loudness": 1},
    "fast, dense, high": {"tempo": 1, "density": 1, "register": 1},
    "slow, dense, quiet": {"tempo": -1, "density": 1, "loudness": -1},
    "slow, sparse, low, loud": {"tempo": -1, "density": -1, "register": -1, "loudness": 1},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `meloformer card`."""
    from pathlib import Path  # noqa: PLC0415 - the type checker alone needs it elsewhere

    parser.add_argument("data", metavar="DATA", type=Path, help="folder that `meloformer prepare` wrote")


def run(args: argparse.Namespace) -> int:
    """The command `meloformer card`."""
    with sole_writer(args.data):
        write(args.data)
    return 0


def write(data: Path) -> None:
    """Write data_card.md and data_card.png to a folder of prepared data.

    Raises:
        InputError: the folder lacks a file that `meloformer prepare` writes.
    """
    names = ["prepare.json", "quantiles.json", "songs.jsonl", "train.items.jsonl"]
    if missing := [name for name in names if not (data / name).is_file()]:
        raise InputError(
            f"{data} must be a folder that `meloformer prepare` has finished; {', '.join(missing)} is missing"
        )
    prepared = json.loads((data / "prepare.json").read_text(encoding="utf-8"))
    items = {split: list(read_jsonl(path)) for split in SPLITS if (path := data / f"{split}.items.jsonl").is_file()}
    corpus = [window["attributes"] for song in read_jsonl(data / "songs.jsonl") for window in song["windows"]]
    train = [item["attributes"] for item in items["train"]]
    rejected = data / "rejected.jsonl"  # absent where none was
    reasons = [row["reason"] for row in read_jsonl(rejected)] if rejected.is_file() else []
    lines = _card(prepared, items, corpus, Quantiles.load(data / "quantiles.json"), reasons)
    _draw(data / PICTURE, corpus, train)
    write_atomic(data / "data_card.md", lambda file: file.write("\n".join(lines).encode()))


def _card(
    prepared: Row,
    items: Mapping[str, list[Row]],
    corpus: Sequence[Attributes],
    quantiles: Quantiles,
    reasons: Sequence[str],
) -> Iterator[str]:
    counts = prepared["counts"]
    yield f"# Data card\n\n{counts['files']:,} MIDI files, {counts['rejected']:,} of them refused. Prepared with:\n"
    choices = {name: value for name, value in prepared.items() if name not in ("settings", "counts")}
    yield f"    {json.dumps({**prepared['settings'], **choices}, ensure_ascii=False)}\n"
    yield "## Counts\n"
    names = ("songs", "passages", "bars", "tokens", "captions", "duplicate_passages")
    yield from markdown.table(
        ["", *names], [[split, *(counts[split].get(name, 0) for name in names)] for split in items]
    )
    yield (
        f"Duplicates are found by their notes and left out: songs, {counts['duplicate_songs']:,}; passages, see above. "
        "Songs are split by title and by notes: "
        f"{len(_shared(items)):,} titles stand on both sides of a split.\n"
    )
    yield "## What is measured\n"
    yield f"![Histograms of the eight control axes]({PICTURE})\n"
    yield "Grey: all passages of the corpus. Blue: those to train on. Share of passages in corners of the space:\n"
    yield from markdown.table(
        ["corner", "corpus", "train", "if all were alike"],
        _corners(corpus, [item["attributes"] for item in items["train"]], quantiles),
    )
    yield "## Metres of songs\n"
    metres = {item["path"]: item["attributes"].get("metre") for rows in items.values() for item in rows}
    yield from _shares(str(metre or "not recorded") for metre in metres.values())
    captions = [caption for rows in items.values() for item in rows for caption in item["captions"]]
    for field, head in (("lang", "Languages"), ("style", "Styles"), ("source", "Sources"), ("licence", "Licences")):
        yield f"## {head} of captions\n"
        yield from _shares(str(caption.get(field) or "not recorded") for caption in captions)
    yield "## Licences of songs\n"
    songs = {item["path"]: item.get("licence") or "not recorded" for rows in items.values() for item in rows}
    yield from _shares(songs.values())
    yield "## Refused files\n"
    yield from _shares((_kind(reason) for reason in reasons), most=_REASONS)


def _shares(values: Iterable[str], most: int | None = None) -> Iterator[str]:
    counted = Counter(values)
    total = counted.total()
    rows = [(name, count, f"{count / total:.1%}") for name, count in counted.most_common(most)]
    yield from markdown.table(["", "count", "share"], rows) if rows else ["none\n"]


def _kind(reason: str) -> str:
    """A reason of refusal without what is particular to the file."""
    return _PARTICULAR.sub("", reason).rstrip(".")


def _shared(items: Mapping[str, list[Row]]) -> set[str]:
    titles = [{title_key(item.get("title") or "") for item in rows} - {""} for rows in items.values()]
    return {title for index, some in enumerate(titles) for others in titles[:index] for title in some & others}


def _corners(corpus: Sequence[Attributes], train: Sequence[Attributes], quantiles: Quantiles) -> Iterator[list[str]]:
    found = [[dict(zip(CORNER_AXES, stratum(row, quantiles), strict=True)) for row in rows] for rows in (corpus, train)]
    for name, corner in _CORNERS.items():
        inside = [sum(corner.items() <= place.items() for place in places) / len(places) for places in found]
        alike = 3.0 ** -len(corner)  # each axis has three thirds
        yield [name, *(f"{share:.2%}" for share in (*inside, alike))]


def _draw(path: Path, corpus: Sequence[Attributes], train: Sequence[Attributes]) -> None:
    figure = new_figure(13, 5.6)
    for axes, axis in zip(figure.subplots(2, 4).flat, AXES, strict=True):
        both = [[value for row in rows if isinstance(value := row.get(axis), float)] for rows in (corpus, train)]
        low, high = np.quantile(both[0], (0.002, 0.998))
        edges = np.linspace(low, max(high, low + 1e-3), _BINS + 1).tolist()
        grey, blue = (np.full(len(values), 1 / max(1, len(values))) for values in both)  # shares, not counts
        axes.hist(both[0], edges, weights=grey, color=PALE, alpha=0.5, label="corpus")
        axes.hist(both[1], edges, weights=blue, histtype="step", color=_TRAIN, linewidth=1.4, label="train")
        axes.set_title(axis, color=INK, fontsize=10)
        axes.set_xlabel(ATTRIBUTES[axis].unit, color=INK, fontsize=8)
        axes.set_yticks([])
        axes.tick_params(labelsize=7, colors=INK)
    figure.axes[0].legend(fontsize=8, frameon=False)
    save(figure, path)
