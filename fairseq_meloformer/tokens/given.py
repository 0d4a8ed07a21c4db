"""A grammar under which parts of the bars are given: their tempo, and the notes of instruments that stay."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fairseq_meloformer.tokens.grammar import Grammar
from fairseq_meloformer.tokens.vocabulary import BAR_END, PAD

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fairseq_meloformer.tokens.grammar import Limits
    from fairseq_meloformer.tokens.vocabulary import Vocabulary


@dataclass(frozen=True)
class Given:
    """What is given of the bars of a song.

    Attributes:
        bars: tokens of REMIGEN2 bars without `b-1`, by the number of the bar from 0: a tempo, then the notes that stay.
        programs: the instruments that are written; in these bars the others have their given notes and no more.
        earliest: first positions that notes of a bar may have, where it is not 0.
    """

    bars: Mapping[int, Sequence[str]]
    programs: Collection[int]
    earliest: Mapping[int, int] = field(default_factory=dict)

    def since(self, bar: int) -> Given:
        """What is given to the song that begins with this bar."""
        return replace(
            self,
            bars={number - bar: tokens for number, tokens in self.bars.items() if number >= bar},
            earliest={number - bar: position for number, position in self.earliest.items() if number >= bar},
        )


@dataclass
class _Place:
    """Where a song is in a bar of which something is given.

    groups: ids of an onset, an instrument and its notes each, that are still to come. forced: ids that come next.
    written: instruments that are. earliest: position. onset: of the last position. writes: whether the last instrument
    is written.
    """

    groups: list[list[int]]
    forced: list[int]
    written: frozenset[int]
    earliest: int
    onset: int = PAD
    writes: bool = True


class GivenGrammar(Grammar):
    """A grammar whose songs keep what is given, token by token, and write the rest around it.

    The given notes of a bar stand among the new ones in the order of the tokens, so that the model has read all that
    sounds before a note when it writes it. `Limits.bar_tokens` holds for what is not given.

    Args:
        vocabulary: of the ids.
        given: what each song keeps.
        empty_bars: see `Grammar`.
    """

    def __init__(self, vocabulary: Vocabulary, given: Sequence[Given], *, empty_bars: bool = True) -> None:
        super().__init__(vocabulary, empty_bars=empty_bars)
        self._order = self._rules.places.tolist()
        self._given = list(given)
        self._places: list[_Place | None] = []

    def start(
        self,
        songs: int | Sequence[Sequence[int]],
        device: torch.device | str = "cpu",
        *,
        limits: Limits | None = None,
    ) -> None:
        """Begin a batch, see `Grammar.start`; prompts must end with a bar."""
        self._places = []
        super().start(songs, device, limits=limits)
        self._places = [self._open(row) for row in range(len(self.bars))]

    def allowed(self) -> Tensor:
        """(batch, vocabulary) bool: what may come next; never nothing."""
        allowed = super().allowed()
        for row, place in enumerate(self._places):
            if place is not None:
                allowed[row] = self._allowed(place, allowed[row])
        return allowed

    def advance(self, ids: Tensor) -> None:
        """Take the next token (batch,) of each song; PAD changes nothing."""
        super().advance(ids)
        given = torch.zeros_like(self._used)
        for row, (place, token) in enumerate(zip(self._places, ids.tolist(), strict=bool(self._places))):
            if token == BAR_END:
                self._places[row] = self._open(row)
            elif place is not None:
                given[row] = self._take(place, token)
        self._used -= given

    def select(self, rows: Sequence[int] | Tensor) -> None:
        """Keep the songs of these rows, see `Grammar.select`."""
        super().select(rows)
        kept = torch.as_tensor(rows).tolist()
        self._places = [deepcopy(self._places[row]) for row in kept]
        self._given = [self._given[row] for row in kept]

    def _open(self, row: int) -> _Place | None:
        """The place where a song's bar begins; none if nothing is given there, or the song is to end."""
        bar, given, vocabulary = int(self.bars[row]), self._given[row], self._vocabulary
        if bar not in given.bars or bar == int(self._target[row]):
            return None
        tempo, *groups = _groups(vocabulary.ids(given.bars[bar]), vocabulary)
        written = {i for i in vocabulary.range("i") if int(vocabulary.symbols[i][2:]) in given.programs}
        return _Place(groups, tempo, frozenset(written), given.earliest.get(bar, 0))

    def _allowed(self, place: _Place, allowed: Tensor) -> Tensor:
        if not place.forced:
            fits = self._fits(place).to(allowed.device) & allowed
            if bool(fits.any()):
                return fits
            onset, *notes = place.groups.pop(0)  # where a bar is full, only given notes may still come
            place.forced = notes if place.onset == onset else [onset, *notes]
            place.onset, place.writes = onset, False
        only = torch.zeros_like(allowed)
        only[place.forced[0]] = True
        return only

    def _fits(self, place: _Place) -> Tensor:
        """(vocabulary,) what may come so that the given notes can still come in their order."""
        fits = torch.ones(len(self._vocabulary), dtype=torch.bool)
        onsets, pitches = self._vocabulary.range("o"), self._vocabulary.range("p")
        fits[onsets.start : onsets.start + place.earliest] = False
        fits[pitches.start : pitches.stop] = place.writes
        onset, instrument = place.groups[0][:2] if place.groups else (onsets.stop, None)
        here = place.onset == onset
        fits[onsets.start if here else onset + 1 : onsets.stop] = False
        fits[BAR_END] = instrument is None
        for other in self._vocabulary.range("i"):
            before = not here or instrument is None or self._order[other] < self._order[instrument]
            fits[other] = (other in place.written and before) or (here and other == instrument)
        return fits

    def _take(self, place: _Place, token: int) -> bool:
        """Go on by a token; whether it is a given one."""
        if place.forced:
            place.forced.pop(0)
            return True
        if token in self._vocabulary.range("o"):
            place.onset = token
        elif token in self._vocabulary.range("i"):
            place.writes = token in place.written
            if not place.writes:
                place.forced = place.groups.pop(0)[2:]
                return True
        return False


def _groups(ids: Sequence[int], vocabulary: Vocabulary) -> list[list[int]]:
    """The tempo of a bar, then onset, instrument and notes of each of its groups."""
    groups: list[list[int]] = [[]]
    onset = PAD
    for token in ids:
        if token in vocabulary.range("o"):
            onset = token
        elif token in vocabulary.range("i"):
            groups.append([onset, token])
        else:
            groups[-1].append(token)
    return groups
