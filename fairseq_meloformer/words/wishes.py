"""One reading of a prompt: all that it says outright, and what of that nothing here can do.

What a text is like (calm, dark, a storm) is for `probe` and `stated`; here stand figures, names and forms.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final

from fairseq_meloformer.measures.attributes import MANNERS
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import BASS, GUITAR, LEAD, PIANO, STRINGS
from fairseq_meloformer.words import notation
from fairseq_meloformer.words.beyond import beyond
from fairseq_meloformer.words.chords import Progression, progression
from fairseq_meloformer.words.form import lengths_of_parts, read_form, seconds_of_parts
from fairseq_meloformer.words.instruments import SIX, Instrument, alone, cast, instruments, name_of, roles_of
from fairseq_meloformer.words.length import lengths
from fairseq_meloformer.words.manners import manners, said
from fairseq_meloformer.words.plain import plain
from fairseq_meloformer.words.styles import Style, style, styles_at
from fairseq_meloformer.words.timeline import Section

_MELODIC: Final = SIX - {DRUMS, BASS}
_TRACKS: Final = {
    LEAD: "lead", DRUMS: "drums", BASS: "bass", GUITAR: "guitar", PIANO: "piano", STRINGS: "strings"
}  # fmt: skip
_DRUM: Final = re.compile("drum|鼓")
_POSSIBLE: Final = {
    "one tempo": "tempi are 16 to 256 bpm",
    "one metre": f"metres are {', '.join(notation.METRES)}",
}


@dataclass(frozen=True)
class Wishes:
    """What a text says outright.

    Attributes:
        tempo: quarters per minute.
        key: as `attributes.key` names it, "D minor".
        metre: one of `notation.METRES`.
        bars: of the whole piece.
        seconds: that the whole piece lasts.
        sections: named parts one after the other.
        instruments: that are named, in the order of the text, the refused ones too.
        only: whether nothing but the named ones is to play: the text says so, or it names a melodic instrument.
        chords: over and over.
        style: that is named.
        moving: what it says of `attributes.MANNERS`, from -1 to 1.
        not_honoured: phrases that ask for what nothing here can do, with the reason.
        rest: the text without the figures that were read, for readers of words.
    """

    tempo: float | None = None
    key: str | None = None
    metre: str | None = None
    bars: int | None = None
    seconds: float | None = None
    sections: tuple[Section, ...] = ()
    instruments: tuple[Instrument, ...] = ()
    only: bool = False
    chords: Progression | None = None
    style: Style | None = None
    moving: Mapping[str, float] = field(default_factory=dict)
    not_honoured: tuple[str, ...] = ()
    rest: str = ""

    @property
    def manners(self) -> dict[str, float]:
        """What is asked of `attributes.MANNERS`: what the text says, or its style has."""
        own = {} if self.style is None else self.style.profile
        return {axis: value for axis, value in own.items() if axis in MANNERS} | {**self.moving}

    @cached_property
    def players(self) -> dict[int, int]:
        """By role of the six, the General MIDI program (128 = drums) that its track plays."""
        return cast([instrument.program for instrument in self.instruments if instrument.wanted])

    @cached_property
    def sounds(self) -> dict[int, int]:
        """By role of the six, the program that its track plays if it plays: a named instrument, or one of the style."""
        own = {} if self.style is None else self.style.players
        return {role: program for role, program in own.items() if program not in self.players.values()} | self.players

    @property
    def playing(self) -> frozenset[int]:
        """Roles of the six that are asked for."""
        return frozenset(self.players)

    @cached_property
    def absent(self) -> frozenset[int]:
        """Roles of the six that must not play."""
        refused = {roles_of(instrument.program)[0] for instrument in self.instruments if not instrument.wanted}
        return frozenset(refused) - self.playing

    @property
    def programs(self) -> frozenset[int] | None:
        """Roles of the six that may play; None if any may."""
        if self.only:
            return self.playing
        return SIX - self.absent if self.absent else None

    def understood(self) -> list[str]:
        """What was understood, in words, for people."""
        return list(self._understood())

    def _understood(self) -> Iterator[str]:
        if self.sections:
            yield " - ".join(f"{section.name} {section.bars}" for section in self.sections) + " bars"
        elif self.bars is not None:
            yield f"{self.bars} bars"
        if self.seconds is not None:
            yield f"{self.seconds:g} seconds"
        if self.tempo is not None:
            yield f"{self.tempo:g} bpm"
        yield from filter(None, (self.key, self.metre))
        if self.style is not None:
            yield f"{self.style.name} style"
        yield from said(self.moving)
        if self.chords is not None:
            yield f"chords {self.chords.in_key(self.key)[0].name}"
        for role, program in self.players.items():
            own = _TRACKS[role] if program in SIX else name_of(program)
            names = [one for one in self.instruments if one.program == program and one.wanted]
            kin = next((one for one in names if one.kin), None)
            yield f"{kin.name} as its nearest kin, {own}" if kin else own
        yield from (f"no {_TRACKS[role]}" for role in sorted(self.absent))


@lru_cache(maxsize=1024)
def read(text: str) -> Wishes:
    """Read what a text (Chinese, Traditional or Simplified, or English) says outright."""
    return _Reading(plain(text)).wishes()


class _Reading:
    """A plain text while it is read: what was read of it is not read again as something else."""

    def __init__(self, text: str) -> None:
        self._text = text
        lower = text.lower()
        self._lower = lower if len(lower) == len(text) else text
        self._read: list[tuple[int, int]] = []
        self._refused: list[str] = []

    def wishes(self) -> Wishes:
        chords = self._chords()
        tempo = self._first(notation.tempi(self._lower), "one tempo", playable=notation.playable)
        tempo = tempo or next((word.value for word in notation.tempo_words(self._lower)), None)
        key = self._first(notation.keys(self._text), "one key")
        metre = self._first(notation.metres(self._lower), "one metre", playable=notation.METRES.__contains__)
        sections = read_form(self._text)
        bars, seconds = (None, seconds_of_parts(self._text)) if sections else self._length()
        named = self._instruments()
        players = cast([one.program for one in named if one.wanted])
        only = bool(players) and (not _MELODIC.isdisjoint(players) or alone(self._lower))
        self._refused += [
            phrase
            for phrase, start, end in beyond(self._text)
            if not any(one.start < end and start < one.end for one in named)
        ]
        return Wishes(
            tempo=None if tempo is None else float(tempo),
            key=None if key is None else str(key),
            metre=None if metre is None else str(metre),
            bars=bars,
            seconds=seconds,
            sections=sections,
            instruments=named,
            only=only,
            chords=chords,
            style=style(self._lower),
            moving=manners(self._lower),
            not_honoured=tuple(dict.fromkeys(self._refused)),
            rest=self._rest(),
        )

    def _chords(self) -> Progression | None:
        found = progression(self._text)
        if found is not None:
            self._read.append((found.start, found.end))
            self._refused += [f"{name} (its triad is taken)" for name in found.simplified]
        return found

    def _first(
        self, found: Iterable[notation.Found], most: str, playable: Callable[[Any], bool] = lambda _: True
    ) -> float | str | None:
        """The first of what was found in places that are not read yet; the others are refused."""
        taken: float | str | None = None
        for value, start, end in list(found):
            if any(start < stop and begin < end for begin, stop in self._read):
                continue
            phrase = self._text[start:end].strip()
            figures = any(map(str.isalnum, phrase)) and not phrase.isalpha()
            if not playable(value):
                self._refused.append(f"{phrase} ({_POSSIBLE[most]})")
            elif taken is None:
                taken = value
            elif value != taken and figures:
                self._refused.append(f"{phrase} (a piece has {most})")
            if figures or most != "one metre":  # a waltz says more than its metre
                self._read.append((start, end))
        return taken

    def _length(self) -> tuple[int | None, float | None]:
        found = lengths(self._lower)
        parts = lengths_of_parts(self._text)
        whole = [length for length in found if not any(start <= length.start < end for start, end in parts)]
        self._read += [(length.start, length.end) for length in found]
        bars = next((length.bars for length in whole if length.bars), None)
        return bars, next((length.seconds for length in whole if length.seconds), None)

    def _instruments(self) -> tuple[Instrument, ...]:
        named = tuple(instruments(self._lower))
        playing = cast([one.program for one in named if one.wanted]).values()
        self._refused += [
            f"{one.name} (no track of the six is left for it)"
            for one in named
            if one.wanted and one.program not in playing
        ]
        # A bass is no low music, "drums: none" no drums, and steel drums are no kit.
        self._read += [
            (one.start, one.end)
            for one in named
            if one.end > one.start + len(one.name)
            or roles_of(one.program)[0] == BASS
            or (one.program != DRUMS and _DRUM.search(one.name))
        ]
        # The synth of "synth pop" is the style's, unless others are named beside it.
        styles = styles_at(self._lower)
        besides = tuple(
            one
            for one in named
            if not any(start <= one.start and one.start + len(one.name) <= end for start, end in styles)
        )
        return named if any(one.wanted for one in besides) else besides

    def _rest(self) -> str:
        kept, place = [], 0
        for start, end in sorted(self._read):
            if start >= place:
                kept.append(self._text[place:start])
            place = max(place, end)
        return ", ".join([*kept, self._text[place:]])
