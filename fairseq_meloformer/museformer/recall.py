"""What returns: while a song is written, its earlier bars foretell its tokens, as far as they have been right so far.

A cache model (Grave, Joulin & Usunier 2017, arXiv:1612.04426) whose places are musical: the bar so many bars back says
what came there at the same place (the same sixteenth, instrument, pitch), and a song that has returned to that bar for
a while is likely to go on so. How likely is measured, so that a song returns about as much as real songs do. Where the
form of a song is given, its bars that are to return have what the earlier ones had.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import GUITAR, LEAD, PIANO, STRINGS
from fairseq_meloformer.tokens.vocabulary import BAR_END

if TYPE_CHECKING:
    from fairseq_meloformer.tokens.vocabulary import Vocabulary

# Held-out nats a token of museformer-mini, 40 songs: .976 without recalling and .793 with it, the lines below fitted to
# 20 of the songs and read off the other 20. Twice as many bars give .792, 8 give .81.
_BARS: Final = 16
_FORGETS: Final = 0.2
_AT_FIRST: Final = 0.3
_SHARPNESS: Final = 20.0
# Log odds that the most trusted bar decides, per kind of what was written last: a + b * its trust. After a bar's end
# and its tempo recalling gains nothing.
_ODDS: Final = {"o": (-4.3, 5.2), "i": (-6.3, 8.6), "p": (-5.5, 7.3), "d": (-6.9, 9.5), "v": (-6.3, 8.2)}

# What is read off real songs is too much for pieces that are drawn, whose copies are themselves copied, by a model that
# returns of its own accord: bars 5 on of 24 pieces are like an earlier one by .67 with .45 of it (of drums .8), by .63
# with what is here and fewer returns by form; those of real songs by .44 to .52. Drums, which are loops, keep as much
# of a bar in the next as in songs (.79) if they recall as songs do, and less (.72) with .8 of it.
_RESTRAINT: Final = 0.2

# How surely each token of a bar that is to return is the earlier bar's. Where the lead of real songs has the very bar
# again, so has the bass in 75 % of bars, guitar in 69, drums 62, strings 51 and piano 29. Without a lead one of these
# has the tune.
_RETURNS: Final = 0.98
_LOOSELY: Final = 0.8
_LOOSE: Final = frozenset({PIANO, GUITAR, STRINGS})

_Place = tuple[int | str, ...]
_Trust = list[float]


@dataclass(frozen=True)
class Recall:
    """Of songs of one vocabulary.

    Attributes:
        vocabulary: of the songs.
        begins: of each song the bars from 0 at which something else begins; what was before is not recalled.
        returns: of each song the bars that are to return, each with the earlier one; none of any if None.
    """

    vocabulary: "Vocabulary"
    begins: Sequence[Iterable[int]]
    returns: Sequence[Mapping[int, int]] | None = None

    def start(self, prompts: Sequence[Sequence[int]]) -> "Recalling":
        """Begin to write songs that go on from prompts (ids, without BOS)."""
        numbers = [_number(symbol) for symbol in self.vocabulary.symbols]
        returns = self.returns or [{}] * len(self.begins)
        songs = [_Song(numbers, *form) for form in zip(self.begins, returns, strict=True)]
        for song, prompt in zip(songs, prompts, strict=True):
            for token in prompt:
                song.foretold()
                song.advance(token)
        return Recalling(songs)


class Recalling:
    """What is recalled at the places of a batch of songs: `mixed` and `advance` take turns."""

    def __init__(self, songs: list["_Song"]) -> None:
        self._songs = songs

    def mixed(self, logits: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of the model mixed with what its songs recall."""
        foretold = [song.foretold() for song in self._songs]
        told = [(row, token, weight) for row, (_, of_song) in enumerate(foretold) for token, weight in of_song.items()]
        if not told:
            return logits
        share = torch.tensor([[share] for share, _ in foretold], device=logits.device)
        rows, tokens, weights = (torch.tensor(column, device=logits.device) for column in zip(*told, strict=True))
        votes = torch.zeros_like(logits, dtype=torch.float32).index_put_((rows, tokens), weights)
        own = logits.float().log_softmax(-1) + torch.log1p(-share)
        return torch.logaddexp(own, (share * votes).log())

    def advance(self, ids: Tensor) -> None:
        """Take the next token (batch,) of each song."""
        for song, token in zip(self._songs, ids.tolist(), strict=True):
            song.advance(token)

    def select(self, rows: Sequence[int]) -> None:
        """Keep the songs of these rows, in this order."""
        self._songs = [self._songs[row] for row in rows]


class _Bar:
    """What came after each place of a bar."""

    def __init__(self) -> None:
        self.next: dict[_Place, int] = {}
        self.onsets: list[tuple[int, int]] = []  # place in the bar, and its token
        self.programs: set[int] = set()

    def after(self, place: _Place) -> int | None:
        """What came after a place; after a note that it does not have, the next moment or the bar's end."""
        if place[0] != "v" or place in self.next:
            return self.next.get(place)
        later = bisect_right(self.onsets, place[1], key=lambda onset: onset[0])
        return self.onsets[later][1] if later < len(self.onsets) else BAR_END


class _Song:
    """One song, followed token by token."""

    def __init__(self, numbers: list[tuple[str, int]], begins: Iterable[int], returns: Mapping[int, int]) -> None:
        self._numbers = numbers
        self._returns = returns
        self._begins = frozenset(begins)
        self._first = 0
        self._bars = [_Bar()]
        self._place: _Place = ("b",)
        # Trust in the bar so many bars back: in all that it foretells, and in each kind of each instrument.
        self._general: _Trust = [_AT_FIRST] * (_BARS + 1)
        self._special: dict[_Place, _Trust] = {}
        self._foretold: list[tuple[int, int]] = []

    def foretold(self) -> tuple[float, dict[int, float]]:
        """How far earlier bars decide, from 0 to 1, and their tokens with weights that add up to 1."""
        kind, here = str(self._place[0]), len(self._bars) - 1
        # What returns by form says nothing of how the song goes on.
        self._foretold = []
        if returned := self._returned(here):
            return returned
        if kind not in _ODDS:
            return 0.0, {}
        for back in range(1, min(here - self._first, _BARS) + 1):
            token = self._bars[here - back].after(self._place)
            if token is not None:
                self._foretold.append((back, token))
        if not self._foretold:
            return 0.0, {}
        special = self._special.get((kind, *self._place[2:3]), self._general)
        trust = [(self._general[back] + special[back]) / 2 for back, _ in self._foretold]
        most = max(trust)
        weights = [exp(_SHARPNESS * (each - most)) for each in trust]
        total = sum(weights)
        votes: dict[int, float] = {}
        for (_, token), weight in zip(self._foretold, weights, strict=True):
            votes[token] = votes.get(token, 0.0) + weight / total
        a, b = _ODDS[kind]
        restraint = 1.0 if self._place[2:3] == (DRUMS,) else _RESTRAINT
        return restraint / (1 + exp(-a - b * most)), votes

    def _returned(self, here: int) -> tuple[float, dict[int, float]] | None:
        """The token of the bar that this one is to return to, and how surely it comes; None if there is none."""
        if here not in self._returns:
            return None
        earlier = self._bars[self._returns[here]]
        token = earlier.after(self._place)
        loose = len(self._place) > 2 and self._place[2] in _LOOSE and LEAD in earlier.programs
        return None if token is None else (_LOOSELY if loose else _RETURNS, {token: 1.0})

    def advance(self, token: int) -> None:
        """Take the next token."""
        self._judge(token)
        self._bars[-1].next[self._place] = token
        kind, number = self._numbers[token]
        if token == BAR_END:
            self._first = len(self._bars) if len(self._bars) in self._begins else self._first
            self._bars.append(_Bar())
            self._place = ("b",)
        elif kind == "o":
            self._bars[-1].onsets.append((number, token))
            self._place = (kind, number)
        elif kind == "i":
            self._bars[-1].programs.add(number)
            self._place = (kind, *self._place[1:2], number)
        elif kind == "p":
            self._place = (kind, *self._place[1:3], number)
        else:
            self._place = (kind, *self._place[1:])

    def _judge(self, token: int) -> None:
        """Trust more what foretold this token, and less what foretold another."""
        if not self._foretold:
            return
        special = self._special.setdefault((self._place[0], *self._place[2:3]), self._general.copy())
        for back, foretold in self._foretold:
            for trust in (self._general, special):
                trust[back] += _FORGETS * ((foretold == token) - trust[back])


def _number(symbol: str) -> tuple[str, int]:
    """Kind and number of a token; special ones have no number."""
    kind, dash, number = symbol.partition("-")
    return (kind, int(number)) if dash and number.isdigit() else ("", 0)
