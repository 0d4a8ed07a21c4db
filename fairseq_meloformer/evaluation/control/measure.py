"""Composing for reports: conditions of an experiment, cut into chunks that are composed together, measured and kept.

A chunk is the unit of work and of resumption. Its id is a hash of everything that shapes its pieces, so that the same
command goes on where it was stopped, and another one in the same folder finds again what both have in common.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from fairseq_meloformer import hub, midi
from fairseq_meloformer.bridge import checkpoints as bridges
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.full_system import DecodingControl
from fairseq_meloformer.composing.piece import Piece, Settings
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation import oracle
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.stamps import sha256_file
from fairseq_meloformer.words.probe import Probe
from fairseq_meloformer.words.prompts import Request, seed_of
from fairseq_meloformer.words.timeline import read_timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fairseq_meloformer.museformer.config import Scope
    from fairseq_meloformer.museformer.sampling import Sampling

WINDOW: Final = 2
"""Bars of the windows in which pieces are measured beside the whole."""
SPANS: Final = ((0, 4), (8, 16), (0, 8))
"""Further passages that are measured, where a piece is long enough."""

Row = dict[str, Any]
Span = tuple[int, int]
"""A bar, from 0, and the one after the last."""


@dataclass(frozen=True)
class Setup:
    """What all pieces of a report share. Paths, and settings that no condition changes."""

    model: str
    bridge: str
    probe: str
    sampling: Sampling
    guidance_scale: float
    nfe: int
    tilt: float
    best_of: int
    batch: int
    device: str
    folder: str
    songs: str = ""

    def identity(self, condition: Condition | None = None) -> Row:
        """What of it shapes pieces, of one condition or of any; what it does not use is no reason to compose anew."""
        unused = {"batch", "folder"}
        if condition is not None:
            unused |= set() if condition.full else {"tilt", "best_of"}
            # Bridges may be told in numbers what the probe reads.
            unused |= set() if condition.arm == "text" or condition.full else {"probe"}
            unused |= set() if condition.arm == "oracle" else {"songs"}
            unused |= {"bridge", "guidance_scale", "nfe"} if condition.arm == "none" else set()
        shaping = {name: value for name, value in dataclasses.asdict(self).items() if name not in unused}
        for name in {"model", "bridge", "probe"} & set(shaping):
            shaping[name] = _identity(shaping[name])
        return shaping


@dataclass(frozen=True)
class Condition:
    """One way of composing.

    Attributes:
        arm: "text", "none" (no injection) or "oracle" (the plan of a real song); decoding control hears the text in
            "none" too.
        full: whether decoding is controlled.
        scope: where the plan acts; the model's own if None.
        layers: which layers; all if None.
        strength: of the injection.
        bars: of each piece; None where the text says it.
    """

    arm: str
    bars: int | None
    full: bool = False
    scope: Scope | None = None
    layers: tuple[int, ...] | None = None
    strength: float = 1.0

    @property
    def name(self) -> str:
        """For folders and logs: text-full-plan-0.1-x0.5-16."""
        parts = [
            self.arm,
            "full" if self.full else "bridge",
            self.scope or "own",
            "all" if self.layers is None else ".".join(map(str, self.layers)),
            f"x{self.strength:g}",
            "free" if self.bars is None else str(self.bars),
        ]
        return "-".join(parts)


@dataclass(frozen=True)
class WantedPiece:
    """A piece that is wanted: of which prompt and seed, and in the oracle arm after which song."""

    prompt: str
    text: str
    seed: int
    song: str = ""


@dataclass(frozen=True)
class Chunk:
    """Pieces of one condition that are composed together."""

    id: str
    setup: Setup
    condition: Condition
    items: tuple[WantedPiece, ...]
    quantiles: str = field(default="", compare=False)
    spans: tuple[Span, ...] = ()


def chunks(
    setup: Setup,
    condition: Condition,
    items: Sequence[WantedPiece],
    quantiles: Path | None = None,
    spans: Sequence[Span] = (),
) -> Iterator[Chunk]:
    """Cut a condition into chunks of at most `setup.batch` songs at once, candidates included.

    Args:
        setup: of the report.
        condition: how its pieces are composed.
        items: the pieces.
        quantiles: by which the full system chooses.
        spans: bars that are to be measured, besides those that always are.
    """
    further = tuple(span for span in spans if span not in SPANS and not _is_window(span))
    together = max(1, setup.batch // (setup.best_of if condition.full else 1))
    shaping: Row = {"setup": setup.identity(condition), "condition": dataclasses.asdict(condition)}
    if condition.full and quantiles is not None:
        shaping["quantiles"] = sha256_file(quantiles)
    if further:
        shaping["spans"] = further
    for first in range(0, len(items), together):
        part = tuple(items[first : first + together])
        rows = [dataclasses.asdict(item) for item in part]
        digest = hashlib.sha256(json.dumps([shaping, rows], sort_keys=True).encode()).hexdigest()
        yield Chunk(f"{condition.name}-{digest[:12]}", setup, condition, part, str(quantiles or ""), further)


def compose(chunk: Chunk, threads: int | None = None) -> Row:
    """Compose and measure a chunk, write its MIDI files, and return its row for the log.

    Args:
        chunk: what to compose.
        threads: of this process; several processes on a few cores are fastest with one each.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    began = time.perf_counter()
    composer = _composer(chunk.setup)
    requests = [
        Request(
            item.text,
            seed=seed_of(item.seed, item.prompt, 0),
            bars=chunk.condition.bars,
            sections=read_timeline(item.text),
        )
        for item in chunk.items
    ]
    settings = Settings(
        sampling=chunk.setup.sampling,
        injected=chunk.condition.arm != "none",
        scope=chunk.condition.scope,
        layers=chunk.condition.layers,
        strength=chunk.condition.strength,
        guidance_scale=chunk.setup.guidance_scale,
        nfe=chunk.setup.nfe,
    )
    if chunk.condition.arm == "oracle":
        source = oracle.source(chunk.setup.songs)
        plan = oracle.padded([source.plan(item.song, composer.model) for item in chunk.items], chunk.condition.bars)
        pieces = composer.compose(requests, settings, plan)
    elif chunk.condition.full:
        pieces = _full_system(chunk.setup, chunk.quantiles).compose(requests, settings)
    else:
        pieces = composer.compose(requests, settings)
    rows = [_row(chunk, item, piece) for item, piece in zip(chunk.items, pieces, strict=True)]
    return {"seconds": round(time.perf_counter() - began, 2), "pieces": rows}


def _row(chunk: Chunk, item: WantedPiece, piece: Piece) -> Row:
    path = Path("pieces") / chunk.id / f"{item.prompt}-{item.seed}.mid"
    midi.write(piece.midi, Path(chunk.setup.folder) / path)
    song = Song(piece.midi)
    whole = measure(song)
    spans = [(first, first + WINDOW) for first in range(0, song.bars - WINDOW + 1, WINDOW)]
    further = [*SPANS, *((section.first - 1, section.last) for section in piece.request.sections), *chunk.spans]
    spans += [span for span in further if span[1] <= song.bars]
    return {
        "prompt": item.prompt,
        "seed": item.seed,
        "tokens": len(piece.tokens),
        "midi": str(path),
        "attributes": whole,
        "spans": {span_name(span): measure(song, *span) for span in spans},
        **({"full_system": dict(piece.about)} if piece.about else {}),
    }


def _is_window(span: Span) -> bool:
    return span[1] - span[0] == WINDOW and span[0] % WINDOW == 0


def span_name(span: Span) -> str:
    """Bars of a span, counted from 1, both included: "1-4"."""
    return f"{span[0] + 1}-{span[1]}"


@lru_cache(maxsize=1)
def _composer(setup: Setup) -> Composer:
    """Models of a worker process, loaded for its first chunk."""
    model = MuseFormer.from_pretrained(setup.model).to(setup.device)
    bridge = bridges.load(setup.bridge, setup.device)
    bridge.read_with(_probe(setup.probe))
    return Composer(model, bridge)


@lru_cache(maxsize=1)
def _full_system(setup: Setup, quantiles: str) -> Composer:
    plain = _composer(setup)
    control = DecodingControl(_probe(setup.probe), Quantiles.load(quantiles), setup.tilt, setup.best_of)
    return Composer(plain.model, plain.bridge, control)


@lru_cache(maxsize=1)
def _probe(path: str) -> Probe:
    """What reads prompts, for the bridge and the full system."""
    return Probe.from_pretrained(path)


@lru_cache(maxsize=8)
def _identity(path: str) -> str:
    """Hash of a model's weights."""
    weights = hub.local(path)
    if weights.is_dir():
        weights /= "model.safetensors"
    if not weights.is_file():
        raise InputError(f"{path} must be a model (a folder with model.safetensors, or a checkpoint); there is none")
    return sha256_file(weights)
