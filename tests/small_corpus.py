"""A few songs as `meloformer prepare` leaves them, a debug MuseFormer, and the store of its summaries."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from injection.models import museformer

from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.summaries.extraction import fingerprint, finish
from fairseq_meloformer.summaries.store import StoreHeader
from fairseq_meloformer.summaries.writer import StoreWriter
from fairseq_meloformer.tokens.vocabulary import BOS, published

SONGS = {"train": 12, "valid": 6}


@dataclass(frozen=True)
class Prepared:
    """Where everything is."""

    museformer: Path
    songs: Path
    store: Path


def _song(generator: random.Random, bars: int, *, high: bool) -> list[str]:
    tokens = []
    for _ in range(bars):
        tokens += [f"t-{generator.randint(20, 40)}", "o-0", "i-0"]
        for _ in range(generator.randint(1, 3)):
            tokens += [f"p-{generator.randint(70, 80) if high else generator.randint(40, 50)}", "d-6", "v-20"]
        tokens.append("b-1")
    return tokens


def prepare(folder: Path) -> Prepared:
    """High songs and low ones of 2 to 5 bars, captioned so."""
    model = museformer()
    model.save_pretrained(folder / "museformer")
    config = model.config
    header = StoreHeader(fingerprint(model), config.vocabulary_sha256, config.layers, config.dim)
    generator = random.Random(0)
    for subset, count in SONGS.items():
        lines, rows = [], []
        with StoreWriter(folder / "store", subset, header) as writer:
            for index in range(count):
                high = index % 2 == 0
                tokens = _song(generator, 2 + index % 4, high=high)
                row = {"id": f"{subset}{index}", "captions": [{"text": "high" if high else "low"}]}
                row["attributes"] = measure(tokens)
                lines.append(" ".join(tokens))
                rows.append(json.dumps(row))
                with torch.no_grad():
                    summaries, _ = model.summaries(torch.tensor([[BOS, *published().ids(tokens)]]))
                writer.put(row["id"], summaries[0], row)
        (folder / f"{subset}.tokens").write_text("".join(f"{line}\n" for line in lines))
        (folder / f"{subset}.items.jsonl").write_text("".join(f"{row}\n" for row in rows))
        finish(folder / "store", subset, [f"{subset}{index}" for index in range(count)])
    return Prepared(folder / "museformer", folder, folder / "store")
