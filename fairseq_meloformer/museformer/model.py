"""MuseFormer (Yu et al., NeurIPS 2022) in plain torch: a decoder whose tokens read distant bars through summaries."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairseq_meloformer.museformer import checkpoints
from fairseq_meloformer.museformer.call_state import CallState
from fairseq_meloformer.museformer.config import Chunking, MuseFormerConfig
from fairseq_meloformer.museformer.layers import Layer, LayerOutput
from fairseq_meloformer.museformer.layout import Layout, Reading, SummaryRows, check, lay_out
from fairseq_meloformer.museformer.padded import PaddedLayout, lay_out_padded
from fairseq_meloformer.tokens.vocabulary import BAR_END, PAD
from fairseq_meloformer.weights import described

AnyLayout = Layout | PaddedLayout

READING: CallState[Reading] = CallState("reading")
_SUMMARY_ROWS: CallState[SummaryRows] = CallState("summary_rows")
_FIRST_BARS: CallState[Tensor | None] = CallState("first_bars")


class MuseFormer(nn.Module):
    """The model. Parameters have the names of the published checkpoint without the leading `decoder.`.

    Attributes:
        config: sizes and pattern.
    """

    def __init__(self, config: MuseFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_regular_tokens = nn.Embedding(config.vocabulary_size, config.token_dim, padding_idx=PAD)
        self.embed_summary_tokens = nn.Embedding(2, config.token_dim, padding_idx=0)
        self.reg_proj_embeddings = nn.Linear(config.token_dim + config.bar_dim + config.beat_dim, config.dim)
        self.sum_proj_embeddings = nn.Linear(config.token_dim + config.bar_dim, config.dim)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(config.dim)
        self.output_projection = nn.Linear(config.dim, config.vocabulary_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Upstream's initial values, but for the embeddings.

        Upstream draws those from N(0, 1) and then scales by sqrt(token_dim), beside which bar and beat are too faint
        to be learned from in a short training.
        """
        nn.init.normal_(self.output_projection.weight, std=self.config.dim**-0.5)
        with torch.no_grad():
            for embedding in (self.embed_regular_tokens, self.embed_summary_tokens):
                embedding.weight *= self.config.token_dim**-0.5

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "MuseFormer":
        """Read a model for use: a directory with model.safetensors and config.json, a Hub id, or a fairseq checkpoint.

        Never executes code from the file.

        Raises:
            InputError: nothing that can be read, with what is missing and what to do.
        """
        loaded = checkpoints.load(path)
        model = described(lambda: cls(loaded.config))
        checkpoints.assign(model, loaded.parameters, str(path))
        return model.eval()

    def save_pretrained(self, directory: str | Path) -> None:
        """Write model.safetensors (each distinct parameter once) and config.json."""
        checkpoints.save(directory, self.config, self.state_dict())

    @property
    def typed_layers(self) -> list[Layer]:
        """The layers, with their type."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def forward(self, tokens: Tensor, chunking: Chunking = "infer", bars: int | None = None) -> Tensor:
        """Logits (batch, length, vocabulary) of the token after each; zeros at padding.

        Args:
            tokens: (batch, length) ids: BOS (`</s>`), then the song; padded on the right with PAD.
            chunking: "infer" as in generation, "train" as upstream trains (it leaks bar 0's future), or "bosbar".
            bars: how many `b-1` a song has at most, from callers that know the tokens to be such a batch: a GPU is then
                not waited for to see.

        Raises:
            InputError: tokens that are no such batch.
        """
        layout = self._laid_out(tokens, chunking, bars)
        return layout.padded(self.logits(self.run(layout)[-1].tokens))

    def summaries(self, tokens: Tensor, chunking: Chunking = "infer", bars: int | None = None) -> tuple[Tensor, Tensor]:
        """The summary tokens of every finished bar.

        Args:
            tokens: (batch, length) as for `forward`.
            chunking: as for `forward`.
            bars: as for `forward`.

        Returns:
            summaries (batch, bars, layers, dim), zeros where a song has no such bar; mask (batch, bars), False there.
        """
        layout = self._laid_out(tokens, chunking, bars)
        *below, last = self.typed_layers
        outputs = self._through(below, *self._embedded(layout), layout)
        tokens, summaries = (outputs[-1].tokens, outputs[-1].summaries) if outputs else self._embedded(layout)
        _, key, value = last.self_attn.project(last.norm(tokens), "reg")  # all that is read of the last layer's tokens
        summarised = last.summarise(summaries, key, value, layout.summary_attention())
        return layout.by_song(torch.stack([*(output.summarised for output in outputs), summarised], dim=-2))

    def _laid_out(self, tokens: Tensor, chunking: Chunking, bars: int | None) -> AnyLayout:
        """The form of a batch that suits the device."""
        if not pads(tokens.device):
            return lay_out(tokens, chunking, self.config, self.first_bars)
        if bars is None:
            check(tokens, self.config)
            bars = int((tokens == BAR_END).sum(1).max())
        bars += chunking == "bosbar"  # in which the begin-of-song token is a bar
        return lay_out_padded(tokens, chunking, self.config, bars, self.first_bars)

    def run(self, layout: AnyLayout) -> list[LayerOutput]:
        """All layers over a batch; what each leaves behind."""
        return self._through(self.typed_layers, *self._embedded(layout), layout)

    def _embedded(self, layout: AnyLayout) -> tuple[Tensor, Tensor]:
        """Tokens and summaries as they enter the first layer."""
        tokens = self.embed(layout.tokens, layout.bar_ids, layout.beat_ids)
        return tokens, self.embed_summaries(layout.summary_bar_ids)

    def _through(
        self, layers: Sequence[Layer], tokens: Tensor, summaries: Tensor, layout: AnyLayout
    ) -> list[LayerOutput]:
        """What the first layers leave behind."""
        extra = layout.added(self.reading)
        of_summaries = layout.summary_attention()
        of_tokens = cache(partial(layout.token_attention, extra=extra))
        outputs: list[LayerOutput] = []
        with self.presenting(layout.rows(self.reading)):
            for index, layer in enumerate(layers):
                attention = of_tokens(self.config.pattern(index), self.reading_of(index))
                outputs.append(layer(tokens, summaries, of_summaries, attention, extra))
                tokens, summaries = outputs[-1].tokens, outputs[-1].summaries
        return outputs

    @property
    def reading(self) -> Reading | None:
        """Which summaries without notes tokens may read in this call; None as trained upstream."""
        return READING.last(self)

    @property
    def summary_rows(self) -> SummaryRows | None:
        """Song and bar of each row, for hooks on `sum_key2_proj` and `sum_value2_proj`; None outside of these."""
        return _SUMMARY_ROWS.last(self)

    @property
    def first_bars(self) -> Tensor | None:
        """What `forward` and `summaries` number the bars of each song from, (songs,); None: 0."""
        return _FIRST_BARS.last(self)

    def reading_of(self, layer: int) -> Reading | None:
        """How a layer reads summaries without notes; None if it does not."""
        reading = self.reading
        return reading if reading is not None and layer in reading.layers else None

    def presenting(self, rows: SummaryRows) -> AbstractContextManager[None]:
        """Tell hooks which song and bar the rows are that pass through the summary projections meanwhile."""
        return _SUMMARY_ROWS.holding(self, rows)

    def counting_from(self, first_bars: Tensor | None) -> AbstractContextManager[None]:
        """Meanwhile number each song's bars from these (songs,) on: as the middle of a longer song. For training."""
        return _FIRST_BARS.holding(self, first_bars)

    def embed(self, tokens: Tensor, bar_ids: Tensor, beat_ids: Tensor) -> Tensor:
        """Token, bar and beat -> (..., dim)."""
        scaled = math.sqrt(self.config.token_dim) * self.embed_regular_tokens(tokens)
        parts = [
            scaled,
            sinusoid(bar_ids, self.config.bar_dim, scaled),
            sinusoid(beat_ids, self.config.beat_dim, scaled),
        ]
        return functional.dropout(
            self.reg_proj_embeddings(torch.cat(parts, dim=-1)), self.config.dropout, self.training
        )

    def embed_summaries(self, bar_ids: Tensor) -> Tensor:
        """The state in which the summary tokens of bars begin: (rows, dim)."""
        scaled = math.sqrt(self.config.token_dim) * self.embed_summary_tokens(torch.ones_like(bar_ids))
        parts = [scaled, sinusoid(bar_ids, self.config.bar_dim, scaled)]
        return functional.dropout(
            self.sum_proj_embeddings(torch.cat(parts, dim=-1)), self.config.dropout, self.training
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Final layer norm and output projection: (..., dim) -> (..., vocabulary)."""
        projected: Tensor = self.output_projection(self.layer_norm(hidden))
        return projected


def pads(device: torch.device) -> bool:
    """Whether batches are padded for a device: what a GPU calculates in vain costs less than many small kernels."""
    return device.type != "cpu"


def sinusoid(ids: Tensor, dim: int, like: Tensor) -> Tensor:
    """Sinusoidal embedding [sin | cos] of ids (..., ) -> (..., dim); id 0 is all zeros."""
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=ids.device)
    angles = ids[..., None].float() * torch.exp(steps * -(math.log(10000) / (half - 1)))
    table = torch.cat([angles.sin(), angles.cos()], dim=-1)
    return table.masked_fill(ids[..., None] == 0, 0).to(like.dtype)
