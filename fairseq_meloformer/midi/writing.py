"""Songs as musicians take them: a track, a name and a channel for every instrument, in the order of a score."""

import copy
import io
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final

from miditoolkit import Instrument, MidiFile, Note
from mido import Message, MetaMessage, MidiTrack, bpm2tempo
from mido import MidiFile as StandardMidiFile

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.channels import DRUM_CHANNEL
from fairseq_meloformer.midi.general_midi import SOUNDS
from fairseq_meloformer.midi.notes import DRUMS, notes, one_voice

_MELODIC_CHANNELS: Final = [channel for channel in range(16) if channel != DRUM_CHANNEL]
_PORTS: Final = 128
_LONGEST_QUARTER: Final = 0xFFFFFF  # microseconds: a tempo has three bytes

# At one tick: what a note needs comes before it, and a pitch ends before it begins again.
_OFF, _CHANGE, _ON = range(3)
_Event = tuple[int, int, Message | MetaMessage]


def playable(midi: MidiFile) -> MidiFile:
    """The song as its instruments can play it; what is written, drawn, printed and heard.

    Tracks of one program and name are one instrument, all drums are one kit. Instruments are in the order of a score,
    those without notes left out, no two of one name. A pitch sounds once at a time in an instrument: of notes that
    begin together the longest stays, a later one ends the one before. Every note is loud and long enough to be one (a
    velocity and a tick of at least 1). Controllers and bends are left out.

    Raises:
        InputError: a number is out of MIDI's range.
    """
    notes(midi)
    together: dict[tuple[int, str], list[Instrument]] = {}
    for track in midi.instruments:
        if track.notes:
            voice = (DRUMS, "") if track.is_drum else (int(track.program), track.name)
            together.setdefault(voice, []).append(track)
    song = copy.copy(midi)
    song.instruments = [
        _merged(together[voice]) for voice in sorted(together, key=lambda voice: SOUNDS[voice[0]].place)
    ]
    given, taken = {track.name for track in song.instruments}, set[str]()
    for track in song.instruments:
        if track.name in taken:
            numbered = (f"{track.name} {number}" for number in count(2))
            track.name = next(name for name in numbered if name not in given | taken)
        taken.add(track.name)
    return song


def written(midi: MidiFile, text: str = "") -> bytes:
    """A Standard MIDI File of format 1: tempi, metres, keys, markers and a text in its first track, then `playable`.

    The drums have channel 10, melodic instruments one of the other fifteen each. More than fifteen of them are shared
    out over ports (meta event 0x21), as sequencers have it: on a player that knows one port only they would meet.

    Raises:
        InputError: a number is out of MIDI's range, or more instruments than 128 ports have channels for.
    """
    song = playable(midi)
    melodic = [track for track in song.instruments if not track.is_drum]
    if len(melodic) > len(_MELODIC_CHANNELS) * _PORTS:
        raise InputError(f"A MIDI file must have at most 1920 melodic instruments, but this song has {len(melodic)}.")
    file = StandardMidiFile(ticks_per_beat=song.ticks_per_beat, charset="utf-8")
    file.tracks.append(_track(_conductor(song, text)))
    seats = iter(range(len(melodic)))
    for track in song.instruments:
        port, seat = (0, None) if track.is_drum else divmod(next(seats), len(_MELODIC_CHANNELS))
        channel = DRUM_CHANNEL if seat is None else _MELODIC_CHANNELS[seat]
        head: list[_Event] = [(0, _OFF, MetaMessage("track_name", name=track.name))]
        if len(melodic) > len(_MELODIC_CHANNELS):
            head.append((0, _OFF, MetaMessage("midi_port", port=port)))
        head.append((0, _OFF, Message("program_change", channel=channel, program=int(track.program))))
        file.tracks.append(_track([*head, *_part(track, channel)]))
    data = io.BytesIO()
    file.save(file=data)
    return data.getvalue()


def _merged(tracks: Sequence[Instrument]) -> Instrument:
    """Tracks of one instrument in one."""
    first = tracks[0]
    merged = Instrument(first.program, first.is_drum, first.name)
    if not merged.name:
        merged.name = SOUNDS[DRUMS if first.is_drum else first.program].name
    parts = [note for track in tracks for note in track.notes]
    merged.notes = [_audible(note) for note in one_voice(parts, (note.start for note in parts))]
    return merged


def _audible(note: Note) -> Note:
    if note.end > note.start and note.velocity:
        return note
    return Note(max(1, note.velocity), note.pitch, note.start, max(note.end, note.start + 1))


def _conductor(song: MidiFile, text: str) -> list[_Event]:
    """What holds for all instruments."""
    events: list[_Event] = [(0, _OFF, MetaMessage("text", text=text))] if text else []
    for metre in song.time_signature_changes:
        signature = MetaMessage("time_signature", numerator=metre.numerator, denominator=metre.denominator)
        events.append((metre.time, _CHANGE, signature))
    events += [
        (key.time, _CHANGE, MetaMessage("key_signature", key=key.key_name)) for key in song.key_signature_changes
    ]
    for change in song.tempo_changes:
        quarter = bpm2tempo(change.tempo) if change.tempo > 0 else 0
        if not 0 < quarter <= _LONGEST_QUARTER:
            raise InputError(
                f"A tempo must be between {60e6 / _LONGEST_QUARTER:.2f} and 60,000,000 quarters a minute, but at tick "
                f"{change.time} it is {change.tempo:g}."
            )
        events.append((change.time, _CHANGE, MetaMessage("set_tempo", tempo=quarter)))
    events += [(marker.time, _ON, MetaMessage("marker", text=marker.text)) for marker in song.markers]
    return events


def _part(track: Instrument, channel: int) -> Iterable[_Event]:
    for note in track.notes:
        yield note.start, _ON, Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
        yield note.end, _OFF, Message("note_off", channel=channel, note=note.pitch, velocity=0)


def _track(events: Iterable[_Event]) -> MidiTrack:
    track, now = MidiTrack(), 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        message.time, now = int(tick) - now, int(tick)
        track.append(message)
    return track
