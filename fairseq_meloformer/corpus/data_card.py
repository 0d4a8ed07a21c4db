"""Describe prepared data: data_card.md and a picture of what was measured in it, made from the prepared files alone."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from itertools import combinations
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
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from fairseq_meloformer.measures.attributes import Attributes

Row = dict[str, Any]

PICTURE: Final = "data_card.png"

_PARTICULAR: Final = re.compile(r"(\. |, but |: ).*", re.DOTALL)
_TRAIN: Final = "#2f6f9f"
_BINS: Final = 40
_CAPTION_FIELDS: Final = {"lang": "Languages", "style": "Styles", "source": "Sources", "licence": "Licences"}
_UNKNOWN: Final = "not recorded"
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
    missing = [name for name in names if not (data / name).is_file()]
    prepared = {} if missing else json.loads((data / "prepare.json").read_text(encoding="utf-8"))
    if missing or "counts" not in prepared:  # which are written last
        lacks = f"{', '.join(missing)} is missing" if missing else "prepare.json has no counts yet: run it again"
        raise InputError(f"{data} must be a folder that `meloformer prepare` has finished; {lacks}")
    quantiles = Quantiles.load(data / "quantiles.json")
    corpus = Measured(
        quantiles, (w["attributes"] for song in read_jsonl(data / "songs.jsonl") for w in song["windows"])
    )
    items = Items(data)
    train = Measured(quantiles, (item["attributes"] for item in read_jsonl(data / "train.items.jsonl")))
    rejected = data / "rejected.jsonl"  # absent where none was
    reasons = Counter(_kind(row["reason"]) for row in (read_jsonl(rejected) if rejected.is_file() else ()))
    lines = _card(prepared, items, corpus, train, reasons)
    _draw(data / PICTURE, corpus, train)
    write_atomic(data / "data_card.md", lambda file: file.write("\n".join(lines).encode()))


class Measured:
    """What was measured in passages, read one by one: memory holds eight numbers of each.

    Attributes:
        values: of each control axis where it was measured.
        corners: how many passages lie in each corner of the control space.
        count: passages.
    """

    def __init__(self, quantiles: Quantiles, passages: Iterable[Attributes]) -> None:
        self.values = {axis: array("d") for axis in AXES}
        self.corners: Counter[str] = Counter()
        self.count = 0
        for passage in passages:
            self.count += 1
            for axis, values in self.values.items():
                if isinstance(value := passage.get(axis), float):
                    values.append(value)
            place = dict(zip(CORNER_AXES, stratum(passage, quantiles), strict=True))
            self.corners.update(name for name, corner in _CORNERS.items() if corner.items() <= place.items())


class Items:
    """What descriptions of passages say, read one by one.

    Attributes:
        splits: those there are.
        titles: of the songs of each.
        metres, licences: by song.
        captions: how many captions have which language, style, source and licence.
    """

    def __init__(self, data: Path) -> None:
        paths = {split: data / f"{split}.items.jsonl" for split in SPLITS}
        self.splits = [split for split, path in paths.items() if path.is_file()]
        self.titles: dict[str, set[str]] = {split: set() for split in self.splits}
        self.metres: dict[str, str] = {}
        self.licences: dict[str, str] = {}
        self.captions: dict[str, Counter[str]] = {name: Counter() for name in _CAPTION_FIELDS}
        for split in self.splits:
            for item in read_jsonl(paths[split]):
                self.titles[split].add(title_key(item.get("title") or ""))
                self.metres[item["path"]] = str(item["attributes"].get("metre") or _UNKNOWN)
                self.licences[item["path"]] = item.get("licence") or _UNKNOWN
                for name, counted in self.captions.items():
                    counted.update(str(caption.get(name) or _UNKNOWN) for caption in item["captions"])

    @property
    def shared(self) -> set[str]:
        """Titles that stand on both sides of a split."""
        pairs = combinations((titles - {""} for titles in self.titles.values()), 2)
        return set().union(*(some & others for some, others in pairs))


def _card(prepared: Row, items: Items, corpus: Measured, train: Measured, reasons: Counter[str]) -> Iterator[str]:
    counts = prepared["counts"]
    yield f"# Data card\n\n{counts['files']:,} MIDI files, {counts['rejected']:,} of them refused. Prepared with:\n"
    choices = {name: value for name, value in prepared.items() if name not in ("settings", "counts")}
    yield f"    {json.dumps({**prepared['settings'], **choices}, ensure_ascii=False)}\n"
    yield "## Counts\n"
    names = ("songs", "passages", "bars", "tokens", "captions", "duplicate_passages")
    yield from markdown.table(
        ["", *names], [[split, *(counts[split].get(name, 0) for name in names)] for split in items.splits]
    )
    yield (
        f"Duplicates are found by their notes and left out: songs, {counts['duplicate_songs']:,}; passages, see above. "
        "Songs are split by title and by notes: "
        f"{len(items.shared):,} titles stand on both sides of a split.\n"
    )
    yield "## What is measured\n"
    yield f"![Histograms of the eight control axes]({PICTURE})\n"
    yield "Grey: all passages of the corpus. Blue: those to train on. Share of passages in corners of the space:\n"
    yield from markdown.table(["corner", "corpus", "train", "if all were alike"], _corners(corpus, train))
    yield "## Metres of songs\n"
    yield from _shares(Counter(items.metres.values()))
    for name, head in _CAPTION_FIELDS.items():
        yield f"## {head} of captions\n"
        yield from _shares(items.captions[name])
    yield "## Licences of songs\n"
    yield from _shares(Counter(items.licences.values()))
    yield "## Refused files\n"
    yield from _shares(reasons, most=_REASONS)


def _shares(counted: Counter[str], most: int | None = None) -> Iterator[str]:
    total = counted.total()
    rows = [(name, count, f"{count / total:.1%}") for name, count in counted.most_common(most)]
    yield from markdown.table(["", "count", "share"], rows) if rows else ["none\n"]


def _kind(reason: str) -> str:
    """A reason of refusal without what is particular to the file."""
    return _PARTICULAR.sub("", reason).rstrip(".")


def _corners(corpus: Measured, train: Measured) -> Iterator[list[str]]:
    for name, corner in _CORNERS.items():
        inside = [part.corners[name] / part.count for part in (corpus, train)]
        alike = 3.0 ** -len(corner)  # each axis has three thirds
        yield [name, *(f"{share:.2%}" for share in (*inside, alike))]


def _draw(path: Path, corpus: Measured, train: Measured) -> None:
    figure = new_figure(13, 5.6)
    for axes, axis in zip(figure.subplots(2, 4).flat, AXES, strict=True):
        both = [part.values[axis] for part in (corpus, train)]
        low, high = np.quantile(both[0], (0.002, 0.998))
        edges = np.linspace(low, max(high, low + 1e-3), _BINS + 1).tolist()
        grey, blue = (np.full(len(values), 1 / max(1, len(values))) for values in both)  # shares, not counts
        axes.hist(both[0], edges, weights=grey, color=PALE, alpha=0.5, label="corpus")
        axes.hist(both[1], edges, weights=blue, histtype="step", color=_TRAIN, linewidth=1.4, label="train")
        axes.set_title(axis, color=INK, fontsize=10)
        axes.set_xlabel(ATTRIBUTES[axis].unit, color=INK, fontsize=8)
        axes.set_yticks([])
        axes.tick_params(labelsize=7, colors=INK)
    figure.axes[0].legend(fontsize=8, frameon=False, loc="upper right")
    save(figure, path)
