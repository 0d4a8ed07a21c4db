"""What is added to the logits while songs are drawn: to single tokens, to leaps of the top line, and by rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fairseq_meloformer.museformer.rules import (
    Chords,
    Clashes,
    Close,
    Closing,
    HarmonicRhythm,
    Harmony,
    Kicks,
    TopLine,
)

if TYPE_CHECKING:
    from fairseq_meloformer.tokens.vocabulary import Vocabulary


@dataclass(frozen=True)
class Bias:
    """Of songs of one vocabulary, bar by bar; that of the last bar holds for all after it.

    Attributes:
        vocabulary: of the songs.
        tokens: (songs, bars, vocabulary) nats.
        leaps: (songs, bars) nats for every semitone between the top notes of one moment and the next, up to an octave.
        harmony: of pitches, None if no song has chords.
        kicks: (songs, bars) positions of bars that have a bass drum on every beat, 0 for the others; None if none has.
        lengths: (songs,) positions of their bars, of whose notes few shall clash; None if that is left to the model.
        close: how songs end, which need `lengths`; None if that is left to the model.
        worn: (songs, bars) nats by which a triad that stays wears out (`HarmonicRhythm`); None if none does.
    """

    vocabulary: "Vocabulary"
    tokens: Tensor
    leaps: Tensor
    harmony: Harmony | None = None
    kicks: Tensor | None = None
    lengths: Tensor | None = None
    close: Close | None = None
    worn: Tensor | None = None

    def since(self, songs: Sequence[int], bar: int) -> "Bias":
        """That of some songs from a bar on, counted from 0."""
        rows, chords = list(songs), self.harmony
        close = self.close and Close(self.close.last[rows] - bar, self.close.major[rows])
        lengths = None if self.lengths is None else self.lengths[rows]
        bar = min(bar, self.tokens.shape[1] - 1)
        rest = chords and chords.since(rows, bar)
        kicks = None if self.kicks is None else self.kicks[rows, bar:]
        worn = None if self.worn is None else self.worn[rows, bar:]
        tokens, leaps = self.tokens[rows, bar:], self.leaps[rows, bar:]
        return Bias(self.vocabulary, tokens, leaps, rest, kicks, lengths, close, worn)

    def start(self, prompts: Sequence[Sequence[int]], device: torch.device) -> "Biased":
        """Begin to write songs that go on from prompts (ids, without BOS)."""
        return Biased(self, prompts, device)


class Biased:
    """A bias at the places of a batch of songs: `now` and `advance` take turns."""

    def __init__(self, bias: Bias, prompts: Sequence[Sequence[int]], device: torch.device) -> None:
        self._tokens = bias.tokens.to(device)
        self._leaps = bias.leaps.to(device)
        self._line = TopLine(bias.vocabulary, prompts, device) if bool(bias.leaps.any()) else None
        self._rules: list[Kicks | Chords | Clashes | Closing | HarmonicRhythm] = []
        if bias.kicks is not None:
            self._rules.append(Kicks(bias.vocabulary, bias.kicks, device))
        if bias.harmony is not None:
            self._rules.append(Chords(bias.vocabulary, bias.harmony, len(prompts), device))
        if bias.lengths is not None:
            self._rules.append(Clashes(bias.vocabulary, bias.lengths, prompts, device))
            if bias.close is not None:
                self._rules.append(Closing(bias.vocabulary, bias.close, bias.lengths, prompts, device))
        if bias.worn is not None and bool(bias.worn.any()):
            self._rules.append(HarmonicRhythm(bias.vocabulary, bias.worn, prompts, device))
        self._songs = torch.arange(len(prompts), device=device)

    def now(self, bars: Tensor) -> Tensor:
        """(batch, vocabulary) to add to the logits of songs that have (batch,) finished bars."""
        row = bars.clamp(max=self._tokens.shape[1] - 1)
        tokens = self._tokens[self._songs, row]
        if self._line is not None:
            tokens = tokens + self._leaps[self._songs, row][:, None] * self._line.moved()
        for rule in self._rules:
            tokens = tokens + rule.now(self._songs, bars)
        return tokens

    def advance(self, ids: Tensor) -> None:
        """Take the next token (batch,) of each song."""
        if self._line is not None:
            self._line.advance(ids)
        for rule in self._rules:
            rule.advance(self._songs, ids)

    def select(self, rows: Sequence[int]) -> None:
        """Keep the songs of these rows, in this order."""
        self._songs = self._songs[list(rows)]
        if self._line is not None:
            self._line.select(rows)
        for rule in self._rules:
            rule.select(rows)
