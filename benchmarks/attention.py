"""The whole song at once: against dense attention, and the memory that it takes."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from benchmarks.by_segment import by_segment
from benchmarks.dense import dense, language_loss
from benchmarks.material import full_size, linear_layers, size, song
from benchmarks.measure import Figure, Options, Row, alternately
from fairseq_meloformer.injection.plan_training import PlanTraining
from fairseq_meloformer.museformer import MuseFormer, MuseFormerConfig
from fairseq_meloformer.museformer.precision import autocast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from benchmarks.dense import Masks


def forward(options: Options) -> Iterator[Row]:
    """A forward pass against dense masked attention."""
    model = full_size(options)
    for length in (200, 400) if options.quick else (1024, 2048, 4096, 8192):
        tokens = song(length, device=options.device)[None]
        masks: Masks = {}
        _pass(model, tokens)
        _dense(model, tokens, masks)  # makes them
        times = alternately(
            {
                "ours": lambda: _pass(model, tokens),  # noqa: B023  called at once
                "dense": lambda: _dense(model, tokens, masks),  # noqa: B023
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
    inputs = [
        torch.randn(length, layer.in_features, device=layer.weight.device, requires_grad=True) for layer in layers
    ]

    def multiply() -> Tensor:
        products = [layer(rows).sum() for layer, rows in zip(layers, inputs, strict=True)]
        return torch.stack(products).sum()

    return multiply


def _pass(model: MuseFormer, tokens: Tensor) -> None:
    with torch.no_grad():
        model(tokens)


def _dense(model: MuseFormer, tokens: Tensor, masks: Masks) -> None:
    with dense(masks), torch.no_grad():
        model(tokens)


def training(options: Options) -> Iterator[Row]:
    """A training step, forward and backward, against dense masked attention."""
    model = full_size(options).train()
    length = 300 if options.quick else 4096
    tokens = song(length, device=options.device)[None]
    masks: Masks = {}

    def step() -> None:
        model.zero_grad()
        language_loss(model, tokens).backward()

    def dense_step() -> None:
        with dense(masks):
            step()

    products = _products(model, length)
    functions = {"ours": step, "dense": dense_step, "bare": lambda: products().backward()}
    step()
    dense_step()  # makes the masks
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


def rate(options: Options) -> Iterator[Row]:
    """Tokens a second of plan training: of three batches one without plans, and two with plans that learn too."""
    length, songs = (200, 2) if options.quick else (1536, 2)
    tokens = torch.stack([song(length, seed, device=options.device) for seed in range(songs)])
    for dim, heads in ((32, 2),) if options.quick else ((160, 4), (384, 6), (512, 8)):
        model = _trained(dim, heads).to(options.device)
        functions = {name: partial(_steps, model, tokens, old=name == "old") for name in ("ours", "old")}
        times = alternately(functions, options.repeats(3))
        rates = {name: figure.mapped(lambda value: 3 * tokens.numel() / value) for name, figure in times.items()}
        ratio = rates["ours"].median / rates["old"].median
        yield Row(
            f"plan training in passages of {length} tokens, {size(model)}",
            rates["ours"],
            "tokens/s",
            "attention by segment, float32",
            rates["old"],
            ratio,
            "at least 1.3 times as many, 2.5 times in bfloat16",
            ratio >= 1.3,
        )


def _trained(dim: int, heads: int) -> MuseFormer:
    torch.manual_seed(0)
    widths = {"dim": dim, "ffn_dim": 4 * dim, "token_dim": dim, "bar_dim": dim // 2, "beat_dim": dim // 4}
    return MuseFormer(MuseFormerConfig(heads=heads, **widths, dropout=0, attention_dropout=0, ahead=1)).train()


def _steps(model: MuseFormer, tokens: Tensor, *, old: bool) -> None:
    recipe = PlanTraining(through=True)
    for planned in (False, True, True):
        model.zero_grad()
        with (
            by_segment() if old else autocast(tokens.device),
            recipe.injected(model, *recipe.plan(model, tokens)) if planned else nullcontext(),
        ):
            loss = functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
        loss.backward()


def memory(options: Options) -> Iterator[Row]:
    """Peak memory of a forward pass, each length in a process of its own."""
    lengths = (200, 400, 800, 1600) if options.quick else (2048, 4096, 8192, 16384)
    peaks = []
    for length in lengths:
        command = [sys.executable, "-m", "benchmarks.peak", str(length), "--device", options.device]
        command += ["--quick"] if options.quick else []
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))  # noqa: S603
        yield Row(f"memory of a forward pass, {length} tokens", Figure.of([peaks[-1]]), "MB")
    # Linear growth: twice the length costs twice as much more.
    growth = (peaks[3] - peaks[2]) / max(peaks[2] - peaks[1], 1e-9)
    what = f"growth of memory {lengths[2]} -> {lengths[3]} against {lengths[1]} -> {lengths[2]}"
    yield Row(what, Figure.of([growth]), "times", target="linear: 2 (quadratic: 4)", met=growth < 2.5)
