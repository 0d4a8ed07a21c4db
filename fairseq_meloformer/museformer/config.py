"""What a MuseFormer is made of: sizes, attention pattern and where the vocabulary's kinds lie."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.pattern import BarPattern

Chunking = Literal["infer", "train", "bosbar"]
CHUNKINGS: tuple[str, ...] = get_args(Chunking)
Scope = Literal["past", "history", "plan"]
SCOPES: tuple[str, ...] = get_args(Scope)
_FEWEST = 4  # bars in view, of which two are new


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
        problems = []
        if self.dim % self.heads:
            problems.append(f"dim must be a multiple of heads, received dim {self.dim} and heads {self.heads}")
        problems += [
            f"{name} must be even and at least 4, received {value}"
            for name, value in (("bar_dim", self.bar_dim), ("beat_dim", self.beat_dim))
            if value % 2 or value < 4
        ]
        if len(self.patterns) not in {1, self.layers}:
            problems.append(f"patterns must be 1 or one per layer ({self.layers}), received {len(self.patterns)}")
        if self.chunking not in CHUNKINGS:
            problems.append(f"chunking must be one of {', '.join(CHUNKINGS)}, received {self.chunking!r}")
        if self.most_bars is not None and self.most_bars < _FEWEST:
            problems.append(f"most_bars must be at least {_FEWEST} or None, received {self.most_bars}")
        if problems:
            raise InputError("MuseFormer configuration: " + "; ".join(problems))

    def pattern(self, layer: int) -> BarPattern:
        """The attention pattern of one layer."""
        return self.patterns[layer if len(self.patterns) > 1 else 0]

    def to_json(self) -> str:
        """JSON text that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "MuseFormerConfig":
        """Read what `to_json` wrote.

        Raises:
            InputError: not JSON, or fields that this version does not know.
        """
        try:
            values: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"a MuseFormer config.json must be JSON: {error}") from error
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known - {"model_type"}):
            raise InputError(f"a MuseFormer config.json may hold {sorted(known)}, received also {unknown}")
        values.pop("model_type", None)
        if "patterns" in values:
            values["patterns"] = tuple(
                BarPattern(near=_spans(pattern["near"]), far=_spans(pattern["far"])) for pattern in values["patterns"]
            )
        for name in ("onset_ids", "offbeat_ids"):
            if name in values:
                first, end = values[name]
                values[name] = (first, end)
        return cls(**values)


def _spans(values: list[Any]) -> tuple[Any, ...]:
    """JSON has no tuples: turn the pairs back."""
    return tuple(tuple(value) if isinstance(value, list) else value for value in values)
