"""Reading Standard MIDI Files.

miditoolkit reads a file through one Python object per event, which takes longer than everything else that is done
with it; this reader walks the bytes once (three times as fast), fills the same `MidiFile`, and says what is wrong
with a file that it refuses and what it left out of one that it reads. Controllers, pitch bends and lyrics are not kept:
nothing here uses them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple

from miditoolkit import Instrument, KeySignature, Marker, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.channels import BANK, PROGRAM, Channels, Voice
from fairseq_meloformer.midi.garbage_collection import paused
from fairseq_meloformer.midi.keys import key_name
from fairseq_meloformer.midi.names import decoded

LONGEST_QUARTERS: Final = 100_000
"""Longest song in quarters (14 hours at 120 qpm): broken delta times otherwise make millions of empty bars."""

_NOTE_ON, _AFTERTOUCH, _CONTROL, _PROGRAM, _PITCH_BEND, _EXCLUSIVE = 0x90, 0xA0, 0xB0, 0xC0, 0xE0, 0xF0
_BANK_SELECT: Final = 0
_EXCLUSIVES: Final = (_EXCLUSIVE, 0xF7)
_LIVE: Final = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0} | dict.fromkeys(range(0xF8, 0xFF), 0)
"""Messages that belong on a cable and not in a file, and how many bytes follow them."""
_META: Final = 0xFF
_TRACK_NAME, _MARKER, _PORT, _END_OF_TRACK = 0x03, 0x06, 0x21, 0x2F
_SET_TEMPO, _TIME_SIGNATURE, _KEY_SIGNATURE = 0x51, 0x58, 0x59

_HEADER, _TRACK = b"MThd", b"MTrk"
_HEADER_SIZE: Final = 14
_INDEPENDENT: Final = 2

_BAD_DATA: Final = "an event with a data byte above 127"


class LeftOut(NamedTuple):
    """Something in a file that was not read: what it is, and where."""

    what: str
    where: str


class NoteEvent(NamedTuple):
    """A note of a track: its channel is 16 times its port plus the channel, `off` and `on` are numbers of its events.

    told: how many changes of channels had been told when it began.
    """

    channel: int
    pitch: int
    end: int
    off: int
    start: int
    on: int
    velocity: int
    told: int


@dataclass
class Track:
    """A track: notes in the order in which they end; `spoken`: changes of channels that were told up to its end."""

    place: str
    chunk: bytes
    port: int
    name: bytes = b""
    notes: list[NoteEvent] = field(default_factory=list)
    spoken: int = 0
    last_tick: int = 0


class Song:
    """What is read of a Standard MIDI File.

    As miditoolkit does, a note-off ends the oldest sounding note of its pitch, channel and track, and a note without a
    note-off is left out. Unlike it, tempo changes of several tracks are merged in the order of time, and programs hold
    for a channel in all tracks (see `Channels`). A track goes on to its end-of-track, whatever length is written before
    it; an event with impossible data is left out, but a velocity above 127 is 127.

    Args:
        data: its bytes.

    Raises:
        InputError: they are not a Standard MIDI File in quarters, break off (says where), or last too long.
    """

    @paused()
    def __init__(self, data: bytes) -> None:
        self.channels = Channels()
        self.tracks: list[Track] = []
        self.tempi: list[TempoChange] = []
        self.metres: list[TimeSignature] = []
        self.keys: list[KeySignature] = []
        self.markers: list[tuple[int, bytes]] = []
        self._left_out: dict[tuple[str, str], tuple[int, int | None]] = {}
        data = _unwrapped(data, self)
        self.kind, self.count, self.resolution = _header(data)
        at = 8 + int.from_bytes(data[4:8], "big")
        while (start := _next_track(data, at, self)) is not None:
            at = _read_track(data, start, self)
        if not self.tracks:
            raise InputError("it has no track")
        if len(self.tracks) < self.count:
            missing = self.count - len(self.tracks)
            self.leave_out(f"{missing} of the {self.count} tracks that its header counts", "end of the file")
        if self.kind == _INDEPENDENT and sum(bool(track.notes) for track in self.tracks) > 1:
            raise InputError("its tracks are independent pieces (format 2); save each of them as a file of its own")
        self.max_tick = max(track.last_tick for track in self.tracks) + 1
        if self.max_tick > LONGEST_QUARTERS * self.resolution:
            raise InputError(f"it lasts {self.max_tick / self.resolution:.0f} quarters, more than {LONGEST_QUARTERS}")

    def leave_out(self, what: str, where: "str | Track") -> None:
        """Note something that is not read; of several of a kind in a track, the number and the first one's tick."""
        place, tick = (where, None) if isinstance(where, str) else (where.place, where.last_tick)
        count, first = self._left_out.get((what, place), (0, tick))
        self._left_out[what, place] = (count + 1, first)

    @property
    def left_out(self) -> list[LeftOut]:
        """What was left out of it."""
        return [
            LeftOut(f"{count} times {what}" if count > 1 else what, place if tick is None else f"{place}, tick {tick}")
            for (what, place), (count, tick) in self._left_out.items()
        ]

    @property
    def names(self) -> list[str]:
        """Names of the tracks."""
        return decoded([track.name for track in self.tracks])

    @paused()
    def midi(self) -> MidiFile:
        """What is to be heard of it, and what a score says besides; changes and markers in the order of time."""
        midi = MidiFile(ticks_per_beat=self.resolution)
        midi.max_tick = self.max_tick
        midi.tempo_changes = _tempo_line(self.tempi)
        midi.time_signature_changes = sorted(self.metres, key=lambda change: change.time)
        midi.key_signature_changes = sorted(self.keys, key=lambda change: change.time)
        texts = decoded([text for _, text in self.markers])
        markers = [Marker(text, tick) for (tick, _), text in zip(self.markers, texts, strict=True)]
        midi.markers = sorted(markers, key=lambda marker: marker.time)
        for track, name in zip(self.tracks, self.names, strict=True):
            instruments: dict[tuple[int, Voice], Instrument] = {}
            for note, voice in self.voiced(track):
                key = (note.channel, voice)
                if key not in instruments:
                    instruments[key] = Instrument(voice.program, voice.drums, name)
                instruments[key].notes.append(Note(note.velocity, note.pitch, note.start, note.end))
            midi.instruments.extend(instruments.values())
        return midi

    def voiced(self, track: Track) -> Iterator[tuple[NoteEvent, Voice]]:
        """Notes of a track, each with its voice."""
        voices = {
            channel: self.channels.voices(channel, track.spoken) for channel in {note.channel for note in track.notes}
        }
        for note in track.notes:
            yield note, voices[note.channel].at(note.start, note.told)


def _unwrapped(data: bytes, song: Song) -> bytes:
    """The bytes from the header on: what a RIFF file has in its `data`, or what follows foreign bytes."""
    if not data:
        raise InputError("it is empty")
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        at = 12
        while at + 8 <= len(data):
            kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            if kind == b"data":
                return _unwrapped(data[at + 8 : at + 8 + size], song)
            at += 8 + size + size % 2
        raise InputError("it must have its MIDI file in a chunk `data`, as RIFF files have, but has none")
    at = data.find(_HEADER)
    if at < 0 or len(data) < at + _HEADER_SIZE:
        raise InputError(f"it must begin with a MIDI header (MThd, 14 bytes), but begins with {data[:4]!r}")
    if at:
        song.leave_out(f"{at} bytes before the MIDI header", "beginning of the file")
    return data[at:]


def _header(data: bytes) -> tuple[int, int, int]:
    """Format, number of tracks, and ticks per quarter."""
    kind, count, resolution = (int.from_bytes(data[at : at + 2], "big") for at in (8, 10, 12))
    if kind > _INDEPENDENT:
        raise InputError(f"its format must be 0, 1 or 2, but is {kind}")
    if not 0 < resolution < 0x8000:
        raise InputError(f"its time must be in ticks per quarter (1..32767), but its division is {resolution:#06x}")
    return kind, count, resolution


def _next_track(data: bytes, at: int, song: Song) -> int | None:
    """Where the next track begins, its header included; chunks of other kinds are passed over.

    So are other bytes: up to the next track, or up to the end if all tracks that the header counts were there, for the
    rest is then what another file has left on a disk.
    """
    end = _past_chunks(data, at)
    if end is None:
        end = data.find(_TRACK, at) if len(song.tracks) < song.count else -1
        end = len(data) if end < 0 else end
        song.leave_out(f"{end - at} bytes that are no track", f"byte {at}")
    return end if end < len(data) else None


def _past_chunks(data: bytes, at: int) -> int | None:
    """Where the chunks of other kinds that begin here end: at a track, or at the end of the data; None if elsewhere."""
    while at < len(data) and (kind := data[at : at + 4]) != _TRACK:
        if len(kind) < 4 or not kind.isalnum():
            return None
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "big")
    return at if at <= len(data) else None


def _read_track(data: bytes, at: int, song: Song) -> int:
    """Read the track whose header is here, and return where it ends.

    Its written length is believed if there is a chunk behind it, or nothing; else it may go on to the next track.
    """
    number, start = len(song.tracks), at + 8
    size = int.from_bytes(data[at + 4 : start], "big")
    end = start + size
    if not (believed := _past_chunks(data, end) is not None):
        end = data.find(_TRACK, start)
    chunk = data[start:end] if end >= 0 else data[start:]
    cut = f"track {number} should have {size} bytes, but {start + size - len(data)} of them are missing"
    try:
        length = _read_events(chunk, song)
    except IndexError:
        broken = f"it breaks off in the middle of an event of track {number}"
        raise InputError(cut if start + size > len(data) else broken) from None
    except InputError as error:
        raise InputError(f"track {number}: {error}") from None
    if length is None and end < 0:
        raise InputError(cut)
    stop = start + (len(chunk) if length is None else length)
    # A track that follows at once is what another file has left there if the header counts those behind it alone.
    follows = data[stop : stop + 4] == _TRACK and len(song.tracks) + _tracks_from(data, end) < song.count
    if not believed or stop == end or follows:
        return stop
    song.leave_out(f"{end - stop} bytes after the end of the track", song.tracks[-1])
    return end


def _tracks_from(data: bytes, at: int) -> int:
    """How many tracks there are from here on if their lengths are right."""
    count = 0
    while data[at : at + 4] == _TRACK:
        count += 1
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "big")
    return count


def _read_events(chunk: bytes, song: Song) -> int | None:
    """Add a track to the song: its notes, and what it says of channels, tempi and metres. Returns where it ends.

    None if it has no end-of-track. Raises IndexError where the chunk breaks off.
    """
    track = Track(f"track {len(song.tracks)}", chunk, port=_first_port(chunk))
    song.tracks.append(track)
    sounding: dict[int, list[tuple[int, int, int, int]]] = {}
    status = stop = 0
    for number, (track.last_tick, status, first, stop) in enumerate(events(chunk)):
        if status >= _AFTERTOUCH:
            _read_other(song, track, status, first, stop, chunk)
            continue
        velocity = stop
        if (first | velocity) & 0x80:
            song.leave_out(_BAD_DATA, track)
            if first & 0x80:
                continue
            velocity = 127
        channel = track.port << 4 | status & 0x0F
        key = channel << 7 | first
        if status >= _NOTE_ON and velocity:
            sounding.setdefault(key, []).append((track.last_tick, number, velocity, song.channels.told))
        elif sounding.get(key):
            track.notes.append(NoteEvent(channel, first, track.last_tick, number, *sounding[key].pop(0)))
    for _ in chain.from_iterable(sounding.values()):
        song.leave_out("a note without an end", track)
    track.spoken = song.channels.told
    return stop if status == _META << 8 | _END_OF_TRACK else None


def _read_other(song: Song, track: Track, status: int, first: int, second: int, chunk: bytes) -> None:
    """Add to the song what an event says that is no note."""
    if status < _EXCLUSIVE:
        channel = track.port << 4 | status & 0x0F
        if (first | second) & 0x80:
            song.leave_out(_BAD_DATA, track)
        elif status & 0xF0 == _PROGRAM:
            song.channels.change(channel, track.last_tick, PROGRAM, first)
        elif status & 0xF0 == _CONTROL and first == _BANK_SELECT:
            song.channels.change(channel, track.last_tick, BANK, second)
    elif status == _EXCLUSIVE:
        song.channels.exclusive(track.port, track.last_tick, chunk[first:second])
    elif status in _LIVE:
        song.leave_out(f"a message {status:#x}, which belongs on a cable", track)
    elif status > _META:
        _read_meta(song, track, status & 0xFF, chunk[first:second])


def _read_meta(song: Song, track: Track, kind: int, payload: bytes) -> None:
    tick = track.last_tick
    if kind == _TRACK_NAME:
        track.name = payload
    elif kind == _PORT:
        track.port = payload[0] if payload else track.port
    elif kind == _SET_TEMPO:
        microseconds = int.from_bytes(payload[:3], "big")
        if not microseconds:
            raise InputError(f"a quarter must last some time, but its tempo at tick {tick} is 0 microseconds a quarter")
        song.tempi.append(TempoChange(60e6 / microseconds, tick))
    elif kind == _TIME_SIGNATURE:
        if len(payload) < 2 or not payload[0]:
            raise InputError(f"the time signature at tick {tick} must have a numerator, but is {payload.hex()}")
        song.metres.append(TimeSignature(payload[0], 1 << payload[1], tick))
    elif kind == _KEY_SIGNATURE:
        sharps, minor = int.from_bytes(payload[:1], "big", signed=True), payload[1:2]
        if abs(sharps) > 7 or minor not in {b"\0", b"\1"}:
            song.leave_out(f"a key signature {payload.hex()}, which names no key", track)
        else:
            song.keys.append(KeySignature(key_name(sharps, minor=minor == b"\1"), tick))
    elif kind == _MARKER:
        song.markers.append((tick, payload))


def _first_port(chunk: bytes) -> int:
    """The port of a track until it names another: the first one that it names, which MuseScore does after programs."""
    at = chunk.find(bytes((_META, _PORT, 1)))
    return chunk[at + 3] if 0 <= at < len(chunk) - 3 else 0


def events(chunk: bytes) -> Iterator[tuple[int, int, int, int]]:
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
        if status >= _EXCLUSIVE:
            status, at, stop = _system_event(chunk, at, status)
            yield tick, status, at, stop
            if status == _META << 8 | _END_OF_TRACK:
                return
            at = stop
            continue
        if not status:
            raise InputError(f"an event at tick {tick} has no status byte, and none comes before it")
        running = status
        first, second = chunk[at], 0
        at += 1
        if not _PROGRAM <= status < _PITCH_BEND:
            second = chunk[at]
            at += 1
        yield tick, status, first, second


def _system_event(chunk: bytes, at: int, status: int) -> tuple[int, int, int]:
    """Status, start and end of the payload of a meta, system exclusive or live event."""
    if status == _META:
        status = status << 8 | chunk[at]
        at += 1
    elif status in _LIVE:
        return status, at, at + _LIVE[status]
    elif status not in _EXCLUSIVES:
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
