"""What ships, from a sentence to MIDI: many songs, one song, the first bar, and the plan alone."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch

from benchmarks.material import embedded, reading_speed, reads, size, song
from benchmarks.measure import Figure, Options, Row, alternately, seconds
from fairseq_meloformer import midi
from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.piece import Piece, Settings
from fairseq_meloformer.museformer.uncached import UncachedDecoding
from fairseq_meloformer.pretrained import BRIDGE
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.prompts import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = Settings()
TEXTS = ("暴风雨", "a slow lullaby, high and soft", "江南烟雨", "a night train through snow")


def compose(options: Options) -> Iterator[Row]:
    """The embedded default: 32 songs at once, one song, one bar; models are loaded before."""
    composer = Composer(embedded(options), Bridge.from_pretrained(BRIDGE, device=options.device))
    songs, bars = (2, 2) if options.quick else (32, 32)
    requests = [Request(text, seed=seed, bars=bars) for seed, text in enumerate(islice(cycle(TEXTS), songs))]
    composer.bridge.plan([TEXTS[0]], 2)  # loads the text encoder
    made: list[Piece] = []

    def run(wanted: list[Request]) -> None:
        made[:] = composer.compose(wanted, DEFAULT)
        with tempfile.TemporaryDirectory() as folder:
            for number, piece in enumerate(made):
                midi.write(piece.midi, Path(folder) / f"{number}.mid")

    time = seconds(lambda: run(requests))  # once: it takes long, and is made of some ten thousand steps
    tokens = sum(len(piece.tokens) for piece in made)
    rate = Figure.of([tokens / time])
    numbers = sum(sum(reads(composer.model, list(map(len, remi.bars(piece.tokens))))) for piece in made)
    reading = numbers / reading_speed(options.device) / songs
    uncached = _uncached_seconds(composer, tokens // songs, options)
    share = 1 / uncached.median
    yield Row(
        f"{songs} songs of {bars} bars at once ({tokens} tokens), {size(composer.model)}",
        rate,
        "tokens/s",
        "uncached (from the time of a token in the middle of a song)",
        uncached.mapped(lambda value: 1 / value),
        rate.median / share,
        "at least 3000 tokens/s",
        rate.median >= 3000,
    )
    yield Row(
        "the same, for each song",
        Figure.of([time / songs]),
        "s",
        "reading what its tokens read, once, as fast as memory is",
        Figure.of([reading]),
        time / songs / reading,
        "less than 1 s",
        time < songs,
    )
    alone = [[request] for request in requests[: len(TEXTS)]]
    counts: list[int] = []

    def run_alone(wanted: list[Request]) -> float:
        time = seconds(lambda: run(wanted))
        counts.append(len(made[0].tokens))
        return time

    single = Figure.of([run_alone(wanted) for wanted in alone])
    tokens = round(median(counts))
    yield Row(
        f"a single song of {bars} bars ({tokens} tokens; one for each of {len(alone)} texts)",
        single,
        "s",
        "uncached (estimated as above)",
        uncached.mapped(lambda value: value * tokens),
        uncached.median * tokens / single.median,
        "at most 10 s",
        single.median <= 10,
    )

    def begin(wanted: list[Request]) -> None:
        """The plan of all bars, and the first of them."""
        texts = [request.text for request in wanted]
        whole = composer.bridge.plan(texts, bars, guidance_scale=DEFAULT.guidance_scale, nfe=DEFAULT.nfe)
        composer.compose([replace(request, bars=1) for request in wanted], DEFAULT, whole)

    first = Figure.of([seconds(lambda: begin(wanted)) for wanted in alone for _ in range(options.repeats(3))])  # noqa: B023  called at once
    yield Row("first bar of these, plan included", first, "s", target="less than 1 s", met=first.median < 1)


def _uncached_seconds(composer: Composer, tokens: int, options: Options) -> Figure:
    """For a token in the middle of a song."""
    middle = song(max(2, tokens // 2), device=options.device)[None]
    return Figure.of([seconds(lambda: UncachedDecoding(composer.model, middle)) for _ in range(options.repeats(3))])


def plan(options: Options) -> Iterator[Row]:
    """A plan of the bridge that ships, from text."""
    bridge = Bridge.from_pretrained(BRIDGE, device=options.device)
    bars = 4 if options.quick else 64

    def sample() -> None:
        bridge.plan([TEXTS[1]], bars, nfe=10)

    sample()
    with torch.inference_mode():
        times = alternately({"plan": sample, "text": lambda: bridge.read([TEXTS[1]])}, options.repeats(10))
    yield Row(
        f"a plan of {bars} bars in 10 steps, {size(bridge)}",
        times["plan"],
        "s",
        "reading the text alone",
        times["text"],
        target="at most 1 s",
        met=times["plan"].median <= 1,
    )
