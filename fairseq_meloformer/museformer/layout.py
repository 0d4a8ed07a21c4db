"""Where the bars of a batch lie, and what each of them may read.

Songs are *packed*: the real tokens of all songs one after the other, without padding. A song is its begin-of-song token
(unless that is a bar of its own) and then its bars; a bar ends right after its `b-1`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.attention import AttentionByBar, Read
from fairseq_meloformer.museformer.config import Chunking, MuseFormerConfig
from fairseq_meloformer.museformer.pattern import BarPattern
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, PAD

NOWHERE = 1 << 20
"""The number of a bar that is not there."""


@dataclass(frozen=True)
class Bar:
    """One bar of one song: its `places` in the packed batch, and the `row` of its summary among all of the batch."""

    song: int
    index: int
    places: range
    row: int | None  # None while the bar is unfinished: it has no summary yet


@dataclass(frozen=True, eq=False)
class Reading:
    """Which summaries tokens may read besides those of the finished bars, and how.

    Attributes:
        bars: (songs, bars) the bars whose summaries exist although their notes do not: negative numbers for bars before
            the song began, others for planned bars of the song, NOWHERE for none. They have no summary of their own.
        layers: the layers in which they can be read.
        ahead: how far: a token reads the planned summaries of its own bar and of this many coming ones; -1 for none.
        near: if given, only bars at these distances are read note by note; other near ones are read as summaries.
    """

    bars: Tensor
    layers: frozenset[int]
    ahead: int = -1
    near: tuple[int, ...] | None = None

    @cached_property
    def extra(self) -> tuple[tuple[int, ...], ...]:
        """The bars of each song."""
        return tuple(tuple(bar for bar in song if bar != NOWHERE) for song in self.bars.tolist())

    def pattern(self, pattern: BarPattern) -> BarPattern:
        """A layer's attention pattern under this reading."""
        return pattern if self.near is None else pattern.only_near(self.near)

    def visible(self, pattern: BarPattern, song: int, bar: int) -> list[int]:
        """Indices into `extra[song]` of what a token of `bar` reads."""
        extra = self.extra[song] if song < len(self.extra) else ()
        if not extra:
            return []
        past = set(pattern.far_bars(bar, first=min(*extra, 0)))
        return [i for i, other in enumerate(extra) if (other in past if other < 0 else 0 <= other - bar <= self.ahead)]


@dataclass(frozen=True)
class SummaryRows:
    """Which song and bar each summary row belongs to that goes through `sum_key2_proj` and `sum_value2_proj`.

    Attributes:
        song: (rows,) songs of the batch as it was when generation or the forward pass began.
        bar: (rows,) bar numbers; negative for bars before the song, NOWHERE for rows that nobody reads.
        songs: how many that batch had.
    """

    song: Tensor
    bar: Tensor
    songs: int


@dataclass(frozen=True)
class Layout:
    """The packed form of a batch.

    Attributes:
        tokens: (tokens,) ids.
        keep: (batch, length) True where a real token is.
        bar_ids: (tokens,) number of the bar + 1; 0 for a begin-of-song token outside the bars.
        beat_ids: (tokens,) position of the latest onset in its bar + 1; 0 for tokens that have none.
        summary_bar_ids: (finished bars,) number of the bar of each summary + 1.
        bars: of each song, in packed order.
        prefixes: per song the place of its begin-of-song token, or None where that is a bar.
        chunking: see `MuseFormerConfig`.
    """

    tokens: Tensor
    keep: Tensor
    bar_ids: Tensor
    beat_ids: Tensor
    summary_bar_ids: Tensor
    bars: tuple[tuple[Bar, ...], ...]
    prefixes: tuple[int | None, ...]
    chunking: Chunking

    @property
    def finished(self) -> list[Bar]:
        """Bars that have a summary, in row order."""
        return [bar for bars in self.bars for bar in bars if bar.row is not None]

    def rows(self, reading: Reading | None) -> SummaryRows:
        """Song and bar of each summary row: the finished bars, then what the reading adds."""
        pairs = [(bar.song, bar.index) for bar in self.finished]
        if reading is not None:
            pairs += [(s, bar) for s, extra in enumerate(reading.extra[: len(self.bars)]) for bar in extra]
        table = torch.tensor(pairs, dtype=torch.long, device=self.keep.device).reshape(-1, 2)
        return SummaryRows(song=table[:, 0], bar=table[:, 1], songs=len(self.bars))

    def added(self, reading: Reading | None) -> int:
        """How many summaries a reading adds."""
        return 0 if reading is None else sum(map(len, reading.extra[: len(self.bars)]))

    def padded(self, packed: Tensor) -> Tensor:
        """(tokens, dim) -> (batch, length, dim), zeros at padding."""
        padded = packed.new_zeros(*self.keep.shape, packed.shape[-1])
        padded[self.keep] = packed
        return padded

    def by_song(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """(finished bars, ...) -> (batch, bars, ...), zeros where a song has no such bar; mask (batch, bars)."""
        lengths = [sum(bar.row is not None for bar in bars) for bars in self.bars]
        summaries = pad_sequence(list(torch.split(packed, lengths)), batch_first=True)
        there = torch.arange(summaries.shape[1]) < torch.tensor(lengths)[:, None]
        return summaries, there.to(packed.device)

    def summary_attention(self) -> AttentionByBar:
        """A finished bar's summary reads itself and its bar; keys are [summaries of finished bars; tokens]."""
        places = []
        for bar in self.finished:
            prefix = self.prefixes[bar.song] if self.chunking == "train" and bar.index == 0 else None
            places.append(bar.places if prefix is None else range(prefix, bar.places.stop))
        return attention_to_bar(places, self.keep.device)

    def token_attention(self, pattern: BarPattern, reading: Reading | None, extra: int) -> AttentionByBar:
        """What tokens read; keys are [summaries, then so many that the reading adds; tokens]."""
        if reading is not None:
            pattern = reading.pattern(pattern)
        added = () if reading is None else reading.extra
        firsts = list(accumulate(map(len, added), initial=len(self.finished)))
        reads = []
        for song, bars in enumerate(self.bars):
            prefix = self.prefixes[song]

            def ahead(bar: int, song: int = song) -> list[int]:
                return [] if reading is None else [firsts[song] + i for i in reading.visible(pattern, song, bar)]

            first = [] if prefix is None else [range(prefix, prefix + 1)]
            if prefix is not None:
                # It foretells the first tempo, which the whole piece may keep, so that it reads a plan as bar 0 does.
                # Upstream's TRAIN chunking lets it read all of bar 0, a future leak.
                own = bars[0].places if self.chunking == "train" and bars else range(0)
                reads.append(Read(first[0], ahead(0), [*first, own], causal=False))
            for bar in bars:
                summaries = [row for other in pattern.far_bars(bar.index) if (row := bars[other].row) is not None]
                near = [bars[other].places for other in pattern.near_bars(bar.index)]
                tokens = [*first, *near, bar.places]
                reads.append(Read(bar.places, [*summaries, *ahead(bar.index)], tokens, causal=True))
        return AttentionByBar(reads, len(self.finished) + extra, self.keep.device)


def attention_to_bar(bars: Sequence[range], device: torch.device) -> AttentionByBar:
    """For the summaries of bars with their tokens at these places: each reads itself and its bar."""
    reads = [Read(range(row, row + 1), [row], [places], causal=False) for row, places in enumerate(bars)]
    return AttentionByBar(reads, len(bars), device)


def lay_out(tokens: Tensor, chunking: Chunking, config: MuseFormerConfig, first_bars: Tensor | None = None) -> Layout:
    """Find the bars of a batch.

    Args:
        tokens: (batch, length) ids, each song begins with BOS (`</s>`) and is padded on the right with PAD.
        chunking: see `MuseFormer.forward`.
        config: of the model the ids are for.
        first_bars: (batch,) the number of each song's first bar; 0 if None.

    Raises:
        InputError: tokens of another shape, a song that does not begin with BOS, or padding inside a song.
    """
    check(tokens, config)
    keep = tokens != PAD
    index, _, first = numbered(tokens, chunking, first_bars)
    bar_ids = index + 1 + first[:, None]
    if chunking == "infer":
        bar_ids[:, 0] = 0
    bars, prefixes = _bars(tokens, chunking)
    finished = torch.tensor([(bar.song, bar.index) for of_song in bars for bar in of_song if bar.row is not None])
    finished = finished.to(tokens).reshape(-1, 2)
    return Layout(
        tokens=tokens[keep],
        keep=keep,
        bar_ids=bar_ids[keep],
        beat_ids=beat_ids(tokens, latest_beats(tokens, config), config)[keep],
        summary_bar_ids=finished[:, 1] + 1 + first[finished[:, 0]],
        bars=bars,
        prefixes=prefixes,
        chunking=chunking,
    )


def numbered(tokens: Tensor, chunking: Chunking, first_bars: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Bar (batch, length) of each token, finished bars (batch,), and the number of each song's first bar (batch,)."""
    ends = (tokens == BAR_END).long()
    index, finished = ends.cumsum(1) - ends, ends.sum(1)
    if chunking == "bosbar":
        index[:, 1:] += 1
        finished += 1
    return index, finished, tokens.new_zeros(len(tokens)) if first_bars is None else first_bars.to(tokens)


def latest_beats(tokens: Tensor, config: MuseFormerConfig) -> Tensor:
    """Position of the latest onset token + 1 for every token (batch, length); 0 before the first."""
    first, end = config.onset_ids
    onset = (tokens >= first) & (tokens < end)
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    latest = torch.where(onset, places, -1).cummax(1).values
    return torch.where(latest >= 0, tokens.gather(1, latest.clamp(min=0)) - first + 1, 0)


def beat_ids(tokens: Tensor, latest: Tensor, config: MuseFormerConfig) -> Tensor:
    """Beat ids: the latest beat, but 0 for special tokens, `b-*` and `config.offbeat_ids`."""
    first, end = config.offbeat_ids
    without = (tokens <= BAR_END) | ((tokens >= first) & (tokens < end))
    return latest.masked_fill(without, 0)


def check(tokens: Tensor, config: MuseFormerConfig) -> None:
    """Whether tokens are a batch of songs for a model.

    Raises:
        InputError: tokens of another shape, a song that does not begin with BOS, or padding inside a song.
    """
    if tokens.dim() != 2 or tokens.shape[1] < 1 or tokens.is_floating_point():
        raise InputError(
            f"tokens must be integers of shape (batch, length) with length >= 1, "
            f"received {tuple(tokens.shape)} of {tokens.dtype}"
        )
    if bool((tokens[:, 0] != BOS).any()):
        raise InputError(f"every song must begin with </s> (id {BOS}), received first ids {tokens[:, 0].tolist()[:8]}")
    if bool(((tokens < 0) | (tokens >= config.vocabulary_size)).any()):
        raise InputError(
            f"token ids must be in 0..{config.vocabulary_size - 1} (the model's vocabulary), "
            f"received {int(tokens.min())}..{int(tokens.max())}: were they made with another dict.txt?"
        )
    padding = tokens == PAD
    if bool((padding[:, :-1] & ~padding[:, 1:]).any()):
        raise InputError(f"padding (id {PAD}) must stand at the end of a song only; pad on the right")


def _bars(tokens: Tensor, chunking: Chunking) -> tuple[tuple[tuple[Bar, ...], ...], tuple[int | None, ...]]:
    """Bars and begin-of-song token of each song."""
    bars: list[tuple[Bar, ...]] = []
    prefixes: list[int | None] = []
    row = start = 0
    for song, ids in enumerate(tokens.tolist()):
        size = ids.index(PAD) if ids[-1] == PAD else len(ids)
        borders = [1, *(place + 1 for place in range(size) if ids[place] == BAR_END)]
        if chunking == "bosbar":
            borders.insert(0, 0)
        finished = len(borders) - 1
        if borders[-1] < size:
            borders.append(size)
        bars.append(
            tuple(
                Bar(song, index, range(start + first, start + end), row + index if index < finished else None)
                for index, (first, end) in enumerate(pairwise(borders))
            )
        )
        prefixes.append(None if chunking == "bosbar" else start)
        row += finished
        start += size
    return tuple(bars), tuple(prefixes)
