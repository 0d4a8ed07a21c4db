"""A Standard MIDI File as its events, for edits that leave every other event as it is, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from fairseq_meloformer.midi import smf
from fairseq_meloformer.midi.files import opened
from fairseq_meloformer.midi.metre import is_compound
from fairseq_meloformer.midi.notes import DRUMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from miditoolkit import MidiFile

_NOTE_OFF, _NOTE_ON, _AFTERTOUCH, _PROGRAM, _BEND, _SYSTEM = 0x80, 0x90, 0xA0, 0xC0, 0xE0, 0xF0
_ESCAPE, _META = 0xF7, 0xFF
_PORT: Final = b"\xff\x21\x01"
_SETTINGS: Final = frozenset({0x51, 0x59})
"""Meta events that hold until another comes: tempo, key."""
_TIMELESS: Final = frozenset({0x00, 0x02, 0x03, 0x04, 0x08, 0x09, 0x20, 0x21, 0x54})
"""Meta events that belong at the beginning of a track: its number, rights, names, channel, port, offset in a film."""
_NAME: Final = b"\xff\x03"
_END: Final = b"\xff\x2f"


class Event(NamedTuple):
    """One event of a track: its tick, and its bytes with the status byte that a file may leave out."""

    tick: int
    data: bytes


class Player(NamedTuple):
    """What plays notes: a channel (16 times its port plus the channel) under a program (128 = drums), in a track."""

    track: int
    channel: int
    program: int


@dataclass(frozen=True)
class FileNote:
    """A note of a file, in ticks, and the numbers of its two events in their track."""

    player: Player
    start: int
    end: int
    pitch: int
    velocity: int
    on: int
    off: int


@dataclass(frozen=True)
class EventFile:
    """A file of format 0 or 1.

    Attributes:
        ticks_per_beat: ticks in a quarter.
        tracks: events of each track in the order of time, without the end of the track.
        ends: tick of the end of each track; it is written later where later events were added.
    """

    ticks_per_beat: int
    tracks: Sequence[Sequence[Event]]
    ends: Sequence[int]

    @classmethod
    def read(cls, path: str | Path) -> EventFile:
        """Read a file; what was left out of a damaged one is logged as a warning.

        Raises:
            InputError: see `files.read`.
        """
        return cls._of(opened(path))

    @classmethod
    def of(cls, data: bytes) -> EventFile:
        """From the bytes of a file, see `read`."""
        return cls._of(smf.Song(data))

    @classmethod
    def _of(cls, song: smf.Song) -> EventFile:
        tracks = [[event for event in _events(track.chunk) if event.data[:2] != _END] for track in song.tracks]
        return cls(song.resolution, tracks, [track.last_tick for track in song.tracks])

    @cached_property
    def _read(self) -> smf.Song:
        return smf.Song(self.dump())

    @cached_property
    def song(self) -> MidiFile:
        """What is to be heard of it."""
        return self._read.midi()

    @cached_property
    def notes(self) -> list[FileNote]:
        """All notes in the order of their beginnings."""
        found = [
            FileNote(
                Player(number, note.channel, DRUMS if voice.drums else voice.program),
                note.start,
                note.end,
                note.pitch,
                note.velocity,
                note.on,
                note.off,
            )
            for number, track in enumerate(self._read.tracks)
            for note, voice in self._read.voiced(track)
        ]
        return sorted(found, key=lambda note: note.start)

    @property
    def names(self) -> list[str]:
        """Names of the tracks."""
        return self._read.names

    def program(self, channel: int, tick: int) -> int:
        """Program of a channel (16 times its port plus the channel) for notes to come at a tick, 128 for drums."""
        told = self._read.channels.told
        voice = self._read.channels.voices(channel, told).at(tick, told)
        return DRUMS if voice.drums else voice.program

    @cached_property
    def channels(self) -> frozenset[int]:
        """Channels of all that sounds or is set, 16 times the port plus the channel."""
        return frozenset(channel for track in self.tracks for channel, _ in _by_channel(track) if channel is not None)

    def later(self, ticks: int) -> EventFile:
        """The file with so many ticks before it, for music that is to sound as its beginning does.

        What has no time (names of tracks, ports ...) stays at tick 0. What sets up a channel before its first note
        (programs, controllers), and tempo and key before the first note of all, stand at tick 0 too, beside being where
        they were.
        """
        first: dict[int, int] = {}
        for note in self.notes:
            first.setdefault(note.player.channel, note.start)
        opening = min(first.values(), default=0)

        def sets_up(channel: int | None, event: Event) -> bool:
            if channel is not None:
                return event.data[0] >= _AFTERTOUCH and event.tick <= first.get(channel, -1)
            return event.tick <= opening and (event.data[0] != _META or event.data[1] in _SETTINGS)

        tracks = []
        for track in self.tracks:
            timeless = [event for event in track if event.tick == 0 and _is_timeless(event)]
            setup = [event._replace(tick=0) for channel, event in _by_channel(track) if sets_up(channel, event)]
            moved = [event._replace(tick=event.tick + ticks) for event in track if event not in timeless]
            tracks.append([*timeless, *setup, *moved])
        return replace(self, tracks=tracks, ends=[end + ticks for end in self.ends])

    def edited(self, removed: Iterable[FileNote], added: Mapping[int, Sequence[Event]]) -> EventFile:
        """The file without some notes, and with other events.

        Args:
            removed: notes of this file.
            added: events by the number of their track; the number of tracks stands for a new one.
        """
        gone = {(note.player.track, place) for note in removed for place in (note.on, note.off)}
        tracks = [
            [event for place, event in enumerate(track) if (number, place) not in gone]
            for number, track in enumerate(self.tracks)
        ]
        ends = list(self.ends)
        for number in sorted(added):
            if number == len(tracks):
                tracks.append([])
                ends.append(0)
            tracks[number] = _merged(tracks[number], added[number])
        return replace(self, tracks=tracks, ends=ends)

    def dump(self) -> bytes:
        """The bytes of the file."""
        numbers = (int(len(self.tracks) > 1), len(self.tracks), self.ticks_per_beat)
        header = b"MThd" + (6).to_bytes(4, "big") + b"".join(number.to_bytes(2, "big") for number in numbers)
        return header + b"".join(_chunk(track, end) for track, end in zip(self.tracks, self.ends, strict=True))


def head(name: str, player: Player) -> list[Event]:
    """What a new track begins with."""
    title, (port, channel) = name.encode(), divmod(player.channel, 16)
    events = [Event(0, _NAME + _quantity(len(title)) + title)]
    if port:
        events.append(Event(0, _PORT + bytes((port,))))
    if player.program != DRUMS:
        events.append(Event(0, bytes((_PROGRAM | channel, player.program))))
    return events


def tempo_event(tick: int, qpm: float) -> Event:
    """A tempo in quarters per minute."""
    return Event(tick, bytes((_META, 0x51, 3)) + round(60e6 / qpm).to_bytes(3, "big"))


def metre_event(tick: int, numerator: int, denominator: int) -> Event:
    """A time signature."""
    clocks = 96 // denominator * (3 if is_compound(numerator, denominator) else 1)  # MIDI clocks in a beat
    return Event(tick, bytes((_META, 0x58, 4, numerator, denominator.bit_length() - 1, clocks, 8)))


def note_events(channel: int, start: int, end: int, pitch: int, velocity: int) -> tuple[Event, Event]:
    """Beginning and end of a note; the port is its track's."""
    on = Event(start, bytes((_NOTE_ON | channel & 0x0F, pitch, velocity)))
    return on, Event(max(end, start + 1), bytes((_NOTE_OFF | channel & 0x0F, pitch, 64)))


def _merged(track: Sequence[Event], added: Iterable[Event]) -> list[Event]:
    """Events in the order of time; of one tick, added note-offs come first and added notes last."""
    order = {_NOTE_OFF: -1, _NOTE_ON: 1}
    keyed = [
        *((event.tick, 0, event) for event in track),
        *((event.tick, order.get(event.data[0] & 0xF0, 0), event) for event in added),
    ]
    return [event for _, _, event in sorted(keyed, key=lambda entry: entry[:2])]


def _events(chunk: bytes) -> Iterator[Event]:
    for tick, status, first, second in smf.events(chunk):
        if status > _META:
            yield Event(tick, status.to_bytes(2, "big") + _quantity(second - first) + chunk[first:second])
        elif status in {_SYSTEM, _ESCAPE}:
            yield Event(tick, bytes((status,)) + _quantity(second - first) + chunk[first:second])
        elif status > _SYSTEM:
            yield Event(tick, bytes((status,)) + chunk[first:second])
        elif _PROGRAM <= status < _BEND:
            yield Event(tick, bytes((status, first)))
        else:
            yield Event(tick, bytes((status, first, second)))


def _chunk(track: Sequence[Event], end: int) -> bytes:
    """A track chunk, its end included."""
    body, now = bytearray(), 0
    for event in (*track, Event(max(end, track[-1].tick if track else 0), _END + b"\0")):
        body += _quantity(event.tick - now) + event.data
        now = event.tick
    return b"MTrk" + len(body).to_bytes(4, "big") + bytes(body)


def _quantity(number: int) -> bytes:
    """A number of variable length, 7 bits a byte."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))


def _by_channel(track: Sequence[Event]) -> Iterator[tuple[int | None, Event]]:
    """Events with their channel, 16 times its port plus the channel; None of all others."""
    port = next((event.data[3] for event in track if event.data[:3] == _PORT), 0)
    for event in track:
        port = event.data[3] if event.data[:3] == _PORT else port
        yield (port << 4 | event.data[0] & 0x0F if event.data[0] < _SYSTEM else None), event


def _is_timeless(event: Event) -> bool:
    return event.data[0] == _META and event.data[1] in _TIMELESS
