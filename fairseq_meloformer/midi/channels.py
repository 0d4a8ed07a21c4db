"""What a channel sounds like: programs, banks and kits as a synthesiser keeps them, whatever track they come in."""

from bisect import bisect_right
from collections import defaultdict
from typing import Final, NamedTuple

DRUM_CHANNEL: Final = 9

BANK, PROGRAM, RHYTHM = range(3)
"""Kinds of change: bank select (controller 0), program change, Roland's use of a part for rhythm (0 or 1)."""

_GM2_KITS, _GM2_MELODIES, _XG_KITS = 120, 121, 127
"""Banks of drum kits and of none. In GM2 (RP-024) on any channel; in XG (specification 1.26) after XG System On."""

_GS_PARTS: Final = (9, *range(9), *range(10, 16))
"""Channel of each part number of Roland's system exclusive messages, which begin with the tenth (SC-55, "1x")."""


class Voice(NamedTuple):
    """What a note sounds like."""

    program: int
    drums: bool


class Channels:
    """Changes of all channels of a file, then the voice of a channel at any of its notes.

    A channel's number is 16 times its port plus the channel. Changes and notes of a track are told in their order, one
    track after the other; `told` counts the changes.
    """

    def __init__(self) -> None:
        self.told = 0
        self._xg = False
        self._changes: defaultdict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
        self._timelines: dict[int, tuple[list[int], list[int], list[Voice]]] = {}

    def change(self, channel: int, tick: int, kind: int, value: int) -> None:
        """A change (`BANK`, `PROGRAM` or `RHYTHM`) of a channel."""
        self.told += 1
        self._changes[channel].append((tick, self.told, kind, value))

    def exclusive(self, port: int, tick: int, message: bytes) -> None:
        """A system exclusive message: XG System On, and Roland's use of a part for rhythm, are understood."""
        if message[:1] == b"\x43" and message[2:7] == b"\x4c\x00\x00\x7e\x00":
            self._xg = True
        elif message[:1] == b"\x41" and message[2:5] == b"\x42\x12\x40" and message[6:7] == b"\x15":
            part, use = message[5] & 0x0F, message[7:8]
            self.change(port << 4 | _GS_PARTS[part], tick, RHYTHM, int(use != b"\x00"))

    def voices(self, channel: int, spoken: int) -> "_Voices":
        """The voices of a channel for the notes of the track up to whose end `spoken` changes had been told."""
        if channel not in self._timelines:
            self._timelines[channel] = self._timeline(channel)
        return _Voices(*self._timelines[channel], spoken)

    def _timeline(self, channel: int) -> tuple[list[int], list[int], list[Voice]]:
        """Ticks and numbers of a channel's changes in the order of time, and the voice from each on; one before all."""
        bank, program, rhythm = -1, 0, -1
        ticks, numbers = [-1], [0]
        voices = [Voice(0, channel & 0x0F == DRUM_CHANNEL)]
        chosen = bank
        for tick, number, kind, value in sorted(self._changes[channel]):
            if kind == BANK:
                bank = value  # holds from the next program on
                continue
            if kind == PROGRAM:
                program, chosen = value, bank
            else:
                rhythm = value
            ticks.append(tick)
            numbers.append(number)
            voices.append(Voice(program, bool(rhythm) if rhythm >= 0 else self._is_kit(channel, chosen)))
        return ticks, numbers, voices

    def _is_kit(self, channel: int, bank: int) -> bool:
        if bank == _GM2_KITS or (self._xg and bank == _XG_KITS):
            return True
        return channel & 0x0F == DRUM_CHANNEL and bank != _GM2_MELODIES


class _Voices(NamedTuple):
    """Changes of a channel, seen from one track."""

    ticks: list[int]
    numbers: list[int]
    voices: list[Voice]
    spoken: int

    def at(self, tick: int, told: int) -> Voice:
        """The voice of a note that begins at a tick, before which `told` changes had been told.

        Changes of other tracks at the same tick are in force, as what sets up a song may stand in any track.
        """
        place = bisect_right(self.ticks, tick) - 1
        while self.ticks[place] == tick and told < self.numbers[place] <= self.spoken:
            place -= 1
        return self.voices[place]
