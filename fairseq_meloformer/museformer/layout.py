"""Where the bars of a batch lie, and what each of them may read.

Songs are *packed*: the real tokens of all songs one after the other, without padding. A song is a run of segments: its
begin-of-song token (unless that is a bar of its own) and then its bars; a bar ends right after its `b-1`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.config import Chunking, MuseFormerConfig
from fairseq_meloformer.museformer.pattern import BarPattern
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, PAD


@dataclass(frozen=True)
class Bar:
    """One bar of one song. `segment` counts in the packed batch, `row` among all summaries of the batch."""

    song: int
    index: int
    segment: int
    row: int | None  # None while the bar is unfinished: it has no summary yet


@dataclass(frozen=True)
class Reading:
    """Which summaries tokens may read besides those of the finished bars, and how.

    Attributes:
        extra: per song of the batch the bars whose summaries exist although their notes do not: negative numbers for
            bars before the song began, others for planned bars of the song. They have no summary of their own.
        layers: the layers in which they can be read.
        ahead: how far: a token reads the planned summaries of its own bar and of this many coming ones; -1 for none.
        near: if given, only bars at these distances are read note by note; other near ones are read as summaries.
    """

    extra: tuple[tuple[int, ...], ...]
    layers: frozenset[int]
    ahead: int = -1
    near: tuple[int, ...] | None = None

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
class Read:
    """What the queries of one segment read: token segments, summary rows, and a mask (queries, keys), True = read."""

    segments: tuple[int, ...]
    rows: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True)
class SummaryRows:
    """Which song and bar each summary row belongs to that goes through `sum_key2_proj` and `sum_value2_proj`.

    Attributes:
        song: (rows,) songs of the batch as it was when generation or the forward pass began.
        bar: (rows,) bar numbers; negative for bars before the song.
    """

    song: Tensor
    bar: Tensor


@dataclass(frozen=True)
class Layout:
    """The packed form of a batch.

    Attributes:
        keep: (batch, length) True where a real token is.
        bar_ids: (tokens,) number of the bar + 1; 0 for a begin-of-song token outside the bars.
        beat_ids: (tokens,) position of the latest onset in its bar + 1; 0 for tokens that have none.
        summary_bar_ids: (finished bars,) number of the bar of each summary + 1.
        lengths: tokens of each segment.
        bars: all bars of all songs, in packed order.
        prefixes: per song the segment of its begin-of-song token, or None where that is a bar.
        chunking: see `MuseFormerConfig`.
    """

    keep: Tensor
    bar_ids: Tensor
    beat_ids: Tensor
    summary_bar_ids: Tensor
    lengths: tuple[int, ...]
    bars: tuple[Bar, ...]
    prefixes: tuple[int | None, ...]
    chunking: Chunking

    @property
    def finished(self) -> list[Bar]:
        """Bars that have a summary, in row order."""
        return [bar for bar in self.bars if bar.row is not None]

    def summarised(self) -> list[tuple[int, ...]]:
        """Per finished bar the token segments that its summary reads."""
        train = self.chunking == "train"
        return [
            (prefix, bar.segment) if train and bar.index == 0 and prefix is not None else (bar.segment,)
            for bar in self.finished
            for prefix in (self.prefixes[bar.song],)
        ]

    def rows(self, reading: Reading | None) -> SummaryRows:
        """Song and bar of each summary row: the finished bars, then what the reading adds."""
        pairs = [(bar.song, bar.index) for bar in self.finished]
        if reading is not None:
            pairs += [(s, bar) for s, extra in enumerate(reading.extra[: len(self.prefixes)]) for bar in extra]
        table = torch.tensor(pairs, dtype=torch.long, device=self.keep.device).reshape(-1, 2)
        return SummaryRows(song=table[:, 0], bar=table[:, 1])

    def reads(self, pattern: BarPattern, reading: Reading | None) -> list[Read]:
        """What each segment reads, in packed order (spec section 4)."""
        if reading is not None:
            pattern = reading.pattern(pattern)
        by_song: dict[int, list[Bar]] = {song: [] for song in range(len(self.prefixes))}
        for bar in self.bars:
            by_song[bar.song].append(bar)
        offsets = _extra_offsets(len(self.finished), reading)
        reads: list[Read] = []
        for song, bars in by_song.items():
            prefix = self.prefixes[song]
            if prefix is not None:
                ahead = [] if reading is None else [offsets[song] + i for i in reading.visible(pattern, song, 0)]
                reads.append(self._prefix_read(prefix, bars, ahead))
            reads += [self._bar_read(bar, bars, pattern, reading, offsets) for bar in bars]
        return reads

    def _prefix_read(self, prefix: int, bars: Sequence[Bar], ahead: Sequence[int]) -> Read:
        """The begin-of-song token reads itself; upstream's TRAIN chunking lets it read all of bar 0 (a future leak).

        Of a plan it reads what bar 0 reads ahead: it foretells the first tempo, which the whole piece may keep.
        """
        segments = (prefix, bars[0].segment) if self.chunking == "train" and bars else (prefix,)
        return Read(segments, torch.tensor(ahead, device=self.keep.device) if ahead else None, None)

    def _bar_read(
        self, bar: Bar, bars: Sequence[Bar], pattern: BarPattern, reading: Reading | None, offsets: Sequence[int]
    ) -> Read:
        prefix = self.prefixes[bar.song]
        near = [bars[other].segment for other in pattern.near_bars(bar.index)]
        segments = (*(() if prefix is None else (prefix,)), *near, bar.segment)
        rows = [row for other in pattern.far_bars(bar.index) if (row := bars[other].row) is not None]
        if reading is not None:
            rows += [offsets[bar.song] + i for i in reading.visible(pattern, bar.song, bar.index)]
        queries = self.lengths[bar.segment]
        keys = len(rows) + sum(self.lengths[segment] for segment in segments)
        # The own bar comes last, so the causal triangle is aligned with the lower right corner.
        mask = torch.ones(queries, keys, dtype=torch.bool, device=self.keep.device).tril(keys - queries)
        return Read(segments, torch.tensor(rows, device=self.keep.device) if rows else None, mask)


def _extra_offsets(finished: int, reading: Reading | None) -> list[int]:
    """First row of each song's extra summaries."""
    offsets = [finished]
    for extra in reading.extra if reading is not None else ():
        offsets.append(offsets[-1] + len(extra))
    return offsets


def lay_out(tokens: Tensor, chunking: Chunking, config: MuseFormerConfig, first_bars: Tensor | None = None) -> Layout:
    """Find the bars of a batch.

    Args:
        tokens: (batch, length) ids, each song begins with BOS (`</s>`) and is padded on the right with PAD.
        chunking: "infer", "train" or "bosbar" (spec section 2).
        config: of the model the ids are for.
        first_bars: (batch,) the number of each song's first bar; 0 if None.

    Raises:
        InputError: tokens of another shape, a song that does not begin with BOS, or padding inside a song.
    """
    _check(tokens, config)
    keep = tokens != PAD
    ends = (tokens == BAR_END).long()
    index = ends.cumsum(1) - ends  # bars finished before each token
    is_bos = torch.zeros_like(tokens, dtype=torch.bool)
    is_bos[:, 0] = True
    if chunking == "bosbar":
        index = index + ~is_bos
    first = tokens.new_zeros(len(tokens)) if first_bars is None else first_bars.to(tokens)
    bar_ids = index + 1 + first[:, None]
    if chunking == "infer":
        bar_ids = bar_ids.masked_fill(is_bos, 0)
    lengths, bars, prefixes = _segments(tokens, chunking)
    finished = torch.tensor([(bar.song, bar.index) for bar in bars if bar.row is not None]).to(tokens).reshape(-1, 2)
    return Layout(
        keep=keep,
        bar_ids=bar_ids[keep],
        beat_ids=beat_ids(tokens, latest_beats(tokens, config), config)[keep],
        summary_bar_ids=finished[:, 1] + 1 + first[finished[:, 0]],
        lengths=lengths,
        bars=bars,
        prefixes=prefixes,
        chunking=chunking,
    )


def latest_beats(tokens: Tensor, config: MuseFormerConfig) -> Tensor:
    """Position of the latest onset token + 1 for every token (batch, length); 0 before the first."""
    first, end = config.onset_ids
    onset = (tokens >= first) & (tokens < end)
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    latest = torch.where(onset, places, -1).cummax(1).values
    return torch.where(latest >= 0, tokens.gather(1, latest.clamp(min=0)) - first + 1, 0)


def beat_ids(tokens: Tensor, latest: Tensor, config: MuseFormerConfig) -> Tensor:
    """Beat ids (spec section 2): the latest beat, but 0 for special tokens, `b-*` and `config.offbeat_ids`."""
    first, end = config.offbeat_ids
    without = (tokens <= BAR_END) | ((tokens >= first) & (tokens < end))
    return latest.masked_fill(without, 0)


def _check(tokens: Tensor, config: MuseFormerConfig) -> None:
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


def _segments(tokens: Tensor, chunking: Chunking) -> tuple[tuple[int, ...], tuple[Bar, ...], tuple[int | None, ...]]:
    lengths: list[int] = []
    bars: list[Bar] = []
    prefixes: list[int | None] = []
    row = 0
    for song, ids in enumerate(tokens.tolist()):
        size = ids.index(PAD) if ids[-1] == PAD else len(ids)
        borders = [1, *(place + 1 for place in range(size) if ids[place] == BAR_END)]
        finished = len(borders) - 1
        if borders[-1] < size:
            borders.append(size)
        if chunking == "bosbar":
            borders = [0, *borders]
            finished += 1
            prefixes.append(None)
        else:
            prefixes.append(len(lengths))
            lengths.append(1)
        for index, (first, end) in enumerate(pairwise(borders)):
            done = index < finished
            bars.append(Bar(song, index, len(lengths), row if done else None))
            lengths.append(end - first)
            row += done
    return tuple(lengths), tuple(bars), tuple(prefixes)
