"""One token after the other: against the bare weights, against no cache, and from short songs to long ones."""

from __future__ import annotations

import copy
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from benchmarks.dense import language_loss
from benchmarks.material import embedded, full_size, held_out, linear_layers, reads, size, song
from benchmarks.measure import Figure, Options, Row, alternately, seconds
from fairseq_meloformer.museformer.cache import DecodingCache
from fairseq_meloformer.museformer.precision import PRECISIONS, convert
from fairseq_meloformer.museformer.sampling import Sampling, generate
from fairseq_meloformer.museformer.uncached import UncachedDecoding
from fairseq_meloformer.tokens import vocabulary
from fairseq_meloformer.tokens.grammar import Grammar, Limits
from fairseq_meloformer.tokens.vocabulary import BAR_END

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from fairseq_meloformer.museformer import MuseFormer

STEPS = 100  # a bar


class Stream:
    """A decoding that has read the beginnings of some songs, and goes on with what follows in them."""

    def __init__(self, model: MuseFormer, songs: Tensor, begun: int) -> None:
        self._songs, self._place = songs, begun
        self._decoding = DecodingCache(model, songs[:, :begun])

    def go_on(self, steps: int) -> None:
        """Decode so many tokens of every song."""
        for place in range(self._place, self._place + steps):
            self._decoding.step(self._songs[:, place])
        self._place += steps


def _songs(number: int, length: int, options: Options, *, even: bool = False) -> Tensor:
    return torch.stack([song(length, seed, even=even, device=options.device) for seed in range(number)])


def streams(options: Options) -> Iterator[Row]:
    """Single stream and batch of 16 at the published size, beside one pass over the bare weights."""
    model = full_size(options)
    begun, repeats, steps = (150, 2, 5) if options.quick else (1000, 10, 20)
    length = begun + repeats * steps
    single, batch = (Stream(model, _songs(number, length, options), begun) for number in (1, 16))
    matrices = [layer.weight for layer in linear_layers(model)]
    vectors = [torch.randn(matrix.shape[1], device=options.device) for matrix in matrices]
    rows = [torch.randn(16, matrix.shape[1], device=options.device) for matrix in matrices]
    kept = torch.ones(sum(reads(model, _bars(begun, seed))[-1] for seed in range(16)), device=options.device)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(steps):
            for matrix, vector in zip(matrices, vectors, strict=True):
                torch.mv(matrix, vector)

    @torch.inference_mode()
    def bare_batch() -> None:
        for _ in range(steps):
            kept.sum()
            for matrix, row in zip(matrices, rows, strict=True):
                functional.linear(row, matrix)

    bare()
    functions = {
        "bare": bare,
        "bare batch": bare_batch,
        "single": lambda: single.go_on(steps),
        "batch": lambda: batch.go_on(steps),
    }
    times = alternately(functions, repeats)
    milliseconds = {name: figure.mapped(lambda value: 1e3 * value / steps) for name, figure in times.items()}
    ratio = times["single"].median / times["bare"].median
    yield Row(
        f"single stream at {begun} tokens, {size(model)}",
        milliseconds["single"],
        "ms a token",
        "bare weights, once with a vector",
        milliseconds["bare"],
        ratio,
        "at most 2.5 times as long",
        ratio <= 2.5,
    )
    rates = {
        name: times[name].mapped(lambda value: number * steps / value)  # noqa: B023  called at once
        for name, number in (("single", 1), ("batch", 16))
    }
    ratio = rates["batch"].median / rates["single"].median
    yield Row(
        f"batch of 16 at {begun} tokens, {size(model)}",
        rates["batch"],
        "tokens/s",
        "single stream",
        rates["single"],
        ratio,
        "at least 8 times as many",
        ratio >= 8,
    )
    yield Row(
        f"the same batch, {size(model)}",
        milliseconds["batch"],
        "ms a step",
        "bare weights with 16 vectors, and what is read of keys and values once",
        milliseconds["bare batch"],
        times["batch"].median / times["bare batch"].median,
    )


def _bars(length: int, seed: int) -> list[int]:
    """Tokens in each bar of the beginning of a made-up song."""
    ends = [-1, *(song(length, seed) == BAR_END).nonzero()[:, 0].tolist(), length - 1]
    return [last - first for first, last in pairwise(ends) if last > first]


def batch(options: Options) -> Iterator[Row]:
    """A batch of the model that ships with sampling and grammar, for as long as all of its songs go on."""
    model = embedded(options)
    number, length = (4, 30) if options.quick else (32, 800)
    grammar = Grammar(vocabulary.published(), empty_bars=False)

    def draw() -> None:
        grammar.start(number, limits=Limits(bars=[length] * number))
        generate(model, [[]] * number, Sampling(max_tokens=length), grammar=grammar)

    times = Figure.of([seconds(draw) for _ in range(options.repeats(2))])
    rate = times.mapped(lambda value: number * length / value)
    yield Row(
        f"first {length} tokens of {number} songs, sampled with grammar, {size(model)}",
        rate,
        "tokens/s",
        target="at least 3000 tokens/s",
        met=rate.median >= 3000,
    )


def lengths(options: Options) -> Iterator[Row]:
    """Time per token against length, with and without a cache; also a picture."""
    model = full_size(options)
    places = (64, 128, 256, 512) if options.quick else (125, 250, 500, 1000, 2000, 4000, 8000, 16000)
    repeats, steps = options.repeats(3), 10 if options.quick else STEPS
    songs = _songs(1, places[-1] + repeats * steps, options, even=True)
    cached = {place: Stream(model, songs, place) for place in places}
    ours = alternately({place: lambda s=stream: s.go_on(steps) for place, stream in cached.items()}, repeats)
    ours = {place: figure.mapped(lambda value: 1e3 * value / steps) for place, figure in ours.items()}
    theirs = {}
    for place in places:
        if place <= 4000:
            times = [seconds(lambda: UncachedDecoding(model, songs[:, :place])) for _ in range(options.repeats(3))]  # noqa: B023
            theirs[place] = Figure.of(times).mapped(lambda value: 1e3 * value)
    for place in places:
        baseline = {"baseline": "uncached", "theirs": theirs[place]} if place in theirs else {}
        ratio = theirs[place].median / ours[place].median if place in theirs else None
        yield Row(f"token {place}, {size(model)}", ours[place], "ms", ratio=ratio, **baseline)
    short = 1000 if 1000 in places else places[0]
    ratio = ours[places[-1]].median / ours[short].median
    yield Row(
        f"time per token at {places[-1]}",
        ours[places[-1]],
        "ms",
        f"at {short}",
        ours[short],
        ratio,
        "at most 1.3 times as long",
        ratio <= 1.3,
    )
    _draw(ours, theirs, options.picture)


def _draw(ours: dict[int, Figure], theirs: dict[int, Figure], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415  the other benchmarks need not wait for it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for values, colour, label in (
        (theirs, "#b5564a", "a full forward pass for every token"),
        (ours, "#2f6f8f", "MeloFormer's exact cache"),
    ):
        places = sorted(values)
        axes.plot(places, [values[place].median for place in places], "o-", color=colour)
        low, high = ([getattr(values[place], name) for place in places] for name in ("low", "high"))
        axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.annotate(
            label, (places[-1], values[places[-1]].median), (0, 9), textcoords="offset points", ha="right", color=colour
        )
    axes.set(xscale="log", yscale="log", xlabel="tokens in the song so far", ylabel="milliseconds per token")
    axes.set_ylim(top=axes.get_ylim()[1] * 2)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def precision(options: Options) -> Iterator[Row]:
    """bfloat16 and int8 against float32: speed at the published size, perplexity of the model that ships."""
    model = full_size(options)
    begun, repeats, steps = (150, 2, 5) if options.quick else (300, 3, 10)
    precisions = [name for name in PRECISIONS if name != "int8" or options.device == "cpu"]
    for number in (1, 16):
        songs = _songs(number, begun + repeats * steps, options)
        all_streams = {name: Stream(convert(copy.deepcopy(model), name), songs, begun) for name in precisions}
        functions = {name: lambda s=stream: s.go_on(steps) for name, stream in all_streams.items()}
        times = alternately(functions, repeats)
        rates = {name: figure.mapped(lambda value: number * steps / value) for name, figure in times.items()}  # noqa: B023
        for name in precisions[1:]:
            ratio = rates[name].median / rates["float32"].median
            what = f"{name}, {'single stream' if number == 1 else f'batch of {number}'}, {size(model)}"
            yield Row(what, rates[name], "tokens/s", "float32", rates["float32"], ratio)
    with tempfile.TemporaryDirectory() as scratch:
        songs = list(held_out(options, Path(scratch), *((2, 100) if options.quick else (8, 1024))))
    plain = _perplexity(embedded(options), songs)
    for name in precisions[1:]:
        found = _perplexity(convert(embedded(options), name), songs)
        what = f"{name}, perplexity of museformer-mini, {len(songs)} held-out songs"
        yield Row(what, Figure.of([found]), "", "float32", Figure.of([plain]), found / plain)


@torch.no_grad()
def _perplexity(model: MuseFormer, songs: list[Tensor]) -> float:
    """Of all next tokens of all songs."""
    total = sum(float(language_loss(model, tokens[None])) * (len(tokens) - 1) for tokens in songs)
    return float(torch.tensor(total / sum(len(tokens) - 1 for tokens in songs)).exp())
