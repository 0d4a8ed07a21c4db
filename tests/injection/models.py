"""A debug MuseFormer and a bridge for it, for tests that need both and golden numbers of neither."""

from dataclasses import replace

import torch

from fairseq_meloformer.bridge import Bridge, BridgeConfig
from fairseq_meloformer.bridge.network import SIZES
from fairseq_meloformer.museformer import MuseFormer, MuseFormerConfig
from fairseq_meloformer.tokens import vocabulary

LAYERS, DIM = 2, 32


def museformer(**settings: object) -> MuseFormer:
    torch.manual_seed(0)
    sizes = {"layers": LAYERS, "dim": DIM, "ffn_dim": 64, "heads": 2, "token_dim": 32, "bar_dim": 8, "beat_dim": 8}
    sha256 = vocabulary.published().sha256
    return MuseFormer(MuseFormerConfig(**{**sizes, "vocabulary_sha256": sha256, **settings})).eval()


def bridge(layers: int = LAYERS, **settings: object) -> Bridge:
    torch.manual_seed(0)
    config = BridgeConfig(layers, DIM, 12, network=SIZES["debug"], most_bars=8, encoder="dummy:12")
    made = Bridge(replace(config, **settings)).eval()  # type: ignore[arg-type]
    for parameter in made.parameters():  # a fresh bridge begins with zeros, and so does not hear the text
        torch.nn.init.normal_(parameter, std=0.3)
    return made
