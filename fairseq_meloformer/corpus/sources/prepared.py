"""Passages of prepared data, and captions of what was measured in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fairseq_meloformer.corpus.sources.rows import CaptionRow, Report, require
from fairseq_meloformer.corpus.splits import SPLITS
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import read_jsonl
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.words import captions as wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class PreparedPassage:
    """Some bars of a song and what was measured in them."""

    id: str
    path: str
    bars: tuple[int, int]
    title: str
    attributes: dict[str, Any]


def passages(data: Path, report: Report) -> Iterator[PreparedPassage]:
    """Passages that `meloformer prepare` has written to DATA, but for those without anything to describe.

    Raises:
        InputError: if there are none, or rows are not in that form.
    """
    files = [path for split in SPLITS if (path := data / f"{split}.items.jsonl").is_file()]
    if not files:
        raise InputError(
            f"{data} must be a folder that `meloformer prepare` has written, with train.items.jsonl; there is none"
        )
    for path in files:
        for row in read_jsonl(path):
            report.read += 1
            require(row, ("id", "path", "bars", "attributes"), str(path))
            if any(axis in row["attributes"] for axis in AXES):
                first, end = row["bars"]
                yield PreparedPassage(row["id"], row["path"], (first, end), row.get("title", ""), row["attributes"])
            else:
                report.drop("nothing measured")


def quantiles(data: Path) -> Quantiles:
    """What counts as fast or high in this data."""
    return Quantiles.load(data / "quantiles.json")


def measured(found: Iterable[PreparedPassage], corpus: Quantiles, count: int, seed: int) -> Iterator[CaptionRow]:
    """`count` captions of every passage in the words of the lexicon; no two passages share one.

    Raises:
        InputError: if a passage cannot be described.
    """
    captioner = wording.Captioner(corpus)
    taken: set[str] = set()
    for passage in found:
        item = f"{seed}/{passage.id}"
        for caption in captioner.captions(passage.attributes, item=item, count=count, taken=taken):
            yield CaptionRow(
                passage.path,
                passage.bars,
                caption.text,
                caption.lang,
                wording.SOURCE,
                wording.LICENCE,
                passage.attributes,
            )


def facts(passage: PreparedPassage, corpus: Quantiles) -> str:
    """What was measured, as JSON: values in their units, and where they lie in the corpus from -1 to 1."""
    places = {name: round(place, 2) for name, place in corpus.positions(passage.attributes).items()}
    values = {
        name: round(value, 2) if isinstance(value, float) else value for name, value in passage.attributes.items()
    }
    return json.dumps({"measured": values, "place_in_corpus": places}, ensure_ascii=False, sort_keys=True)
