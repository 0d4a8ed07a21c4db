"""What a MuseFormer is made of: sizes, attention pattern and where the vocabulary's kinds lie."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal, get_args

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.pattern import BarPattern
from fairseq_meloformer.weights import DEEPEST, LARGEST

Chunking = Literal["infer", "train", "bosbar"]
CHUNKINGS: tuple[str, ...] = get_args(Chunking)
Scope = Literal["past", "history", "plan"]
SCOPES: tuple[str, ...] = get_args(Scope)
FEWEST_BARS = 4  # bars in view, of which two are new


@dataclass(frozen=True)
class MuseFormerConfig:
    """Sizes of a MuseFormer; the defaults are the published `museformer_lm_v2s1` with `dict.txt`.

    Attributes:
        vocabulary_size: symbols including fairseq's four special ones.
        layers: number of layers.
        dim: width of both streams.
        ffn_dim: inner width of the feed-forward network.
        heads: attention heads; they share one pattern.
        token_dim: width of the token and summary embeddings before their projection.
        bar_dim: width of the sinusoidal bar embedding (even).
        beat_dim: width of the sinusoidal beat embedding (even).
        dropout: after embeddings, attention output and feed-forward network, in training.
        attention_dropout: on attention probabilities, in training.
        patterns: one attention pattern per layer, or a single one for all.
        onset_ids: first and end id of the onset tokens `o-*`.
        offbeat_ids: first and end id of the tokens that have no beat: `t-*`, or `s-*` with `beat_mask_ts`.
        chunking: how the model splits a song when it generates: "infer", or "bosbar" (upstream's `take_bos_as_bar`).
        scope: the injection scope that steers this model best: "past", "history" or, after plan training, "plan".
        ahead: how many coming bars tokens read in scope "plan".
        most_bars: bars that the model knows its way in; longer pieces are composed in passes that see so many each.
            None for any number.
        vocabulary_sha256: which vocabulary the ids belong to; empty when unknown.
    """

    vocabulary_size: int = 560
    layers: int = 4
    dim: int = 512
    ffn_dim: int = 2048
    heads: int = 8
    token_dim: int = 512
    bar_dim: int = 256
    beat_dim: int = 128
    dropout: float = 0.1
    attention_dropout: float = 0.1
    patterns: tuple[BarPattern, ...] = (BarPattern(),)
    onset_ids: tuple[int, int] = (6, 70)
    offbeat_ids: tuple[int, int] = (492, 541)
    chunking: Chunking = "infer"
    scope: Scope = "past"
    ahead: int = 8
    most_bars: int | None = None
    vocabulary_sha256: str = ""

    def __post_init__(self) -> None:
        """Report everything that is wrong at once.

        Raises:
            InputError: sizes that do not fit together.
        """
        sizes = ("vocabulary_size", "dim", "ffn_dim", "heads", "token_dim", "bar_dim", "beat_dim")
        problems = [
            f"{name} must be from 1 to {LARGEST}, received {size}"
            for name in sizes
            if not 1 <= (size := getattr(self, name)) <= LARGEST
        ]
        if not 1 <= self.layers <= DEEPEST:
            problems.append(f"layers must be from 1 to {DEEPEST}, received {self.layers}")
        if problems:  # the rest would calculate with them
            raise InputError("MuseFormer configuration: " + "; ".join(problems))
        if self.dim % self.heads:
            problems.append(f"dim must be a multiple of heads, received dim {self.dim} and heads {self.heads}")
        problems += [
            f"{name} must be even and at least 4, received {value}"
            for name, value in (("bar_dim", self.bar_dim), ("beat_dim", self.beat_dim))
            if value % 2 or value < 4
        ]
        problems += [
            f"{name} must be at least 0 and below 1, received {value}"
            for name, value in (("dropout", self.dropout), ("attention_dropout", self.attention_dropout))
            if not 0 <= value < 1
        ]
        problems += [
            f"{name} must be a first and an end in the vocabulary (0..{self.vocabulary_size}), received {first}, {end}"
            for name, (first, end) in (("onset_ids", self.onset_ids), ("offbeat_ids", self.offbeat_ids))
            if not 0 <= first <= end <= self.vocabulary_size
        ]
        if self.scope not in SCOPES:
            problems.append(f"scope must be one of {', '.join(SCOPES)}, received {self.scope!r}")
        if len(self.patterns) not in {1, self.layers}:
            problems.append(f"patterns must be 1 or one per layer ({self.layers}), received {len(self.patterns)}")
        if self.chunking not in CHUNKINGS:
            problems.append(f"chunking must be one of {', '.join(CHUNKINGS)}, received {self.chunking!r}")
        if not 0 <= self.ahead <= LARGEST:
            problems.append(f"ahead must be from 0 (the own bar alone) to {LARGEST}, received {self.ahead}")
        if self.most_bars is not None and not FEWEST_BARS <= self.most_bars <= LARGEST:
            problems.append(f"most_bars must be from {FEWEST_BARS} to {LARGEST} or None, received {self.most_bars}")
        if problems:
            raise InputError("MuseFormer configuration: " + "; ".join(problems))

    def pattern(self, layer: int) -> BarPattern:
        """The attention pattern of one layer."""
        return self.patterns[layer if len(self.patterns) > 1 else 0]

    def to_json(self) -> str:
        """JSON text that `weights.checked` reads back."""
        return json.dumps(dataclasses.asdict(self), indent=2)
