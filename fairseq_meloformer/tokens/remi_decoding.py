"""Tokens -> MIDI, for both REMIGEN and REMIGEN2, with an account of what is wrong with tokens that are neither."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.general_midi import SOUNDS
from fairseq_meloformer.midi.metre import FOUR_FOUR, LENGTHS, METRES, POSITIONS, index_of, lines_of, spelled
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.tokens.codes import SHORTEST, VELOCITY_STEP, WHOLE_TEMPI

if TYPE_CHECKING:
    from collections.abc import Sequence

_TICKS: Final = 480
_STEP: Final = _TICKS // POSITIONS
_TICKS_OF_CODE: Final = [_STEP // 4, *(SHORTEST[1:] * _STEP).tolist()]
"""Ticks of each duration code; a note of no duration gets a quarter of a position."""

_SIZES: Final = {
    "b": 2,
    "o": 128,
    "i": DRUMS + 1,
    "p": 256,
    "d": len(SHORTEST),
    "v": 32,
    "s": len(METRES),
    "t": len(WHOLE_TEMPI),
}
_AFTER: Final = {
    "bar": "stob", "s": "tob", "t": "ob", "o": "ti", "o t": "i", "i": "p", "p": "d", "d": "v", "v": "piob",
}  # fmt: skip
"""Kinds of token that may follow; "bar" is the beginning of one, "o t" a tempo after an onset."""

_NAMES: Final = {80: "Lead", DRUMS: "Drums", 32: "Bass", 43: "Bass", 25: "Guitar", 0: "Piano", 48: "Strings"}


def split(tokens: Sequence[str], place: int) -> tuple[str, int]:
    """Kind and number of a token; raises InputError unless it is a musical symbol with a number in its range."""
    token = tokens[place]
    kind, _, digits = token.partition("-")
    if kind not in _SIZES or not (digits.isascii() and digits.isdigit()) or int(digits) >= _SIZES[kind]:
        kinds = ", ".join(f"{kind}-0..{size - 1}" for kind, size in _SIZES.items())
        raise InputError(f"Every token must be one of {kinds}, but token {place} is {token!r}.")
    return kind, int(digits)


def decode(tokens: Sequence[str], metre: str = FOUR_FOUR) -> MidiFile:
    """A song from REMIGEN or REMIGEN2 tokens, 480 ticks a quarter; 120 qpm until a token says otherwise.

    Positions and notes may come in any order; the order of `encode` is what it gives back.

    Args:
        tokens: of the song.
        metre: of the bars, such as "3/4", until a token says otherwise.

    Raises:
        InputError: a token that is none, or none that can follow the one before; an onset beyond its bar; a drum's
            pitch below 128 or another's above; a song that does not end with `b-1`. Says which token and where.
    """
    if not tokens or tokens[-1] != "b-1":
        raise InputError(f"A song must end with b-1, but ends with {tokens[-1] if tokens else 'nothing'!r}.")
    song = _Song(metre=index_of(metre))
    state = "bar"
    for place in range(len(tokens)):
        kind, number = split(tokens, place)
        if kind not in _AFTER[state] or (kind == "b" and number != 1):
            expected = " or ".join("b-1" if kind == "b" else f"{kind}-*" for kind in _AFTER[state])
            where = "at the beginning of a bar" if state == "bar" else f"after {tokens[place - 1]}"
            raise InputError(f"{_place(song, tokens, place)} must be {expected} {where}.")
        try:
            song.take(kind, number)
        except InputError as error:
            raise InputError(f"{_place(song, tokens, place)} cannot stand here: {error}.") from None
        state = {"b": "bar", "t": "o t" if state == "o" else "t"}.get(kind, kind)
    return song.midi()


def _place(song: _Song, tokens: Sequence[str], place: int) -> str:
    return f"Token {place} ({tokens[place]}, in bar {len(song.metres)})"


@dataclass
class _Song:
    """What has been read so far; times are (bar, position) until all bars are known."""

    metre: int
    metres: list[int] = field(default_factory=list)
    notes: dict[int, list[tuple[int, int, int, int, int]]] = field(default_factory=dict)
    tempi: list[tuple[int, int, int]] = field(default_factory=list)
    position: int = 0
    program: int = 0
    pitch: int = 0
    duration: int = 0

    def take(self, kind: str, number: int) -> None:
        if kind == "b":
            self.metres.append(self.metre)
            self.position = 0
        elif kind == "s":
            self.metre = number
        elif kind == "t":
            self.tempi.append((len(self.metres), self.position, number))
        elif kind == "o":
            if number >= LENGTHS[self.metre]:
                raise InputError(f"a bar of {spelled(self.metre)} must have onsets below {LENGTHS[self.metre]:g}")
            self.position = number
        elif kind == "i":
            self.program = number
            self.notes.setdefault(number, [])
        elif kind == "p":
            drums = self.program == DRUMS
            if (number >= 128) != drums:
                raise InputError(f"instrument {self.program} must have pitches in {'128..255' if drums else '0..127'}")
            self.pitch = number % 128
        elif kind == "d":
            self.duration = number
        else:
            note = (len(self.metres), self.position, self.pitch, self.duration, number)
            self.notes[self.program].append(note)

    def midi(self) -> MidiFile:
        exact = lines_of(np.array(self.metres)) * _STEP
        lines = (np.rint(exact / _STEP).astype(np.int64) * _STEP).tolist()
        midi = MidiFile(ticks_per_beat=_TICKS)
        midi.time_signature_changes = [
            TimeSignature(*METRES[metre], round(exact[bar]))
            for bar, metre in enumerate(self.metres)
            if bar == 0 or metre != self.metres[bar - 1]
        ]
        for bar, position, code in self.tempi:
            if not midi.tempo_changes or midi.tempo_changes[-1].tempo != WHOLE_TEMPI[code]:
                midi.tempo_changes.append(TempoChange(float(WHOLE_TEMPI[code]), lines[bar] + position * _STEP))
        for program, notes in sorted(self.notes.items()):
            instrument = Instrument(program % DRUMS, program == DRUMS, _NAMES.get(program, SOUNDS[program].name))
            for bar, position, pitch, duration, velocity in notes:
                start = lines[bar] + position * _STEP
                instrument.notes.append(
                    Note(VELOCITY_STEP * velocity + 2, pitch, start, start + _TICKS_OF_CODE[duration])
                )
            midi.instruments.append(instrument)
        midi.max_tick = max([lines[-1], *(note.end for track in midi.instruments for note in track.notes)]) + 1
        return midi
