"""Reading Standard MIDI Files.

miditoolkit reads a file through one Python object per event, which takes longer than everything else that is done
with it; this reader walks the bytes once (three times as fast), fills the same `MidiFile`, and says what is wrong
with a file that it refuses. Controllers, pitch bends, lyrics and key signatures are not kept: nothing here uses them.
"""

from collections.abc import Iterator
from typing import Final

from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.garbage_collection import paused

DRUM_CHANNEL: Final = 9
LONGEST_QUARTERS: Final = 100_000
"""Longest song in quarters (14 hours at 120 qpm): broken delta times otherwise make millions of empty bars."""

_NOTE_ON, _AFTERTOUCH, _PROGRAM, _PITCH_BEND, _SYSTEM = 0x90, 0xA0, 0xC0, 0xE0, 0xF0
_META: Final = 0xFF
_END_OF_TRACK, _TRACK_NAME, _SET_TEMPO, _TIME_SIGNATURE = 0x2F, 0x03, 0x51, 0x58
_HEADER_SIZE: Final = 14


@paused()
def parse(data: bytes) -> MidiFile:
    """A MidiFile from the bytes of a Standard MIDI File, its changes of tempo and metre sorted by time.

    As miditoolkit does, a note-off ends the oldest sounding note of its pitch and channel, and a note without a
    note-off is left out. Unlike it, tempo changes of several tracks are merged in the order of time.

    Raises:
        InputError: the bytes are not a Standard MIDI File in quarters, or break off; says where.
    """
    resolution, chunks = _chunks(data)
    song = MidiFile(ticks_per_beat=resolution)
    for number, chunk in enumerate(chunks):
        try:
            _read_track(chunk, song)
        except IndexError:
            raise InputError(f"it breaks off in the middle of an event of track {number}") from None
        except InputError as error:
            raise InputError(f"track {number}: {error}") from None
    if song.max_tick > LONGEST_QUARTERS * resolution:
        raise InputError(f"it lasts {song.max_tick / resolution:.0f} quarters, more than {LONGEST_QUARTERS}")
    song.max_tick += 1
    song.tempo_changes = _tempo_line(song.tempo_changes)
    song.time_signature_changes.sort(key=lambda change: change.time)
    return song


def _chunks(data: bytes) -> tuple[int, list[bytes]]:
    """Ticks per quarter, and the bytes of each track."""
    if not data:
        raise InputError("it is empty")
    if data[:4] != b"MThd" or len(data) < _HEADER_SIZE:
        raise InputError(f"it must begin with a MIDI header (MThd, 14 bytes), but begins with {data[:4]!r}")
    resolution = int.from_bytes(data[12:14], "big")
    if not 0 < resolution < 0x8000:
        raise InputError(f"its time must be in ticks per quarter (1..32767), but its division is {resolution:#06x}")
    at = 8 + int.from_bytes(data[4:8], "big")
    chunks: list[bytes] = []
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        at += 8 + size
        if kind != b"MTrk":
            continue
        if at > len(data):
            raise InputError(f"track {len(chunks)} should have {size} bytes, but {at - len(data)} of them are missing")
        chunks.append(data[at - size : at])
    if not chunks:
        raise InputError("it has no track")
    return resolution, chunks


def _read_track(chunk: bytes, song: MidiFile) -> None:
    """Add the notes, tempi and metres of one track to the song."""
    name = ""
    programs = [0] * 16
    sounding: dict[int, list[tuple[int, int]]] = {}
    instruments: dict[tuple[int, int], Instrument] = {}
    tick = 0
    for tick, status, first, second in _events(chunk):
        channel = status & 0x0F
        if status < _AFTERTOUCH:
            key = channel << 7 | first
            if status >= _NOTE_ON and second:
                sounding.setdefault(key, []).append((tick, second))
            elif sounding.get(key):
                start, velocity = sounding[key].pop(0)
                voice = (channel, programs[channel])
                if voice not in instruments:
                    instruments[voice] = Instrument(programs[channel], channel == DRUM_CHANNEL, name)
                instruments[voice].notes.append(Note(velocity, first, start, tick))
        elif status & 0xF0 == _PROGRAM:
            programs[channel] = first
        elif status == _META << 8 | _TRACK_NAME:
            name = chunk[first:second].decode("utf-8", errors="replace").strip("\0 ")
        elif status > _META:
            _read_meta(song, tick, status & 0xFF, chunk[first:second])
    song.instruments.extend(instruments.values())
    song.max_tick = max(song.max_tick, tick)


def _read_meta(song: MidiFile, tick: int, kind: int, payload: bytes) -> None:
    if kind == _SET_TEMPO:
        microseconds = int.from_bytes(payload[:3], "big")
        if not microseconds:
            raise InputError(f"a quarter must last some time, but its tempo at tick {tick} is 0 microseconds a quarter")
        song.tempo_changes.append(TempoChange(60e6 / microseconds, tick))
    elif kind == _TIME_SIGNATURE:
        if len(payload) < 2 or not payload[0]:
            raise InputError(f"the time signature at tick {tick} must have a numerator, but is {payload.hex()}")
        song.time_signature_changes.append(TimeSignature(payload[0], 1 << payload[1], tick))


def _events(chunk: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(tick, status, data byte, data byte); of a meta event (tick, 0xFF00 + type, start and end of its payload).

    Raises IndexError where the chunk breaks off.
    """
    tick = at = running = 0
    end = len(chunk)
    while at < end:
        byte = chunk[at]
        if byte < 0x80:
            tick += byte
            at += 1
        else:
            delta, at = _quantity(chunk, at)
            tick += delta
        status = chunk[at]
        if status < 0x80:
            status = running  # "running status": the same kind of event as before, so its status byte is left out
        else:
            at += 1
        if status >= _SYSTEM:
            status, at, stop = _system_event(chunk, at, status)
            yield tick, status, at, stop
            if status == _META << 8 | _END_OF_TRACK:
                return
            at = stop
            continue
        running = status
        first, second = chunk[at], 0
        at += 1
        if not _PROGRAM <= status < _PITCH_BEND:
            second = chunk[at]
            at += 1
        if not status or (first | second) & 0x80:
            raise InputError(f"an event at tick {tick} has status {status:#x} and data {first}, {second}")
        yield tick, status, first, second


def _system_event(chunk: bytes, at: int, status: int) -> tuple[int, int, int]:
    """Status, start and end of the payload of a meta or system exclusive event."""
    if status == _META:
        status = status << 8 | chunk[at]
        at += 1
    elif status not in {0xF0, 0xF7}:
        raise InputError(f"byte {at - 1} must be an event of a MIDI file, but is {status:#x}")
    size, at = _quantity(chunk, at)
    if at + size > len(chunk):
        raise IndexError
    return status, at, at + size


def _quantity(chunk: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, 7 bits a byte, and where it ends."""
    number = 0
    for at in range(at, at + 4):  # noqa: B020, PLR1704 - a number has at most four bytes
        number = number << 7 | chunk[at] & 0x7F
        if chunk[at] < 0x80:
            return number, at + 1
    raise InputError(
        f"a number of variable length must have at most 4 bytes, but the one that ends at byte {at} has more"
    )


def _tempo_line(changes: list[TempoChange]) -> list[TempoChange]:
    """Changes in the order of time, from tick 0 on (120 qpm unless told), without those that change nothing."""
    line = [TempoChange(120.0, 0)]
    for change in sorted(changes, key=lambda change: change.time):
        if change.time == line[-1].time:
            line[-1] = change
        elif change.tempo != line[-1].tempo:
            line.append(change)
    return line
