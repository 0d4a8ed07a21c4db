"""Exact incremental decoding: one new token per song and step, songs at different bars.

Per song there is one *window*: the keys and values of everything that the current bar may read, followed by the bar's
own tokens. A step appends one key and attends to the window. Only a bar line changes what can be read, and only then is
the window built anew, from the bars still in reach (older ones are dropped) and the summaries (one vector a bar, kept
for ever).
"""

import math
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.config import Chunking
from fairseq_meloformer.museformer.layers import Layer, LayerOutput
from fairseq_meloformer.museformer.layout import (
    Layout,
    Reading,
    SummaryRows,
    attention_to_bar,
    beat_ids,
    latest_beats,
    lay_out,
)
from fairseq_meloformer.museformer.model import MuseFormer, sinusoid
from fairseq_meloformer.museformer.paged import Pages
from fairseq_meloformer.museformer.pattern import BarPattern
from fairseq_meloformer.museformer.precision import Int8Linear
from fairseq_meloformer.tokens.vocabulary import BAR_END

_FEW = 8
"""Songs up to which a step is mostly the reading of weights."""


@dataclass
class _Song:
    """What one song keeps in a group of layers: keys and values as (layers, 2, heads, places, head_dim)."""

    prefix: Tensor
    summaries: Tensor
    extra: Tensor
    bars: dict[int, Tensor] = field(default_factory=dict)
    own: int = 0  # where in the window the current bar begins

    def copy(self) -> "_Song":
        return replace(self, bars=dict(self.bars))


class _Group:
    """Layers that read alike, with what their songs keep and what these may read now."""

    def __init__(
        self, layers: Sequence[int], pattern: BarPattern, reading: Reading | None, songs: Sequence[_Song]
    ) -> None:
        self.layers = layers
        self.songs = list(songs)
        self._pattern = pattern if reading is None else reading.pattern(pattern)
        self._reading = reading
        self._reach = self._pattern.reach
        like = songs[0].prefix
        self.windows = Pages(len(songs), len(layers), like.shape[2], like.shape[4], like)

    def open_bar(self, row: int, number: int, bar: int, own: Tensor | None = None) -> None:
        """Build the window of a bar: of `row`, which is song `number` of the original batch; `own` is what it has."""
        song = self.songs[row]
        pieces = [song.prefix]
        if self._reading is not None:
            pieces.append(song.extra[:, :, :, self._reading.visible(self._pattern, number, bar)])
        pieces.append(song.summaries[:, :, :, self._pattern.far_bars(bar)])
        song.bars = {other: kept for other, kept in song.bars.items() if other >= bar - self._reach}
        pieces += [song.bars[other] for other in self._pattern.near_bars(bar)]
        song.own = sum(piece.shape[3] for piece in pieces)
        self.windows.fill(row, pieces if own is None else [*pieces, own])

    def own(self, row: int) -> Tensor:
        """Keys and values of a song's current bar."""
        return self.windows.content(row, self.songs[row].own)

    def select(self, rows: Sequence[int]) -> None:
        self.windows.select(rows)
        self.songs = [self.songs[row].copy() for row in rows]


class DecodingCache:
    """The state of an incremental decoding.

    Attributes:
        logits: (batch, vocabulary) of the token that follows each prompt.
        bar: number of the current bar of each song.
        songs: which song of the original batch each row is, after `select`.
    """

    @torch.inference_mode()
    def __init__(self, model: MuseFormer, prompts: Tensor, chunking: Chunking = "infer") -> None:
        """Read the prompts in one pass.

        Args:
            model: in eval mode; an injection around this call stays in force for every later step, wherever that is.
            prompts: (batch, length) ids: BOS, then the beginning of each song if any; padded on the right.
            chunking: "infer" or "bosbar"; "train" is not causal and cannot be decoded step by step.

        Raises:
            InputError: chunking "train", a model in training mode, or prompts that are no such batch.
        """
        if chunking == "train":
            raise InputError('incremental decoding must use chunking "infer" or "bosbar": "train" reads the future')
        if model.training:
            raise InputError("incremental decoding needs a model without dropout: call model.eval() first")
        self.model = model
        self._context = copy_context()
        self.songs = list(range(len(prompts)))
        self._prompts = len(prompts)
        layout = lay_out(prompts, chunking, model.config)
        finished = [0] * len(prompts)
        for bar in layout.finished:
            finished[bar.song] += 1
        self.bar = finished
        self._embedding = _Embedding(model)
        self._in_bar = self._embedding.bars(finished)
        ends = layout.keep.sum(1) - 1
        self._beats = latest_beats(prompts, model.config).gather(1, ends[:, None])[:, 0]
        outputs = model.run(layout)
        self._groups = [
            _Group(layers, pattern, reading, self._songs([outputs[layer] for layer in layers], layout))
            for (pattern, reading), layers in self._alike().items()
        ]
        self._place = {layer: (group, i) for group in self._groups for i, layer in enumerate(group.layers)}
        few = len(prompts) <= _FEW
        self._layers = [_Layer(layer, few=few) for layer in model.typed_layers]
        self._norm, self._output = _norm(model.layer_norm), _product(model.output_projection, few=few)
        self._fill(outputs, layout)
        last = layout.keep.sum(1).cumsum(0) - 1
        self.logits = model.logits(outputs[-1].tokens[last])

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of what follows one more token (batch,) per song."""
        model = self.model
        # Read at once: later a GPU would have to finish the step before.
        ended = [row for row, token in enumerate(tokens.tolist()) if token == BAR_END]
        self._beats = self._embedding.latest(tokens, self._beats)
        hidden = self._embedding(tokens, self._beats) + self._in_bar
        for group in self._groups:
            group.windows.advance()
        for index, layer in enumerate(self._layers):
            group, place = self._place[index]
            projected = layer.project(hidden).view(len(tokens), 3, model.config.heads, -1)
            hidden = layer.finish(hidden, group.windows.attend(place, projected))
        if ended:
            self._context.run(self._end_bars, ended)
        self.logits = self._output(self._norm(hidden))
        return self.logits

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order: drops finished songs, or follows a beam."""
        if list(rows) == list(range(len(self.bar))):
            return
        for group in self._groups:
            group.select(rows)
        self.bar = [self.bar[row] for row in rows]
        self.songs = [self.songs[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.long, device=self._beats.device)
        self._beats, self._in_bar, self.logits = self._beats[index], self._in_bar[index], self.logits[index]

    def _alike(self) -> dict[tuple[BarPattern, Reading | None], list[int]]:
        """Layers by what they read."""
        alike: dict[tuple[BarPattern, Reading | None], list[int]] = {}
        for layer in range(self.model.config.layers):
            alike.setdefault((self.model.config.pattern(layer), self.model.reading_of(layer)), []).append(layer)
        return alike

    def _songs(self, outputs: Sequence[LayerOutput], layout: Layout) -> list[_Song]:
        """What the songs keep of the pass of some layers over the prompts."""
        tokens = _stacked([(output.key, output.value) for output in outputs])
        summaries = _stacked([(output.key2, output.value2) for output in outputs])
        rows = layout.rows(self.model.reading)
        finished = len(layout.finished)
        songs = []
        for song, prefix in enumerate(layout.prefixes):
            first = prefix or 0
            mine = (rows.song == song).nonzero()[:, 0]
            songs.append(
                _Song(
                    prefix=tokens[:, :, :, first : first + (prefix is not None)].clone(),
                    summaries=summaries[:, :, :, mine[mine < finished]],
                    extra=summaries[:, :, :, mine[mine >= finished]],
                )
            )
        for bar in layout.finished:
            songs[bar.song].bars[bar.index] = tokens[:, :, :, bar.places.start : bar.places.stop].clone()
        return songs

    def _fill(self, outputs: Sequence[LayerOutput], layout: Layout) -> None:
        """Open every song's current bar, with the tokens of it that the prompt already has."""
        unfinished = {
            bar.song: slice(bar.places.start, bar.places.stop)
            for bars in layout.bars
            for bar in bars
            if bar.row is None
        }
        for group in self._groups:
            for row, bar in enumerate(self.bar):
                tokens = unfinished.get(row, slice(0))
                own = [(outputs[layer].key[tokens], outputs[layer].value[tokens]) for layer in group.layers]
                group.open_bar(row, row, bar, _stacked(own))

    def _end_bars(self, rows: Sequence[int]) -> None:
        """Summarise the bars that have just ended in these rows, and open the next ones."""
        model = self.model
        bars = torch.tensor([self.bar[row] for row in rows], device=self._beats.device)
        songs = torch.tensor([self.songs[row] for row in rows], device=self._beats.device)
        own = [[group.own(row) for row in rows] for group in self._groups]
        ends = accumulate((bar.shape[3] for bar in own[0]), initial=0)
        attention = attention_to_bar([range(*border) for border in pairwise(ends)], bars.device)
        of_layers: list[Tensor] = []
        summaries = model.embed_summaries(bars + 1)
        with model.presenting(SummaryRows(song=songs, bar=bars, songs=self._prompts)):
            for index, layer in enumerate(model.typed_layers):
                group, place = self._place[index]
                kept = own[self._groups.index(group)]
                key, value = (torch.cat([bar[place, i] for bar in kept], dim=1).transpose(0, 1) for i in range(2))
                summarised = layer.summarise(summaries, key, value, attention)
                of_layers.append(torch.stack(layer.self_attn.project_summaries(summarised), dim=1))
                summaries = layer.finish(summaries, summarised)
        for row in rows:
            self.bar[row] += 1
        self._in_bar = self._embedding.bars(self.bar)
        for group, kept in zip(self._groups, own, strict=True):
            new = torch.stack([of_layers[layer] for layer in group.layers])  # (layers, rows, 2, heads, head_dim)
            for place, row in enumerate(rows):
                song = group.songs[row]
                song.bars[self.bar[row] - 1] = kept[place]
                song.summaries = torch.cat([song.summaries, new[:, place, :, :, None]], dim=3)
                group.open_bar(row, self.songs[row], self.bar[row])


class _Layer:
    """As `Layer` for single tokens, without the price of calling modules: a sixth of a small model's step."""

    def __init__(self, layer: Layer, *, few: bool) -> None:
        attention = layer.self_attn
        self._before, self._between = _norm(layer.reg_self_attn_layer_norm), _norm(layer.reg_final_layer_norm)
        self._project, self._out = _product(attention.fused(), few=few), _product(attention.reg_out_proj, few=few)
        self._fc1, self._fc2 = _product(layer.reg_fc1, few=few), _product(layer.reg_fc2, few=few)

    def project(self, hidden: Tensor) -> Tensor:
        """Query, key and value of tokens: (batch, dim) -> (batch, 3 * dim)."""
        return self._project(self._before(hidden))

    def finish(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """As `Layer.finish`: (batch, dim)."""
        hidden = hidden + self._out(mixed)
        return hidden + self._fc2(functional.gelu(self._fc1(self._between(hidden))))


def _product(linear: nn.Linear, *, few: bool) -> Callable[[Tensor], Tensor]:
    """A linear layer. Few rows are multiplied as fast as weights are read, which in float32 is fastest transposed."""
    if isinstance(linear, Int8Linear):
        return linear
    weight, bias = linear.weight, linear.bias
    if not few or weight.dtype != torch.float32:
        return partial(functional.linear, weight=weight, bias=bias)
    weight = weight.t().contiguous()
    return partial(torch.mm, mat2=weight) if bias is None else partial(torch.addmm, bias, mat2=weight)


def _norm(norm: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    return partial(
        torch.layer_norm, normalized_shape=norm.normalized_shape, weight=norm.weight, bias=norm.bias, eps=norm.eps
    )


class _Embedding:
    """What `MuseFormer.embed` gives for single tokens, with all that depends on the token or beat alone in tables."""

    def __init__(self, model: MuseFormer) -> None:
        config = model.config
        weight = model.reg_proj_embeddings.weight
        self._bar_dim = config.bar_dim
        token, self._bar, beat = torch.split(weight, [config.token_dim, config.bar_dim, config.beat_dim], dim=1)
        scale = math.sqrt(config.token_dim)
        self._tokens = functional.linear(
            scale * model.embed_regular_tokens.weight, token, model.reg_proj_embeddings.bias
        )
        ids = torch.arange(config.vocabulary_size, device=weight.device)
        self._onsets = latest_beats(ids[:, None], config)[:, 0]
        self._has_beat = beat_ids(ids, torch.ones_like(ids), config)
        beats = torch.arange(int(self._onsets.max()) + 1, device=weight.device)
        self._beats = functional.linear(sinusoid(beats, config.beat_dim, weight), beat)

    def latest(self, tokens: Tensor, before: Tensor) -> Tensor:
        """Beat of the latest onset + 1 once these tokens (batch,) have come."""
        onsets = self._onsets[tokens]
        return torch.where(onsets > 0, onsets, before)

    def bars(self, bars: Sequence[int]) -> Tensor:
        """The part of songs that are at these bars: (batch, dim)."""
        bar_ids = torch.tensor(bars, device=self._bar.device) + 1
        return functional.linear(sinusoid(bar_ids, self._bar_dim, self._bar), self._bar)

    def __call__(self, tokens: Tensor, latest: Tensor) -> Tensor:
        """The part of tokens and latest beats, (batch,) each -> (batch, dim)."""
        return self._tokens[tokens] + self._beats[latest * self._has_beat[tokens]]


def _stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Keys and values (places, heads, head_dim) of several layers -> (layers, 2, heads, places, head_dim)."""
    return torch.stack([torch.stack(pair) for pair in pairs]).transpose(2, 3)
