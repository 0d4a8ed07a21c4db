"""A debug bridge and songs for the tests of the bridge."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from fairseq_meloformer.bridge import Bridge, BridgeConfig
from fairseq_meloformer.bridge.network import SIZES
from fairseq_meloformer.bridge.objective import Batch
from fairseq_meloformer.bridge.process import BridgeProcess
from fairseq_meloformer.encoders.registry import DummyEncoder

LAYERS, DIM, TEXT_DIM = 2, 6, 12


def small_bridge(
    *, process: BridgeProcess | None = None, stirred: bool = False, encoder: bool = True, **settings: object
) -> Bridge:
    """A debug bridge; stirred, its zero-initialised layers are not zero any more."""
    torch.manual_seed(0)
    config = BridgeConfig(
        LAYERS,
        DIM,
        TEXT_DIM,
        network=SIZES["debug"],
        process=process or BridgeProcess(),
        most_bars=16,
        encoder=f"dummy:{TEXT_DIM}",
        encoder_identity=f"dummy:{TEXT_DIM}",
    )
    bridge = Bridge(
        dataclasses.replace(config, **settings),  # type: ignore[arg-type]
        DummyEncoder(TEXT_DIM) if encoder else None,
    ).eval()
    if stirred:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in bridge.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return bridge


def songs(bridge: Bridge, texts: Sequence[str], bars: Sequence[int], seed: int = 0) -> Batch:
    """Random songs."""
    generator = torch.Generator().manual_seed(seed)
    summaries = torch.randn(len(texts), max(bars), LAYERS, DIM, generator=generator)
    return Batch(summaries, torch.tensor(bars), bridge.encoder.encode(texts), list(range(len(texts))))


def rows(batch: Batch, chosen: Sequence[int]) -> Batch:
    """Some songs of a batch, with less padding if they are shorter."""
    index = torch.tensor(chosen)
    bars = batch.bars[index]
    text = type(batch.text).pad([batch.text.texts()[number] for number in chosen])
    return Batch(batch.summaries[index, : int(bars.max())], bars, text, [batch.seeds[number] for number in chosen])


def close(left: Tensor, right: Tensor) -> None:
    """Equal up to what a different batch does to float32 sums."""
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)
