"""What depends on where a song is while it is drawn: chords, their rhythm, clashes, the close, kicks, the top line."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer.midi.metre import POSITIONS
from fairseq_meloformer.midi.notes import CLASHES, DRUMS, TRIADS
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
_FARTHEST: Final = max(CLASHES)
CLASH: Final = -1.0
"""Nats for a pitch that clashes with one that sounds: clashes of 24 pieces go from .05 of the sixteenths to .03, of low
and dense ones from a third or more to a few hundredths."""

_MOST_WORN: Final = 3
"""Bars after which a triad that stays does not wear out further."""

# Of the close: nats for pitches outside of the chord, for the bass's other ones than its root, for onsets in the second
# half of the last bar (from 0 at its beginning on), and for notes there that are shorter than half of it, or than which
# it is shorter.
_ASTRAY: Final = -5.0
_ASTRAY_BASS: Final = -4.0
_LATE: Final = -10.0
_SHORT: Final = -3.0
_ENDLESS: Final = -6.0
# Dominant and tonic of C major and of A minor, root first. The seventh of the minor's dominant is left to the model.
_DOMINANTS: Final = ((7, 11, 2), (4, 8, 11, 7))
_TONICS: Final = ((0, 4, 7), (9, 0, 4))
_OF_BASS: Final = 3.0


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


class Close(NamedTuple):
    """Which songs end on their tonic.

    Attributes:
        last: (songs,) number of the last bar, from 0; below 0 where no close is wanted.
        major: (songs,) how surely it is C major before a note is written, in notes; below 0 for A minor.
    """

    last: Tensor
    major: Tensor


class _Rule:
    """What follows a batch of songs, with one row of each of its states for each song."""

    _states: ClassVar[tuple[str, ...]]

    def select(self, rows: Sequence[int]) -> None:
        """Keep the songs of these rows, in this order."""
        index = list(rows)
        for name in self._states:
            setattr(self, name, getattr(self, name)[index])


class Kicks(_Rule):
    """A bass drum on every beat: no token leads past a beat that has none yet.

    Args:
        vocabulary: of the songs.
        lengths: (songs, bars) positions of the bars that have it, 0 of the others.
        device: of the ids to come.
    """

    _states = ("_position", "_heard")

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
        length = self._lengths[songs, bars.clamp(max=self._lengths.shape[1] - 1)][:, None]
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


class Chords(_Rule):
    """Where songs are in their bars, who plays and what, followed token by token from the beginning of a bar on.

    Args:
        vocabulary: of the songs.
        harmony: what is added.
        songs: how many.
        device: of the ids to come.
    """

    _states = ("_position", "_player", "_pitch", "_heard")

    def __init__(self, vocabulary: "Vocabulary", harmony: Harmony, songs: int, device: torch.device) -> None:
        self._harmony = Harmony(*(part.to(device) for part in harmony))
        self._class, self._onset = _classes(vocabulary, device), _onsets(vocabulary, device)
        self._bass = _playing(vocabulary, BASS, device)
        self._lasts = _table(vocabulary, "d", torch.from_numpy(SHORTEST), 0, device)
        self._position = torch.zeros(songs, dtype=torch.int64, device=device)
        self._player, self._pitch = self._position, torch.full_like(self._position, _OCTAVE)
        self._heard = torch.zeros(songs, 2, _OCTAVE + 1, device=device)

    def now(self, songs: Tensor, bars: Tensor) -> Tensor:
        """(batch, vocabulary) to add where songs (batch,) have (batch,) finished bars."""
        chords, bars = self._harmony, bars.clamp(max=self._harmony.pitches.shape[1] - 1)
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


class Clashes(_Rule):
    """Which notes sound where a pitch is drawn, so that few clash with them; drums do not count.

    Args:
        vocabulary: of the songs.
        lengths: (songs,) positions of their bars.
        prompts: their beginnings, ids without BOS.
        device: of the ids to come.
    """

    _states = ("_position", "_note", "_ends")

    def __init__(
        self, vocabulary: "Vocabulary", lengths: Tensor, prompts: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        pitches = vocabulary.range("p")
        self._lengths, self._first, self._onset = lengths.to(device), pitches.start, _onsets(vocabulary, device)
        numbers = torch.arange(len(pitches)).clamp(max=DRUM_PITCHES)  # the last is all that drums play
        self._pitch = _table(vocabulary, "p", numbers, _NONE, device)
        self._lasts = _durations(vocabulary, device)
        self._position = torch.zeros(len(prompts), dtype=torch.int64, device=device)
        self._note = torch.full_like(self._position, DRUM_PITCHES)
        self._ends = torch.zeros(len(prompts), DRUM_PITCHES + 1, dtype=torch.int64, device=device)
        everyone = torch.arange(len(prompts), device=device)
        for ids in _columns([prompt[-_TAIL:] for prompt in prompts], device):
            self.advance(everyone, ids)

    def now(self, songs: Tensor, bars: Tensor) -> Tensor:  # noqa: ARG002  as of chords
        """(batch, vocabulary) to add where songs (batch,) are."""
        sounding = self._ends[:, :DRUM_PITCHES] > self._position[:, None]
        near = pad(sounding, (_FARTHEST, _FARTHEST))
        clash = torch.zeros_like(sounding)
        for way in (*CLASHES, *(-interval for interval in CLASHES)):
            clash |= near[:, _FARTHEST + way : _FARTHEST + way + DRUM_PITCHES]
        added = torch.zeros(len(songs), len(self._pitch), device=clash.device)
        added[:, self._first : self._first + DRUM_PITCHES] = CLASH * clash
        return added

    def advance(self, songs: Tensor, ids: Tensor) -> None:
        """Take the next token (batch,) of each of these songs (batch,); PAD changes nothing."""
        onset, pitch, lasts = self._onset[ids], self._pitch[ids], self._lasts[ids]
        self._ends -= (self._lengths[songs] * (ids == BAR_END))[:, None]
        self._position = torch.where(onset == _NONE, self._position, onset)
        self._note = torch.where(pitch == _NONE, self._note, pitch)
        until = torch.where(lasts > 0, self._position + lasts, 0)[:, None]
        self._ends.scatter_reduce_(1, self._note[:, None], until, "amax")


class HarmonicRhythm(_Rule):
    """A triad that stays from bar to bar wears out: its notes become less likely, until another one is heard.

    A bar's triad is the one that most of what begins in the bar belongs to, by length and without drums; a silent bar
    leaves everything as it was.

    Args:
        vocabulary: of the songs.
        worn: (songs, bars) nats in a bar for the notes of the triad before it, times the bars that it has stayed.
        prompts: their beginnings, ids without BOS.
        device: of the ids to come.
    """

    _states = ("_pitch", "_weights", "_triad", "_stayed")

    def __init__(
        self, vocabulary: "Vocabulary", worn: Tensor, prompts: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        self._worn = worn.to(device)
        self._class = _classes(vocabulary, device)
        self._pitches, self._lasts = vocabulary.range("p"), _durations(vocabulary, device).float()
        self._triads = one_hot(torch.tensor(TRIADS), _OCTAVE).sum(1).float().to(device)
        self._pitch = torch.full((len(prompts),), _OCTAVE, device=device)
        self._weights = torch.zeros(len(prompts), _OCTAVE + 1, device=device)
        self._triad = torch.full_like(self._pitch, _NONE)
        self._stayed = torch.zeros_like(self._pitch)
        everyone = torch.arange(len(prompts), device=device)
        for ids in _columns(prompts, device):
            self.advance(everyone, ids)

    def now(self, songs: Tensor, bars: Tensor) -> Tensor:
        """(batch, vocabulary) to add where songs (batch,) have (batch,) finished bars."""
        worn = self._worn[songs, bars.clamp(max=self._worn.shape[1] - 1)] * self._stayed.clamp(max=_MOST_WORN)
        return pad(self._triads[self._triad] * worn[:, None], (0, 1))[:, self._class]

    def advance(self, songs: Tensor, ids: Tensor) -> None:  # noqa: ARG002  as of chords
        """Take the next token (batch,) of each of these songs (batch,); PAD changes nothing."""
        drawn, ends = (ids >= self._pitches.start) & (ids < self._pitches.stop), ids == BAR_END
        self._pitch = torch.where(drawn, self._class[ids], self._pitch)
        self._weights.scatter_add_(1, self._pitch[:, None], self._lasts[ids][:, None])
        if not bool(ends.any()):
            return
        most, triad = (self._weights[:, :_OCTAVE] @ self._triads.T).max(1)
        told = ends & (most > 0)
        self._stayed = torch.where(told, (self._stayed + 1) * (triad == self._triad), self._stayed)
        self._triad = torch.where(told, triad, self._triad)
        self._weights[ends] = 0


class Closing(_Rule):
    """A close: in the last bar the tonic's triad above its root, held, and half a bar of its dominant before.

    Songs are in C major or A minor, and which of the two it is is told by what has sounded: by C and A of the bass,
    G and A of the others.

    Args:
        vocabulary: of the songs.
        close: which songs have one.
        lengths: (songs,) positions of their bars.
        prompts: their beginnings, ids without BOS.
        device: of the ids to come.
    """

    _states = ("_position", "_bass", "_drums", "_major")

    def __init__(
        self,
        vocabulary: "Vocabulary",
        close: Close,
        lengths: Tensor,
        prompts: Sequence[Sequence[int]],
        device: torch.device,
    ) -> None:
        self._last, self._lengths = close.last.to(device), lengths.to(device)
        self._onset = _onsets(vocabulary, device)
        self._lasts = _table(vocabulary, "d", torch.from_numpy(SHORTEST), _NONE, device)
        self._plays_bass, self._plays_drums = (_playing(vocabulary, program, device) for program in (BASS, DRUMS))
        classes = _classes(vocabulary, device)
        chords = torch.stack([torch.stack([_close(chord) for chord in pair]) for pair in (_DOMINANTS, _TONICS)])
        # (dominant or tonic, mode, bass or not, vocabulary)
        self._chords = pad(chords.to(device), (0, 1))[..., classes]
        says = torch.zeros(2, _OCTAVE + 1, device=device)
        says[0, 7], says[0, 9], says[1, 0], says[1, 9] = 1.0, -1.0, _OF_BASS, -_OF_BASS
        self._says = says[:, classes]
        self._major = close.major.to(device).float()
        self._position = torch.zeros(len(prompts), dtype=torch.int64, device=device)
        self._bass, self._drums = torch.zeros_like(self._position), torch.zeros_like(self._position)
        everyone = torch.arange(len(prompts), device=device)
        for ids in _columns(prompts, device):
            self.advance(everyone, ids)

    def now(self, songs: Tensor, bars: Tensor) -> Tensor:
        """(batch, vocabulary) to add where songs (batch,) have (batch,) finished bars."""
        left, length = self._last[songs] - bars, self._lengths[songs]
        late = 2 * self._position >= length
        last, before = left == 0, (left == 1) & late
        if not bool((last | before).any()):
            return torch.zeros((), device=left.device)
        chord = self._chords[last.long(), (self._major < 0).long(), self._bass]
        held = _LATE * (2 * self._onset / length[:, None]).clamp(0, 1)
        short = (self._lasts != _NONE) & (2 * self._lasts < length[:, None]) & (self._drums == 0)[:, None]
        held = held + _SHORT * short + _ENDLESS * (self._lasts > length[:, None])
        return chord * (last | before)[:, None] + held * last[:, None]

    def advance(self, songs: Tensor, ids: Tensor) -> None:  # noqa: ARG002  as of chords
        """Take the next token (batch,) of each of these songs (batch,); PAD changes nothing."""
        onset, bass, drums = self._onset[ids], self._plays_bass[ids], self._plays_drums[ids]
        self._position = torch.where(onset == _NONE, self._position, onset)
        self._bass = torch.where(bass == _NONE, self._bass, bass)
        self._drums = torch.where(drums == _NONE, self._drums, drums)
        self._major = self._major + self._says[self._bass, ids]


def _close(chord: Sequence[int]) -> Tensor:
    """(2, 12) nats of pitch classes under a chord, root first, for all and for the bass."""
    outside = torch.full((2, _OCTAVE), _ASTRAY)
    outside[:, list(chord)] = 0
    outside[1] += _ASTRAY_BASS
    outside[1, chord[0]] = 0
    return outside


def _columns(prompts: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
    """The tokens (batch,) of songs one after the other, PAD first and after the end of a shorter one."""
    begun = [torch.tensor([PAD, *prompt], device=device) for prompt in prompts]
    return iter(pad_sequence(begun, padding_value=PAD))


def _table(vocabulary: "Vocabulary", kind: str, values: Tensor, others: int, device: torch.device) -> Tensor:
    """(vocabulary,) values of the first tokens of a kind, in their order, and the others'."""
    first = vocabulary.range(kind).start
    table = torch.full((len(vocabulary),), others, dtype=values.dtype)
    table[first : first + len(values)] = values
    return table.to(device)


def _onsets(vocabulary: "Vocabulary", device: torch.device) -> Tensor:
    """(vocabulary,) the position in its bar that a token leads to: that of onsets, and 0 of the end of a bar."""
    leads_to = _table(vocabulary, "o", torch.arange(len(vocabulary.range("o"))), _NONE, device)
    leads_to[BAR_END] = 0
    return leads_to


def _classes(vocabulary: "Vocabulary", device: torch.device) -> Tensor:
    """(vocabulary,) pitch classes, and a thirteenth of all else, to which nothing is added."""
    return _table(vocabulary, "p", torch.arange(DRUM_PITCHES) % _OCTAVE, _OCTAVE, device)


def _durations(vocabulary: "Vocabulary", device: torch.device) -> Tensor:
    """(vocabulary,) positions that a note lasts, at least one, and 0 of what is no duration."""
    return _table(vocabulary, "d", torch.from_numpy(SHORTEST).clamp(min=1), 0, device)


def _playing(vocabulary: "Vocabulary", program: int, device: torch.device) -> Tensor:
    """(vocabulary,) 1 of the player of a program, 0 of the others, -1 of what is no player."""
    players = vocabulary.range("i")
    found = torch.tensor([int(vocabulary.symbols[player] == f"i-{program}") for player in players])
    return _table(vocabulary, "i", found, _NONE, device)


class TopLine(_Rule):
    """The highest notes without drums of the moments of songs, followed token by token.

    Args:
        vocabulary: of the songs.
        prompts: their beginnings, ids without BOS.
        device: of the ids to come.
    """

    _states = ("_here", "_before")

    def __init__(self, vocabulary: "Vocabulary", prompts: Sequence[Sequence[int]], device: torch.device) -> None:
        self._pitch = _table(vocabulary, "p", torch.arange(DRUM_PITCHES), _NONE, device)
        self._begins = torch.zeros(len(vocabulary), dtype=torch.bool)
        self._begins[[*vocabulary.range("o"), BAR_END]] = True
        self._begins = self._begins.to(device)
        self._here = torch.full((len(prompts),), _NONE, device=device)
        self._before = self._here.clone()
        # The last two moments matter alone, and these are in a bar's tokens at most.
        for ids in _columns([prompt[-_TAIL:] for prompt in prompts], device):
            self.advance(ids)

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


def _interval(pitch: Tensor, other: Tensor) -> Tensor:
    return (pitch - other).abs().clamp(max=_OCTAVE)
