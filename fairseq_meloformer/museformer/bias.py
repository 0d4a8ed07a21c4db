"""What is added to the logits while songs are drawn: to single tokens, and to leaps of the top line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer.tokens.codes import DRUM_PITCHES
from fairseq_meloformer.tokens.vocabulary import BAR_END, PAD

if TYPE_CHECKING:
    from fairseq_meloformer.tokens.vocabulary import Vocabulary

_OCTAVE: Final = 12
_NONE: Final = -1
_TAIL: Final = 512


@dataclass(frozen=True)
class Bias:
    """Of songs of one vocabulary, bar by bar; that of the last bar holds for all after it.

    Attributes:
        vocabulary: of the songs.
        tokens: (songs, bars, vocabulary) nats.
        leaps: (songs, bars) nats for every semitone between the top notes of one moment and the next, up to an octave.
    """

    vocabulary: "Vocabulary"
    tokens: Tensor
    leaps: Tensor

    def since(self, songs: Sequence[int], bar: int) -> "Bias":
        """That of some songs from a bar on, counted from 0."""
        bar = min(bar, self.tokens.shape[1] - 1)
        return Bias(self.vocabulary, self.tokens[list(songs), bar:], self.leaps[list(songs), bar:])

    def start(self, prompts: Sequence[Sequence[int]], device: torch.device) -> "Biased":
        """Begin to write songs that go on from prompts (ids, without BOS)."""
        return Biased(self, prompts, device)


class Biased:
    """A bias at the places of a batch of songs: `now` and `advance` take turns."""

    def __init__(self, bias: Bias, prompts: Sequence[Sequence[int]], device: torch.device) -> None:
        self._tokens = bias.tokens.to(device)
        self._leaps = bias.leaps.to(device)
        self._line = TopLine(bias.vocabulary, prompts, device) if bool(bias.leaps.any()) else None
        self._songs = torch.arange(len(prompts), device=device)

    def now(self, bars: Tensor) -> Tensor:
        """(batch, vocabulary) to add to the logits of songs that have (batch,) finished bars."""
        bars = bars.clamp(max=self._tokens.shape[1] - 1)
        tokens = self._tokens[self._songs, bars]
        if self._line is None:
            return tokens
        return tokens + self._leaps[self._songs, bars][:, None] * self._line.moved()

    def advance(self, ids: Tensor) -> None:
        """Take the next token (batch,) of each song."""
        if self._line is not None:
            self._line.advance(ids)

    def select(self, rows: Sequence[int]) -> None:
        """Keep the songs of these rows, in this order."""
        self._songs = self._songs[list(rows)]
        if self._line is not None:
            self._line.select(rows)


class TopLine:
    """The highest notes without drums of the moments of songs, followed token by token.

    Args:
        vocabulary: of the songs.
        prompts: their beginnings, ids without BOS.
        device: of the ids to come.
    """

    def __init__(self, vocabulary: "Vocabulary", prompts: Sequence[Sequence[int]], device: torch.device) -> None:
        pitches = vocabulary.range("p")[:DRUM_PITCHES]
        self._pitch = torch.full((len(vocabulary),), _NONE)
        self._pitch[pitches.start : pitches.stop] = torch.arange(len(pitches))
        self._begins = torch.zeros(len(vocabulary), dtype=torch.bool)
        self._begins[[*vocabulary.range("o"), BAR_END]] = True
        self._pitch, self._begins = self._pitch.to(device), self._begins.to(device)
        self._here = torch.full((len(prompts),), _NONE, device=device)
        self._before = self._here.clone()
        # The last two moments matter alone, and these are in a bar's tokens at most.
        tails = [torch.tensor([PAD, *prompt[-_TAIL:]], device=device) for prompt in prompts]
        for column in pad_sequence(tails, padding_value=PAD):
            self.advance(column)

    def moved(self) -> Tensor:
        """(batch, vocabulary) by how many semitones more each token would move the line, up to an octave in all.

        That is 0 for all but pitches that would be the highest of their moment, and where there was no note before.
        """
        before = self._before[:, None]
        standing = torch.where(self._here == _NONE, 0, _interval(self._here, self._before))
        moves = (self._pitch > self._here[:, None]) & (before != _NONE)
        return torch.where(moves, _interval(self._pitch, before) - standing[:, None], 0)

    def advance(self, ids: Tensor) -> None:
        """Take the next token (batch,) of each song; PAD changes nothing."""
        begins = self._begins[ids]
        self._before = torch.where(begins & (self._here != _NONE), self._here, self._before)
        self._here = torch.maximum(self._here.masked_fill(begins, _NONE), self._pitch[ids])

    def select(self, rows: Sequence[int]) -> None:
        """Keep the songs of these rows, in this order."""
        self._here, self._before = self._here[list(rows)], self._before[list(rows)]


def _interval(pitch: Tensor, other: Tensor) -> Tensor:
    return (pitch - other).abs().clamp(max=_OCTAVE)
