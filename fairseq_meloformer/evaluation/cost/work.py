"""How much there is to do for so many pairs of a song and a text: the arithmetic of docs/scale.md.

A stage is so many units of work; what a unit takes is measured (`measure`), or computed from its FLOPs (`machines`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fairseq_meloformer.bridge.network import SIZES as NETWORKS
from fairseq_meloformer.museformer.arguments import ARCH, ARCHITECTURES, config_from_arguments
from fairseq_meloformer.tokens.vocabulary import published

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairseq_meloformer.bridge.network import NetworkConfig
    from fairseq_meloformer.museformer.config import MuseFormerConfig

BARS: Final = 84
TOKENS: Final = 10_140
"""Of a song: means of the 2,176 training songs that museformer-mini's corpus leaves."""

PASSAGE_BARS: Final = 19
CAPTIONS: Final = 4
"""Of a passage that a bridge learns from: means of the 8,000 of bridge-mini, and `--describe 4`."""

TOKENS_A_PARAMETER: Final = 20
EPOCHS: Final = 16
"""A MuseFormer sees 20 tokens a parameter (Hoffmann et al. 2022), a song 16 times at most (Muennighoff et al. 2023)."""

UPDATE_TOKENS: Final = 8192
TUNING_UPDATES: Final = 1740
BRIDGE_BATCH: Final = 48
BRIDGE_UPDATES: Final = 3300
"""As the scripts have them; more updates of a bridge where two epochs of its passages need more."""

TEXT_BYTES: Final = 12_000
TOKEN_BYTES: Final = 5.0 + 4.9 + 2.0
"""Of a token on disk: in songs.jsonl, in the lines of tokens and binarised."""

_ADAM_BYTES: Final = 16  # weights, gradients and two moments in float32
_CHECKPOINT_BYTES: Final = 12  # weights and two moments
_CHECKPOINTS: Final = 3  # the last, the one of the last interval, the best


@dataclass(frozen=True)
class Size:
    """A MuseFormer and the bridge that goes with it."""

    name: str
    museformer: MuseFormerConfig
    bridge: NetworkConfig


def size(name: str) -> Size:
    """mini, small or base: the architectures of these names; base is the published MuseFormer and a bridge of 100M."""
    arch, network = {"mini": (f"{ARCH}_mini", "mini"), "small": (f"{ARCH}_small", "mini"), "base": (ARCH, "base")}[name]
    return Size(name, config_from_arguments(ARCHITECTURES[arch], published()), NETWORKS[network])


NAMES: Final = ("mini", "small", "base")

STAGES: Final = {
    "prepare": "files",
    "train MuseFormer": "tokens",
    "tune it to plans": "tokens",
    "extract": "tokens",
    "encode texts": "texts",
    "train bridge": "passages",
}
"""What is counted in each stage."""


def units(pairs: int, parameters: int) -> dict[str, int]:
    """How many units of each stage so many pairs are, for a MuseFormer of so many parameters."""
    passages = pairs * BARS // PASSAGE_BARS
    updates = max(BRIDGE_UPDATES, 2 * passages // BRIDGE_BATCH)
    return {
        "prepare": pairs,
        "train MuseFormer": min(TOKENS_A_PARAMETER * parameters, EPOCHS * pairs * TOKENS),
        "tune it to plans": TUNING_UPDATES * UPDATE_TOKENS,
        "extract": pairs * TOKENS,
        "encode texts": CAPTIONS * passages,
        "train bridge": updates * BRIDGE_BATCH,
    }


def hours(work: Mapping[str, int], seconds: Mapping[str, float]) -> dict[str, float]:
    """Hours of each stage, by the seconds that a unit of it takes."""
    return {stage: count * seconds[stage] / 3600 for stage, count in work.items()}


def disk_gb(pairs: int, layers: int, dim: int, parameters: int) -> dict[str, float]:
    """GB of tokens, summaries (float32), encoded texts and checkpoints (of both models, `parameters` together)."""
    texts = CAPTIONS * pairs * BARS // PASSAGE_BARS
    found = {
        "tokens": pairs * TOKENS * TOKEN_BYTES,
        "summaries": pairs * BARS * layers * dim * 4,
        "texts": texts * TEXT_BYTES,
        "checkpoints": _CHECKPOINTS * _CHECKPOINT_BYTES * parameters,
    }
    return {name: count / 1e9 for name, count in found.items()}


def training_gb(parameters: int, kept_a_token: float) -> float:
    """GB that training a MuseFormer takes: its state in Adam, and what is kept for the way back of a batch."""
    return (_ADAM_BYTES * parameters + kept_a_token * UPDATE_TOKENS) / 1e9
