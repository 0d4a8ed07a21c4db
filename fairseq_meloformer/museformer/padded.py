"""A batch in its padded form, for GPUs: a layer reads by two calls, and nothing waits for what the device knows.

Attributes and methods are those of `Layout`, but tokens are (batch, length), and summaries (batch, bars), whether a
song has so many bars or not.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from fairseq_meloformer.museformer.attention import AttentionByMask
from fairseq_meloformer.museformer.config import Chunking, MuseFormerConfig
from fairseq_meloformer.museformer.layout import NOWHERE, Reading, SummaryRows, beat_ids, latest_beats, numbered
from fairseq_meloformer.museformer.pattern import BarPattern, contains
from fairseq_meloformer.tokens.vocabulary import PAD

_ALIGNED = 8  # numbers: GPU kernels want the rows of a mask to begin so


@dataclass(frozen=True)
class PaddedLayout:
    """The padded form of a batch.

    Attributes:
        tokens: (batch, length) ids.
        keep: (batch, length) True where a real token is.
        bar_ids, beat_ids: (batch, length) as in `Layout`.
        summary_bar_ids: (batch, bars) number of the bar of each summary + 1; 0 where a song has no such bar.
        token_bars: (batch, length) the bar of each token, NOWHERE at padding.
        summary_bars: (batch, bars) the bar of each summary, NOWHERE where a song has no such bar.
        chunking: see `MuseFormerConfig`.
    """

    tokens: Tensor
    keep: Tensor
    bar_ids: Tensor
    beat_ids: Tensor
    summary_bar_ids: Tensor
    token_bars: Tensor
    summary_bars: Tensor
    chunking: Chunking

    def added(self, reading: Reading | None) -> int:
        """Rows per song for the summaries that a reading adds, with some that fill up the mask's rows."""
        added = 0 if reading is None else reading.bars.shape[1]
        return added + -(added + self.summary_bars.shape[1] + self.tokens.shape[1]) % _ALIGNED

    def rows(self, reading: Reading | None) -> SummaryRows:
        """Song and bar of each row of summaries, song by song."""
        bars = torch.cat([self.summary_bars, self._added_bars(reading)], 1)
        songs = torch.arange(len(bars), device=bars.device)[:, None].expand_as(bars)
        return SummaryRows(song=songs.flatten(), bar=bars.flatten(), songs=len(bars))

    def padded(self, hidden: Tensor) -> Tensor:
        """(batch, length, dim) with zeros at padding."""
        return hidden.masked_fill(~self.keep[..., None], 0)

    def by_song(self, summaries: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, bars, ...) with zeros where a song has no such bar; mask (batch, bars)."""
        there = self.summary_bars < NOWHERE
        return torch.where(there[..., None, None], summaries, 0), there

    def summary_attention(self) -> AttentionByMask:
        """A finished bar's summary reads itself and its bar; keys are [summaries; tokens]."""
        bars = self.token_bars
        if self.chunking == "infer":  # the begin-of-song token is in no bar
            bars = torch.cat([torch.full_like(bars[:, :1], NOWHERE), bars[:, 1:]], 1)
        own = torch.eye(self.summary_bars.shape[1], dtype=torch.bool, device=bars.device).expand(len(bars), -1, -1)
        there = self.summary_bars[..., None] < NOWHERE
        return AttentionByMask(torch.cat([own, (bars[:, None] == self.summary_bars[..., None]) & there], 2))

    def token_attention(self, pattern: BarPattern, reading: Reading | None, extra: int) -> AttentionByMask:
        """What tokens read; keys are [summaries, then so many that the reading adds; tokens].

        It is looked up once for each bar, (batch, bars + 1, keys), and then spread over the bar's tokens.
        """
        if reading is not None:
            pattern = reading.pattern(pattern)
        device, own = self.tokens.device, self.summary_bars.shape[1]
        added = (
            torch.full((len(self.tokens), extra), NOWHERE, device=device)
            if reading is None
            else self._added_bars(reading)
        )
        bars = torch.arange(own + 1, device=device)[:, None]
        near, far = _tables(pattern, own + extra + 2, device)
        summary, plan, note = (bars - keys[:, None] for keys in (self.summary_bars, added, self.token_bars))
        ahead = -1 if reading is None else reading.ahead
        planned = (plan <= 0) & (-plan <= ahead) & (added[:, None] < NOWHERE)
        notes = _looked_up(near, note)
        if self.chunking != "bosbar":
            notes[..., 0] = True  # all read the begin-of-song token, which stands outside the bars
        by_bar = torch.cat(
            [
                _looked_up(far, summary),
                torch.where(added[:, None] < 0, _looked_up(far, plan), planned),
                notes,
            ],
            2,
        )
        bar = self.token_bars.clamp(max=own)
        read = by_bar.gather(1, bar[..., None].expand(-1, -1, by_bar.shape[2]))
        length = self.tokens.shape[1]
        past = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        if self.chunking == "train":
            past[0] = True  # a future leak of upstream's: the begin-of-song token reads all of bar 0
        read[..., -length:] &= past
        read[..., -length] |= ~self.keep  # padding reads something, lest it become NaN
        return AttentionByMask(read)

    def _added_bars(self, reading: Reading | None) -> Tensor:
        """(batch, extra) bars of what a reading adds; NOWHERE in rows that nobody reads."""
        added = torch.full((len(self.tokens), self.added(reading)), NOWHERE, device=self.tokens.device)
        if reading is not None:
            songs, bars = min(len(reading.bars), len(added)), reading.bars.shape[1]
            added[:songs, :bars] = reading.bars[:songs]
        return added


def lay_out_padded(
    tokens: Tensor, chunking: Chunking, config: MuseFormerConfig, bars: int, first_bars: Tensor | None = None
) -> PaddedLayout:
    """As `lay_out`, of tokens that are known to be a batch of songs, none of which has more than so many bars."""
    keep = tokens != PAD
    index, finished, first = numbered(tokens, chunking, first_bars)
    summary_bars = torch.arange(bars, device=tokens.device).expand(len(tokens), -1)
    there = summary_bars < finished[:, None]
    bar_ids = index + 1 + first[:, None]
    if chunking == "infer":
        bar_ids[:, 0] = 0
    return PaddedLayout(
        tokens=tokens,
        keep=keep,
        bar_ids=bar_ids,
        beat_ids=beat_ids(tokens, latest_beats(tokens, config), config),
        summary_bar_ids=torch.where(there, summary_bars + 1 + first[:, None], 0),
        token_bars=index.masked_fill(~keep, NOWHERE),
        summary_bars=summary_bars.masked_fill(~there, NOWHERE),
        chunking=chunking,
    )


@lru_cache(maxsize=64)
def _tables(pattern: BarPattern, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Whether a bar so many bars back, the own being 0 back, is read note by note, and through its summary."""
    back = range(1, size)
    near = torch.tensor([True, *(contains(pattern.near, -distance) for distance in back)])
    far = torch.tensor([False, *(contains(pattern.far, -distance) for distance in back)])
    return near.to(device, non_blocking=True), far.to(device, non_blocking=True)


def _looked_up(table: Tensor, back: Tensor) -> Tensor:
    return table[back.clamp(0, len(table) - 1)] & (back >= 0)
