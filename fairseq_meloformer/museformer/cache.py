"""Exact incremental decoding (spec section 9): one new token per song and step, songs at different bars.

Per song and layer there is one *window*: the keys and values of everything that the current bar may read, followed by
the bar's own tokens. A step appends one key and attends to the window. Only a bar line changes what can be read, and
only then is the window built anew, from the bars still in reach (older ones are dropped) and the summaries (one vector
a bar, kept for ever).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.config import Chunking
from fairseq_meloformer.museformer.layers import LayerOutput, SelfAttention
from fairseq_meloformer.museformer.layout import Layout, SummaryRows, beat_ids, latest_beats, lay_out
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.music.vocabulary import BAR_END

_CAPACITY_STEP = 256  # places by which windows grow


@dataclass
class _Song:
    """What one song keeps in one layer; keys and values side by side as (2, heads, places, head_dim)."""

    prefix: Tensor
    summaries: Tensor
    extra: Tensor
    bars: dict[int, Tensor] = field(default_factory=dict)
    own: int = 0  # where in the window the current bar begins

    def copy(self) -> "_Song":
        return replace(self, bars=dict(self.bars))


class _LayerCache:
    """The windows of one layer: (2, batch, heads, capacity, head_dim), of which `used` places per song are filled."""

    def __init__(self, attention: SelfAttention, songs: list[_Song]) -> None:
        self.songs = songs
        self.used = [0] * len(songs)
        heads, _, head_dim = songs[0].prefix.shape[1:]
        self.window = songs[0].prefix.new_zeros(2, len(songs), heads, 0, head_dim)
        self._split = attention.split
        names = ("query", "key", "value")
        self._weight = torch.cat([getattr(attention, f"reg_{name}_proj").weight for name in names])
        self._bias = torch.cat([getattr(attention, f"reg_{name}_bias") for name in names])

    def attend(self, normed: Tensor) -> Tensor:
        """Append one token per song and let it read: (batch, dim) -> (batch, dim)."""
        batch = len(self.songs)
        query, key, value = functional.linear(normed, self._weight, self._bias).chunk(3, dim=1)
        self._reserve(max(self.used) + 1)
        places = torch.tensor(self.used, device=normed.device)
        rows = torch.arange(batch, device=normed.device)
        self.window[0].transpose(1, 2)[rows, places] = self._split(key)
        self.window[1].transpose(1, 2)[rows, places] = self._split(value)
        self.used = [used + 1 for used in self.used]
        longest = max(self.used)
        mask = None
        if min(self.used) < longest:
            mask = (torch.arange(longest, device=normed.device) <= places[:, None])[:, None, None]
        keys, values = self.window[:, :, :, :longest]
        mixed = functional.scaled_dot_product_attention(self._split(query)[:, :, None], keys, values, attn_mask=mask)
        return mixed.flatten(1)

    def fill(self, row: int, content: Tensor, own: int) -> None:
        """Set a song's window (2, heads, places, head_dim), of which the last `own` places are of the current bar."""
        places = content.shape[2]
        self._reserve(places + 1)
        self.window[:, row, :, :places] = content
        self.used[row] = places
        self.songs[row].own = places - own

    def own(self, row: int) -> Tensor:
        """Keys and values (2, heads, tokens, head_dim) of the current bar of a song."""
        return self.window[:, row, :, self.songs[row].own : self.used[row]]

    def select(self, rows: Sequence[int]) -> None:
        """Keep these songs, in this order; a song may be taken twice."""
        self.window = self.window[:, list(rows)]
        self.used = [self.used[row] for row in rows]
        self.songs = [self.songs[row].copy() for row in rows]

    def _reserve(self, places: int) -> None:
        missing = places - self.window.shape[3]
        if missing > 0:
            grown = -(-missing // _CAPACITY_STEP) * _CAPACITY_STEP
            self.window = functional.pad(self.window, (0, 0, 0, grown))


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
            model: in eval mode; hooks and `reading` stay in force for every later step.
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
        self.songs = list(range(len(prompts)))
        layout = lay_out(prompts, chunking, model.config)
        finished = [0] * len(prompts)
        for bar in layout.finished:
            finished[bar.song] += 1
        self.bar = finished
        ends = layout.keep.sum(1) - 1
        self._beats = latest_beats(prompts, model.config).gather(1, ends[:, None])[:, 0]
        outputs = model.run(prompts, layout)
        self._layers = [
            _LayerCache(layer.self_attn, self._songs(output, layout))
            for layer, output in zip(model.typed_layers, outputs, strict=True)
        ]
        self._fill(outputs, layout)
        last = layout.keep.sum(1).cumsum(0) - 1
        self.logits = model.logits(outputs[-1].tokens[last])

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of what follows one more token (batch,) per song."""
        model = self.model
        current = tokens[:, None]
        onset = latest_beats(current, model.config)[:, 0]
        self._beats = torch.where(onset > 0, onset, self._beats)
        beats = beat_ids(current, self._beats[:, None], model.config)[:, 0]
        hidden = model.embed(tokens, torch.tensor(self.bar, device=tokens.device) + 1, beats)
        for layer, cache in zip(model.typed_layers, self._layers, strict=True):
            hidden = layer.finish(hidden, cache.attend(layer.norm(hidden)))
        if ended := [row for row, token in enumerate(tokens.tolist()) if token == BAR_END]:
            self._end_bars(ended)
        self.logits = model.logits(hidden)
        return self.logits

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order: drops finished songs, or follows a beam."""
        if list(rows) == list(range(len(self.bar))):
            return
        for cache in self._layers:
            cache.select(rows)
        self.bar = [self.bar[row] for row in rows]
        self.songs = [self.songs[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.long, device=self._beats.device)
        self._beats, self.logits = self._beats[index], self.logits[index]

    def _songs(self, output: LayerOutput, layout: Layout) -> list[_Song]:
        """What the songs keep of a layer's pass over the prompts."""
        tokens = torch.stack([output.key, output.value]).transpose(1, 2)
        summaries = torch.stack([output.key2, output.value2]).transpose(1, 2)
        rows = layout.rows(self.model.reading)
        finished = len(layout.finished)
        starts = [0, *accumulate(layout.lengths)]
        songs = []
        for song, prefix in enumerate(layout.prefixes):
            first = 0 if prefix is None else starts[prefix]
            mine = (rows.song == song).nonzero()[:, 0]
            songs.append(
                _Song(
                    prefix=tokens[:, :, first : first + (prefix is not None)].clone(),
                    summaries=summaries[:, :, mine[mine < finished]],
                    extra=summaries[:, :, mine[mine >= finished]],
                )
            )
        for bar in layout.finished:
            songs[bar.song].bars[bar.index] = tokens[:, :, starts[bar.segment] : starts[bar.segment + 1]].clone()
        return songs

    def _fill(self, outputs: Sequence[LayerOutput], layout: Layout) -> None:
        """Open every song's current bar, with the tokens of it that the prompt already has."""
        starts = [0, *accumulate(layout.lengths)]
        unfinished = {
            bar.song: slice(starts[bar.segment], starts[bar.segment + 1]) for bar in layout.bars if bar.row is None
        }
        for index, output in enumerate(outputs):
            for row in range(len(self.bar)):
                tokens = unfinished.get(row, slice(0))
                own = torch.stack([output.key[tokens], output.value[tokens]]).transpose(1, 2)
                self._open_bar(index, row, own)

    def _open_bar(self, index: int, row: int, own: Tensor) -> None:
        """Build a window for the bar that a song is in now."""
        cache, bar = self._layers[index], self.bar[row]
        song = cache.songs[row]
        reading, pattern = self.model.reading_of(index), self.model.config.pattern(index)
        pieces = [song.prefix]
        if reading is not None:
            pattern = reading.pattern(pattern)
            pieces.append(song.extra[:, :, reading.visible(pattern, self.songs[row], bar)])
        pieces.append(song.summaries[:, :, pattern.far_bars(bar)])
        song.bars = {other: kept for other, kept in song.bars.items() if other >= bar - pattern.reach}
        pieces += [song.bars[other] for other in pattern.near_bars(bar)]
        cache.fill(row, torch.cat([*pieces, own], dim=2), own.shape[2])

    def _end_bars(self, rows: Sequence[int]) -> None:
        """Summarise the bars that have just ended in these rows, and open the next ones (spec section 9)."""
        model = self.model
        device = self._beats.device
        bars = torch.tensor([self.bar[row] for row in rows], device=device)
        songs = torch.tensor([self.songs[row] for row in rows], device=device)
        summaries = model.embed_summaries(bars + 1)
        with model.presenting(SummaryRows(song=songs, bar=bars)):
            for layer, cache in zip(model.typed_layers, self._layers, strict=True):
                own = [cache.own(row).clone() for row in rows]
                keys, values = zip(*(kept.transpose(1, 2) for kept in own), strict=True)
                places = [(place,) for place in range(len(rows))]
                summarised = layer.self_attn.summarise(layer.norm(summaries), keys, values, places)
                key2, value2 = layer.self_attn.project_summaries(summarised)
                for place, row in enumerate(rows):
                    song = cache.songs[row]
                    song.bars[self.bar[row]] = own[place]
                    new = torch.stack([key2[place], value2[place]])[:, :, None]
                    song.summaries = torch.cat([song.summaries, new], dim=2)
                summaries = layer.finish(summaries, summarised)
        for row in rows:
            self.bar[row] += 1
            for index, cache in enumerate(self._layers):
                self._open_bar(index, row, cache.songs[row].prefix[:, :, :0])
