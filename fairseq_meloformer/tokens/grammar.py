"""Which REMIGEN2 tokens may come next, for a batch of songs at different places, fast enough for the sampling loop.

A song is `(t (o (i (p d v)+)+)* b-1)+ </s>`: positions ascend within the bar and stay below its end, instruments
follow their order, the notes of an instrument descend in pitch (so that a pitch comes once), drums have drum pitches.
Whatever keeps to this decodes, and encodes back to itself except for the empty bars at its two ends.

Every rule is a table (values, vocabulary) of what may come while a quantity has a value, and every token sets some of
the quantities: a step looks up one row per rule, and one column of what the chosen tokens change.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeVar

import torch
from torch import Tensor

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.metre import FOUR_FOUR, length_of
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.tokens.codes import DRUM_PITCHES, SHORTEST, TEMPI
from fairseq_meloformer.tokens.remi import ranks
from fairseq_meloformer.tokens.vocabulary import BAR_END, END, PAD

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fairseq_meloformer.tokens.vocabulary import Vocabulary

_T = TypeVar("_T")

_STATES: Final = ("bar", "t", "o", "i", "p", "d", "v", "</s>")
"""Kind of the last token; "bar" where a bar begins."""

_KEEP: Final = -1
_ANY_PITCH, _ANY_DRUM = 256, 257
"""Rows of the pitch table before the first note of an instrument; in the others the row is the last pitch."""

_INSTRUMENT, _TEMPO = 2, 4
"""Places of two tables among the tables; that of the tempo is there if it is steady."""
_ANY_TEMPO: Final = len(TEMPI)
"""Row of the tempo table before the first bar's tempo; in the others the row is that tempo."""

_NEEDED: Final = {"b": 1, "p": 4, "i": 5, "o": 6}
"""How many tokens it takes to close the bar from one of this kind on, itself and `b-1` included."""

_ENOUGH: Final = max(_NEEDED.values())
_LEAST_ROOM: Final = 8
_CLOSED, _OPEN, _FREE = range(3)
"""Where a bar begins: the song must end, must go on, or may do either."""


@dataclass(frozen=True)
class Limits:
    """What single songs of a batch must keep to: one entry per song, None in it or for all of it is no limit.

    bars: exact number of bars. programs: instruments that may play (128 = drums). pitches: what each of these programs
    can play, MIDI pitches; an instrument that can play none of 0..127 does not play, one that is not named plays all.
    tempi: the one tempo code of all bars. bar_tokens: most tokens in a bar, `b-1` included, at least 8. tempo_changes:
    bars (from 0) that may leave a steady tempo for another. metres: of all bars, such as "3/4"; 4/4 unless given.
    """

    bars: Sequence[int | None] | None = None
    programs: Sequence[Collection[int] | None] | None = None
    pitches: Sequence[Mapping[int, range] | None] | None = None
    tempi: Sequence[int | None] | None = None
    bar_tokens: Sequence[int | None] | None = None
    tempo_changes: Sequence[Collection[int] | None] | None = None
    metres: Sequence[str | None] | None = None


class Grammar:
    """The places of a batch of songs; `start` begins, then `allowed` and `advance` take turns.

    Args:
        vocabulary: of the ids.
        empty_bars: whether a bar may be without notes.
        steady_tempo: whether all bars keep the tempo of the first one (of a prompt's last one).

    Attributes:
        bars: (batch,) finished bars of each song, those of its prompt included.
    """

    bars: Tensor

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        empty_bars: bool = True,
        steady_tempo: bool = False,
    ) -> None:
        rules = _Rules(vocabulary)
        tables = [
            rules.states(empty_bars=empty_bars),
            rules.positions(),
            rules.instruments(),
            rules.pitches(),
        ]
        if steady_tempo:
            tables.append(rules.tempi())
        first_rows = torch.tensor([len(table) for table in tables]).cumsum(0).roll(1)
        first_rows[0] = 0
        changes = rules.changes()[:, : len(tables)]
        self._vocabulary = vocabulary
        self._rules = rules
        tables += [rules.endings(), rules.room()]
        self._first_ending, self._first_room, self._first_song = [0, *accumulate(map(len, tables))][-3:]
        # Bytes with the rules in front: their minimum over the rules takes 16 microseconds, `all` of booleans 480.
        self._tables = torch.cat(tables).byte()
        self._changes = torch.where(changes == _KEEP, _KEEP, changes + first_rows).T.contiguous()
        beginning = torch.tensor([0, 0, 0, _ANY_PITCH, _ANY_TEMPO])
        self._beginning = (first_rows + beginning[: len(first_rows)])[:, None]
        self._closable = torch.tensor([state in {"t", "v"} for state in _STATES])

    def start(
        self,
        songs: int | Sequence[Sequence[int]],
        device: torch.device | str = "cpu",
        *,
        limits: Limits | None = None,
    ) -> None:
        """Begin a batch.

        Args:
            songs: how many, or the prompts (ids, without BOS) that they continue. A prompt must be made of whole tokens
                of the form but need not keep to the order of notes.
            device: of the ids to come and of what `allowed` returns.
            limits: what single songs must keep to.

        Raises:
            InputError: a prompt breaks the form; limits that do not fit the batch, the vocabulary or any song.
        """
        prompts: list[list[int]] = [[]] * songs if isinstance(songs, int) else [list(prompt) for prompt in songs]
        limits = limits or Limits()
        size = len(prompts)
        for table in ("_tables", "_changes", "_beginning", "_closable"):
            setattr(self, table, getattr(self, table).to(device))
        target = _column(limits.bars, size, "bars", least=1)
        self._free = (target == _KEEP).to(device)
        self._target = target.to(device)
        room = _column(limits.bar_tokens, size, "bar_tokens", least=_LEAST_ROOM)
        self._most = torch.where(room == _KEEP, torch.iinfo(torch.int64).max, room).to(device)
        self._limited = bool((room != _KEEP).any())
        own = self._rules.song(size, limits).byte().to(device)
        self._tables = torch.cat([self._tables[: self._first_song], own.flatten(0, 1)])
        # A song's rows are counted as those of the instruments' table are: its pitches depend on who plays.
        first = self._first_song - int(self._beginning[_INSTRUMENT])
        self._song = first + own.shape[1] * torch.arange(size, device=device)
        self._tempo_changes = _places(limits.tempo_changes, size).to(device)
        self._rows = self._beginning.repeat(1, size).to(device)
        self.bars = torch.zeros(size, dtype=torch.int64, device=device)
        self._used = torch.zeros_like(self.bars)
        self._feed(prompts)

    def allowed(self) -> Tensor:
        """(batch, vocabulary) bool: what may come next; never nothing. After END only PAD may come."""
        going_on = (self._target - self.bars).clamp(_CLOSED, _OPEN)
        ending = torch.where(self._free, (self.bars + _OPEN).clamp(max=_FREE), going_on)
        rows = [self._rows, (ending + self._first_ending)[None], (self._song + self._rows[_INSTRUMENT])[None]]
        if self._limited:
            room = (self._most - self._used).clamp(1, _ENOUGH)
            room = torch.where(self._closable[self._rows[0]], room, _ENOUGH)
            rows.append((room + self._first_room)[None])
        chosen = self._tables.index_select(0, torch.cat(rows).flatten())  # a tenth of the time of indexing
        return chosen.view(-1, len(self.bars), chosen.shape[1]).amin(0).bool()

    def advance(self, ids: Tensor) -> None:
        """Take the next token (batch,) of each song; PAD changes nothing."""
        changes = self._changes.index_select(1, ids)
        self._rows = torch.where(changes == _KEEP, self._rows, changes)
        ended = ids == BAR_END
        self.bars = self.bars + ended
        if len(self._rows) > _TEMPO:
            last = self._tempo_changes.shape[1] - 1
            free = ended & self._tempo_changes.gather(1, self.bars.clamp(max=last)[:, None])[:, 0]
            self._rows[_TEMPO] = torch.where(free, self._beginning[_TEMPO], self._rows[_TEMPO])
        self._used = (self._used + (ids != PAD)) * ~ended

    def select(self, rows: Sequence[int] | Tensor) -> None:
        """Keep the songs of these rows (songs that go on, say), in this order; a row may come several times."""
        index = torch.as_tensor(rows, device=self.bars.device)
        self._rows = self._rows[:, index]
        for name in ("_free", "_target", "_most", "_song", "_tempo_changes", "bars", "_used"):
            setattr(self, name, getattr(self, name)[index])

    def _feed(self, prompts: list[list[int]]) -> None:
        """Advance over prompts: only the last tempo, the last bar line and what follows it matter."""
        for number, prompt in enumerate(prompts):
            self._rules.check(number, prompt, self._tables[: len(_STATES)])
        finished = [prompt.count(BAR_END) for prompt in prompts]
        starts = [len(prompt) - prompt[::-1].index(BAR_END) - 1 if BAR_END in prompt else 0 for prompt in prompts]
        tempi = self._vocabulary.range("t")
        tails = [
            [*[token for token in prompt[:start] if token in tempi][-1:], *prompt[start:]]
            for prompt, start in zip(prompts, starts, strict=True)
        ]
        self.bars += torch.tensor([max(0, bars - 1) for bars in finished]).to(self.bars)
        for column in range(max(map(len, tails), default=0)):
            ids = [tail[column] if column < len(tail) else PAD for tail in tails]
            self.advance(torch.tensor(ids, device=self.bars.device))


class _Rules:
    """The tables of one vocabulary: (values, vocabulary) bool."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        parts = [symbol.partition("-") for symbol in vocabulary.symbols]
        self.kinds = [kind for kind, _, _ in parts]
        self.numbers = torch.tensor([int(number or 0) for _, _, number in parts])
        instruments = slice(vocabulary.range("i").start, vocabulary.range("i").stop)
        self.places = self.numbers.clone()
        self.places[instruments] = torch.from_numpy(ranks("six_tracks"))[self.numbers[instruments]]

    def of(self, kind: str) -> Tensor:
        """(vocabulary,) whether a symbol is of a kind."""
        return torch.tensor([kind == other for other in self.kinds])

    def states(self, *, empty_bars: bool) -> Tensor:
        follow = {
            "bar": ("t", "</s>"), "t": "ob" if empty_bars else "o", "o": "i", "i": "p", "p": "d", "d": "v",
            "v": "piob", "</s>": ("<pad>",),
        }  # fmt: skip
        usable = ~self.of("d") | (self.numbers < len(SHORTEST))
        usable &= ~self.of("b") | (self.numbers == 1)
        rows = [torch.tensor([kind in follow[state] for kind in self.kinds]) & usable for state in _STATES]
        return torch.stack(rows)

    def positions(self) -> Tensor:
        """Row k: onsets from position k on."""
        return ~self.of("o") | (self.numbers >= torch.arange(len(self.vocabulary.range("o")) + 1)[:, None])

    def instruments(self) -> Tensor:
        """Row k: instruments from place k of the order on."""
        return ~self.of("i") | (self.places >= torch.arange(int(self.places.max()) + 2)[:, None])

    def pitches(self) -> Tensor:
        """Row k: pitches below k that are drums' if k is; then all pitches, then all drums."""
        drums = self.numbers >= DRUM_PITCHES
        row = torch.arange(_ANY_PITCH)[:, None]
        below = (self.numbers < row) & (drums == (row >= DRUM_PITCHES))
        return ~self.of("p") | torch.cat([below, ~drums[None], drums[None]])

    def tempi(self) -> Tensor:
        """Row k: tempo k alone; then all tempi."""
        return ~self.of("t") | torch.cat([self.numbers == torch.arange(_ANY_TEMPO)[:, None], self.of("t")[None]])

    def endings(self) -> Tensor:
        """Rows `_CLOSED`, `_OPEN`, `_FREE`: where a bar begins, only END, all but END, anything."""
        end = self.of("</s>")
        return torch.stack([~self.of("t"), ~end, torch.ones_like(end)])

    def room(self) -> Tensor:
        """Row k: what leads to `b-1` within k tokens."""
        needed = torch.tensor([_NEEDED.get(kind, 0) for kind in self.kinds])
        return needed <= torch.arange(_ENOUGH + 1)[:, None]

    def changes(self) -> Tensor:
        """(vocabulary, 5): row of each table that a token leads to, or `_KEEP`."""
        changes = torch.full((len(self.kinds), 5), _KEEP)
        for token, (kind, number, place) in enumerate(
            zip(self.kinds, self.numbers.tolist(), self.places.tolist(), strict=True)
        ):
            state = "bar" if token == BAR_END else kind
            if state in _STATES:
                changes[token, 0] = _STATES.index(state)
            if kind in {"b", "o"}:
                changes[token, 1] = number + 1 if kind == "o" else 0
                changes[token, 2] = 0
            elif kind == "i":
                changes[token, 2] = place + 1
                changes[token, 3] = _ANY_DRUM if number == DRUMS else _ANY_PITCH
            elif kind == "p":
                changes[token, 3] = number
            elif kind == "t":
                changes[token, 4] = number
        return changes

    def song(self, size: int, limits: Limits) -> Tensor:
        """(batch, instruments, vocabulary) what the limits leave to each song while each instrument plays."""
        allowed = torch.ones(size, len(self.instruments()), len(self.kinds), dtype=torch.bool)
        for song, ranges in enumerate(_entries(limits.pitches, size, "pitches")):
            for program, pitches in (ranges or {}).items():
                self._hold_to(pitches, program, allowed[song])
        for song, programs in enumerate(_entries(limits.programs, size, "programs")):
            if programs is not None:
                allowed[song] &= ~self.of("i") | torch.isin(self.numbers, torch.tensor(sorted(programs)))
            if not (allowed[song] & self.of("i")).any():
                raise InputError(
                    f"Song {song} must have an instrument of the vocabulary that can play, but may only use "
                    f"{'those of it' if programs is None else programs}."
                )
        tempi = _column(limits.tempi, size, "tempi", least=0)
        for song, tempo in enumerate(tempi.tolist()):
            if tempo >= len(TEMPI):
                raise InputError(f"The tempo code of song {song} must be in 0..{len(TEMPI) - 1}, but is {tempo}.")
            if tempo != _KEEP:
                allowed[song] &= ~self.of("t") | (self.numbers == tempo)
        for song, metre in enumerate(_entries(limits.metres, size, "metres")):
            allowed[song] &= ~self.of("o") | (self.numbers < self._places_of(song, metre or FOUR_FOUR))
        return allowed

    def _hold_to(self, pitches: range, program: int, allowed: Tensor) -> None:
        """Leave in a song's rows only these pitches to an instrument."""
        instrument = self.of("i") & (self.numbers == program)
        tokens = [pitch + DRUM_PITCHES * (program == DRUMS) for pitch in pitches if 0 <= pitch < DRUM_PITCHES]
        if not tokens:
            allowed &= ~instrument
        for place in self.places[instrument].tolist():
            allowed[place + 1] &= ~self.of("p") | torch.isin(self.numbers, torch.tensor(tokens, dtype=torch.int64))

    def _places_of(self, song: int, metre: str) -> int:
        """Places for notes in a bar of a song."""
        length, most = length_of(metre), len(self.vocabulary.range("o"))
        if not 1 <= length <= most:
            raise InputError(
                f"A bar of song {song} must have 1 to {most} places for notes, as the vocabulary has, but one of "
                f"{metre} has {length:g}."
            )
        return int(length)

    def check(self, number: int, prompt: list[int], states: Tensor) -> None:
        """Raise InputError unless the kinds of a prompt's tokens follow each other rightly."""
        table = states.tolist()
        state = "bar"
        for place, token in enumerate(prompt):
            symbol = self.vocabulary.tokens([token])[0]
            if not table[_STATES.index(state)][token] or token == END:
                raise InputError(
                    f"Prompt {number} must be REMIGEN2, but its token {place}, {symbol}, cannot follow {state}."
                )
            state = "bar" if token == BAR_END else self.kinds[token]


def _entries(given: Sequence[_T | None] | None, size: int, name: str) -> Sequence[_T | None]:
    if given is None:
        return [None] * size
    if len(given) != size:
        raise InputError(f"The limits must have {name} for each of the {size} songs, but have {len(given)}.")
    return given


def _places(given: Sequence[Collection[int] | None] | None, size: int) -> Tensor:
    """(batch, bars) bool: the bars named; the last column is none of them."""
    entries = [frozenset(entry or ()) for entry in _entries(given, size, "tempo_changes")]
    places = torch.zeros(size, max((max(entry) for entry in entries if entry), default=0) + 2, dtype=torch.bool)
    for song, entry in enumerate(entries):
        places[song, sorted(entry)] = True
    return places


def _column(given: Sequence[int | None] | None, size: int, name: str, *, least: int) -> Tensor:
    """(batch,) the limits, `_KEEP` where there is none."""
    entries = _entries(given, size, name)
    for song, number in enumerate(entries):
        if number is not None and number < least:
            raise InputError(f"{name} of song {song} must be at least {least}, but is {number}.")
    return torch.tensor([_KEEP if number is None else number for number in entries], dtype=torch.int64)
