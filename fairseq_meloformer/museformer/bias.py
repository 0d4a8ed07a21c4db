"""What is added to the logits while songs are drawn: to single tokens, to leaps of the top line, and to harmony."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer.midi.metre import POSITIONS
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import BASS
from fairseq_meloformer.tokens.codes import DRUM_PITCHES, SHORTEST
from fairseq_meloformer.tokens.vocabulary import BAR_END, PAD

if TYPE_CHECKING:
    from fairseq_meloformer.tokens.vocabulary import Vocabulary

_OCTAVE: Final = 12
MUST: Final = 1e4
"""Nats for what must or, less them, must not come: more than any logit; the grammar still has the last word."""
_NONE: Final = -1
_TAIL: Final = 512
_BASS_DRUM: Final = 36


class Harmony(NamedTuple):
    """What is added to pitches as the chords want it. A bar has two halves, which may have chords of their own.

    Attributes:
        pitches: (songs, bars, 2, 2, 12) nats by half of the bar, whether the bass plays, and pitch class.
        fresh: (songs, bars, 2, 12) nats by half of the bar and pitch class for what has not yet begun in that half.
        held: (songs, bars, 2, 12) nats by half of the bar and pitch class for notes that last beyond the chord's end.
        until: (songs, bars, 2) position in the bar at which the chord of a half ends.
        half: (songs,) positions in half a bar.
    """

    pitches: Tensor
    fresh: Tensor
    held: Tensor
    until: Tensor
    half: Tensor

    def since(self, songs: Sequence[int], bar: int) -> "Harmony":
        """That of some songs from a bar on, counted from 0."""
        rows = list(songs)
        pitches, fresh, held, until = (part[rows, bar:] for part in self[:-1])
        return Harmony(pitches, fresh, held, until, self.half[rows])


@dataclass(frozen=True)
class Bias:
    """Of songs of one vocabulary, bar by bar; that of the last bar holds for all after it.

    Attributes:
        vocabulary: of the songs.
        tokens: (songs, bars, vocabulary) nats.
        leaps: (songs, bars) nats for every semitone between the top notes of one moment and the next, up to an octave.
        harmony: of pitches, None if no song has chords.
        kicks: (songs, bars) positions of bars that have a bass drum on every beat, 0 for the others; None if none has.
    """

    vocabulary: "Vocabulary"
    tokens: Tensor
    leaps: Tensor
    harmony: Harmony | None = None
    kicks: Tensor | None = None

    def since(self, songs: Sequence[int], bar: int) -> "Bias":
        """That of some songs from a bar on, counted from 0."""
        bar, rows = min(bar, self.tokens.shape[1] - 1), list(songs)
        chords = self.harmony
        rest = chords and chords.since(rows, bar)
        kicks = None if self.kicks is None else self.kicks[rows, bar:]
        return Bias(self.vocabulary, self.tokens[rows, bar:], self.leaps[rows, bar:], rest, kicks)

    def start(self, prompts: Sequence[Sequence[int]], device: torch.device) -> "Biased":
        """Begin to write songs that go on from prompts (ids, without BOS)."""
        return Biased(self, prompts, device)


class Biased:
    """A bias at the places of a batch of songs: `now` and `advance` take turns."""

    def __init__(self, bias: Bias, prompts: Sequence[Sequence[int]], device: torch.device) -> None:
        self._tokens = bias.tokens.to(device)
        self._leaps = bias.leaps.to(device)
        self._line = TopLine(bias.vocabulary, prompts, device) if bool(bias.leaps.any()) else None
        self._rules: list[Kicks | Chords] = []
        if bias.kicks is not None:
            self._rules.append(Kicks(bias.vocabulary, bias.kicks, device))
        if bias.harmony is not None:
            self._rules.append(Chords(bias.vocabulary, bias.harmony, len(prompts), device))
        self._songs = torch.arange(len(prompts), device=device)

    def now(self, bars: Tensor) -> Tensor:
        """(batch, vocabulary) to add to the logits of songs that have (batch,) finished bars."""
        bars = bars.clamp(max=self._tokens.shape[1] - 1)
        tokens = self._tokens[self._songs, bars]
        if self._line is not None:
            tokens = tokens + self._leaps[self._songs, bars][:, None] * self._line.moved()
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


class Kicks:
    """A bass drum on every beat: no token leads past a beat that has none yet.

    Args:
        vocabulary: of the songs.
        lengths: (songs, bars) positions of the bars that have it, 0 of the others.
        device: of the ids to come.
    """

    def __init__(self, vocabulary: "Vocabulary", lengths: Tensor, device: torch.device) -> None:
        pitches = vocabulary.range("p")
        self._lengths, self._onset = lengths.to(device), _onsets(vocabulary, device)
        self._kick = pitches.start + DRUM_PITCHES + _BASS_DRUM
        # Drums are written first in a moment, and from the highest down: what comes later would leave out this one.
        self._later = torch.zeros(len(vocabulary), dtype=torch.bool, device=device)
        self._later[pitches.start + DRUM_PITCHES : self._kick] = True
        self._later[[token for token in vocabulary.range("i") if vocabulary.symbols[token] != f"i-{DRUMS}"]] = True
        self._position = torch.zeros(len(lengths), dtype=torch.int64, device=device)
        self._heard = torch.zeros(len(lengths), dtype=torch.bool, device=device)

    def now(self, songs: Tensor, bars: Tensor) -> Tensor:
        """(batch, vocabulary) to add where songs (batch,) have (batch,) finished bars."""
        length = self._lengths[songs, bars][:, None]
        lacks = ((self._position % POSITIONS == 0) & ~self._heard)[:, None]
        here = self._position[:, None]
        beat = torch.where(lacks, here, (here // POSITIONS + 1) * POSITIONS)
        onset = self._onset.expand(len(songs), -1).clone()
        onset[:, BAR_END] = length[:, 0]
        return -MUST * ((length > 0) & ((onset > beat) | (lacks & self._later)))

    def advance(self, songs: Tensor, ids: Tensor) -> None:  # noqa: ARG002  as of chords
        """Take the next token (batch,) of each of these songs (batch,); PAD changes nothing."""
        onset = self._onset[ids]
        moved = onset != _NONE
        self._position = torch.where(moved, onset, self._position)
        self._heard = (self._heard & ~moved) | (ids == self._kick)

    def select(self, rows: Sequence[int]) -> None:
        """Keep the songs of these rows, in this order."""
        self._position, self._heard = self._position[list(rows)], self._heard[list(rows)]


class Chords:
    """Where songs are in their bars, who plays and what, followed token by token from the beginning of a bar on.

    Args:
        vocabulary: of the songs.
        harmony: what is added.
        songs: how many.
        device: of the ids to come.
    """

    def __init__(self, vocabulary: "Vocabulary", harmony: Harmony, songs: int, device: torch.device) -> None:
        size, players = len(vocabulary), vocabulary.range("i")
        self._harmony = Harmony(*(part.to(device) for part in harmony))
        pitches = vocabulary.range("p")[:DRUM_PITCHES]
        self._class = torch.full((size,), _OCTAVE)  # a thirteenth, to which nothing is added
        self._class[pitches.start : pitches.stop] = torch.arange(len(pitches)) % _OCTAVE
        self._onset = _onsets(vocabulary, device)
        self._bass = torch.full((size,), _NONE)
        self._bass[players.start : players.stop] = 0
        self._bass[[token for token in players if vocabulary.symbols[token] == f"i-{BASS}"]] = 1
        durations = vocabulary.range("d")[: len(SHORTEST)]
        self._lasts = torch.zeros(size)
        self._lasts[durations.start : durations.stop] = torch.from_numpy(SHORTEST).float()
        for table in ("_class", "_bass", "_lasts"):
            setattr(self, table, getattr(self, table).to(device))
        self._position = torch.zeros(songs, dtype=torch.int64, device=device)
        self._player, self._pitch = self._position, torch.full_like(self._position, _OCTAVE)
        self._heard = torch.zeros(songs, 2, _OCTAVE + 1, device=device)

    def now(self, songs: Tensor, bars: Tensor) -> Tensor:
        """(batch, vocabulary) to add where songs (batch,) have (batch,) finished bars."""
        chords = self._harmony
        half = (self._position >= chords.half[songs]).long()
        heard = self._heard[torch.arange(len(half), device=half.device), half, :_OCTAVE]
        new = chords.fresh[songs, bars, half] * (1 - heard) * (1 - self._player)[:, None]  # the bass keeps to its roots
        wanted = chords.pitches[songs, bars, half, self._player] + new
        wanted = pad(wanted, (0, 1))[:, self._class]
        held = pad(chords.held[songs, bars, half], (0, 1)).gather(1, self._pitch[:, None])
        return wanted + held * (self._lasts > (chords.until[songs, bars, half] - self._position)[:, None])

    def advance(self, songs: Tensor, ids: Tensor) -> None:
        """Take the next token (batch,) of each of these songs (batch,); PAD changes nothing."""
        onset, player, pitch = self._onset[ids], self._bass[ids], self._class[ids]
        self._heard[ids == BAR_END] = 0
        half = (self._position >= self._harmony.half[songs]).long()
        self._heard[torch.arange(len(ids), device=ids.device), half, pitch] = 1
        self._position = torch.where(onset == _NONE, self._position, onset)
        self._player = torch.where(player == _NONE, self._player, player)
        self._pitch = torch.where(ids == PAD, self._pitch, pitch)

    def select(self, rows: Sequence[int]) -> None:
        """Keep the songs of these rows, in this order."""
        index = list(rows)
        for name in ("_position", "_player", "_pitch", "_heard"):
            setattr(self, name, getattr(self, name)[index])


def _onsets(vocabulary: "Vocabulary", device: torch.device) -> Tensor:
    """(vocabulary,) the position in its bar that a token leads to: that of onsets, and 0 of the end of a bar."""
    onsets = vocabulary.range("o")
    leads_to = torch.full((len(vocabulary),), _NONE)
    leads_to[onsets.start : onsets.stop] = torch.arange(len(onsets))
    leads_to[BAR_END] = 0
    return leads_to.to(device)


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
