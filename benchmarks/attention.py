"""The whole song at once: against dense attention, and the memory that it takes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import torch

from benchmarks.dense import dense, language_loss
from benchmarks.material import full_size, linear_layers, size, song
from benchmarks.measure import Figure, Options, Row, alternately

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from fairseq_meloformer.museformer import MuseFormer


def forward(options: Options) -> Iterator[Row]:
    """A forward pass against dense masked attention."""
    model = full_size(options)
    for length in (200, 400) if options.quick else (1024, 2048, 4096, 8192):
        tokens = song(length)[None]
        times = alternately(
            {
                "ours": lambda: _pass(model, tokens),  # noqa: B023  called at once
                "dense": lambda: _dense(model, tokens),  # noqa: B023
                "bare": torch.no_grad()(_products(model, length)),
            },
            options.repeats(1 if length > 4096 else 3),
        )
        ratio = times["dense"].median / times["ours"].median
        least = 5 if length == 8192 else 1
        yield Row(
            f"forward pass, {length} tokens, {size(model)}",
            times["ours"],
            "s",
            "dense masked attention",
            times["dense"],
            ratio,
            f"at least {least} times as fast",
            ratio >= least,
        )
        yield _of_bare(f"the same, {length} tokens, {size(model)}", times)


def _of_bare(what: str, times: Mapping[str, Figure]) -> Row:
    """What no attention can be faster than."""
    ratio = times["ours"].median / times["bare"].median
    return Row(what, times["ours"], "s", "products with the weights alone", times["bare"], ratio)


def _products(model: MuseFormer, length: int) -> Callable[[], Tensor]:
    """A function that multiplies so many rows with each matrix of the model, once."""
    layers = linear_layers(model)
    inputs = [torch.randn(length, layer.in_features, requires_grad=True) for layer in layers]

    def multiply() -> Tensor:
        products = [layer(rows).sum() for layer, rows in zip(layers, inputs, strict=True)]
        return torch.stack(products).sum()

    return multiply


def _pass(model: MuseFormer, tokens: Tensor) -> None:
    with torch.no_grad():
        model(tokens)


def _dense(model: MuseFormer, tokens: Tensor) -> None:
    with dense(), torch.no_grad():
        model(tokens)


def training(options: Options) -> Iterator[Row]:
    """A training step, forward and backward, against dense masked attention."""
    model = full_size(options).train()
    length = 300 if options.quick else 4096
    tokens = song(length)[None]

    def step() -> None:
        model.zero_grad()
        language_loss(model, tokens).backward()

    def dense_step() -> None:
        with dense():
            step()

    products = _products(model, length)
    functions = {"ours": step, "dense": dense_step, "bare": lambda: products().backward()}
    times = alternately(functions, options.repeats(2))
    ratio = times["dense"].median / times["ours"].median
    yield Row(
        f"training step, {length} tokens, {size(model)}",
        times["ours"],
        "s",
        "dense masked attention",
        times["dense"],
        ratio,
        "at least 3 times as fast",
        ratio >= 3,
    )
    yield _of_bare(f"the same step, {length} tokens, {size(model)}", times)


def memory(options: Options) -> Iterator[Row]:
    """Peak memory of a forward pass, each length in a process of its own."""
    lengths = (200, 400, 800, 1600) if options.quick else (2048, 4096, 8192, 16384)
    peaks = []
    for length in lengths:
        command = [sys.executable, "-m", "benchmarks.peak", str(length), *(["--quick"] if options.quick else [])]
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))  # noqa: S603
        yield Row(f"memory of a forward pass, {length} tokens", Figure.of([peaks[-1]]), "MB")
    # Linear growth: twice the length costs twice as much more.
    growth = (peaks[3] - peaks[2]) / max(peaks[2] - peaks[1], 1e-9)
    what = f"growth of memory {lengths[2]} -> {lengths[3]} against {lengths[1]} -> {lengths[2]}"
    yield Row(what, Figure.of([growth]), "times", target="linear: 2 (quadratic: 4)", met=growth < 2.5)
