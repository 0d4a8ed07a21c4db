"""Files as events: all of them, byte for byte, before and after an edit."""

import io
from collections import Counter

import mido
import pytest

from fairseq_meloformer import midi
from fairseq_meloformer.midi.events import EventFile, note_events

HEADER = b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x01\xe0"
SYSEX = b"\x00\xf0\x05\x7e\x7f\x09\x01\xf7"
ESCAPE = b"\x00\xf7\x02\xf3\x01"
LYRIC = b"\x0a\xff\x05\x82\x00" + b"x" * 256
END = b"\x83\x60\xff\x2f\x00"


def chunk(body):
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def absolute(data):
    """Per track (tick, message) of every event, as another library reads them."""
    tracks = []
    for track in mido.MidiFile(file=io.BytesIO(data)).tracks:
        now, events = 0, []
        for message in track:
            now += message.time
            events.append((now, str(message.copy(time=0))))
        tracks.append(events)
    return tracks


@pytest.fixture
def data():
    running = (
        b"\x00\x90\x3c\x40\x00\x40\x40\x60\x3c\x00\x00\x40\x00"  # two notes, one status byte, velocity 0 ends them
    )
    return HEADER + chunk(SYSEX + LYRIC + END) + chunk(b"\x00\xc0\x30" + running + END)


def test_every_event_is_kept_byte_for_byte(data):
    # An escape of bytes that are no message of their own, which not every library can read.
    file = EventFile.of(HEADER + chunk(SYSEX + ESCAPE + LYRIC + END) + data[data.rindex(b"MTrk") :])
    bytes_of = [[event.data for event in track] for track in file.tracks]
    assert bytes_of[0] == [SYSEX[1:], ESCAPE[1:], LYRIC[1:]]
    assert bytes_of[1][:2] == [b"\xc0\x30", b"\x90\x3c\x40"]
    assert file.ends == [10 + 480, 96 + 480]
    assert EventFile.of(file.dump()) == file


def test_real_files_come_back_as_another_library_reads_them(real_music):
    for path in sorted(real_music.rglob("*.mid"))[::3]:
        data = path.read_bytes()
        file = EventFile.of(data)
        theirs = absolute(data)  # which ends where bytes come that are no track
        assert absolute(file.dump())[: len(theirs)] == theirs, path
        read = Counter(
            (note.start, note.end, note.pitch, note.velocity)
            for one in midi.read(path).instruments
            for note in one.notes
        )
        ours = Counter((note.start, note.end, note.pitch, note.velocity) for note in file.notes)
        assert ours == read, path


def test_a_program_holds_for_its_channel_and_port_in_all_tracks():
    setup = b"\x00\xff\x21\x01\x00\x00\xc0\x49\x00\xff\x21\x01\x01\x00\xc0\x30\x60\xc0\x05" + END
    here = b"\x00\x90\x3c\x40\x60\x80\x3c\x40\x00\x99\x24\x40\x01\x89\x24\x40" + END
    there = b"\x00\xff\x21\x01\x01\x00\x90\x3c\x40\x60\x90\x3e\x40\x60\x80\x3e\x40\x00\x80\x3c\x40" + END
    header = HEADER[:10] + b"\x00\x03" + HEADER[12:]
    file = EventFile.of(header + chunk(setup) + chunk(here) + chunk(there))
    found = [(*note.player, note.pitch, note.on, note.off) for note in file.notes]
    assert found == [(1, 0, 73, 60, 0, 1), (2, 16, 48, 60, 1, 4), (1, 9, 128, 36, 2, 3), (2, 16, 5, 62, 2, 3)]
    assert file.channels == {0, 16, 9}
    assert [file.program(16, tick) for tick in (0, 95, 96)] == [48, 48, 5]


def test_an_edit_changes_nothing_but_its_notes(data):
    file = EventFile.of(data)
    low, high = file.notes
    new = note_events(0, 96, 96, 60, 70)
    edited = file.edited([low], {1: new, 2: note_events(3, 5, 9, 50, 1)})
    assert [event.data for event in edited.tracks[1]] == [
        b"\xc0\x30", b"\x90\x40\x40", b"\x90\x40\x00", b"\x90\x3c\x46", b"\x80\x3c\x40",
    ]  # fmt: skip
    assert edited.tracks[0] == file.tracks[0]
    assert [event.tick for event in edited.tracks[1]] == [0, 0, 96, 96, 97]
    assert edited.ends == [490, 576, 0]
    assert len(mido.MidiFile(file=io.BytesIO(edited.dump())).tracks) == 3
    # An end of a note stands before what begins at its tick, wherever it comes from.
    again = EventFile.of(data).edited([], {1: note_events(0, 0, 96, 62, 9) + note_events(0, 96, 99, 62, 9)})
    at_96 = [event.data[:2] for event in again.tracks[1] if event.tick == 96]
    assert at_96 == [b"\x80\x3e", b"\x90\x3c", b"\x90\x40", b"\x90\x3e"]
    heard = {(note.start, note.end, note.pitch, note.velocity) for note in again.notes}
    assert heard >= {(note.start, note.end, note.pitch, note.velocity) for note in (low, high)}


def test_a_track_ends_after_its_last_event(data):
    file = EventFile.of(data).edited([], {0: note_events(0, 5000, 6000, 60, 70)})
    assert mido.MidiFile(file=io.BytesIO(file.dump())).tracks[0][-1].type == "end_of_track"
    assert absolute(file.dump())[0][-1][0] == 6000


def test_a_later_file_is_the_same_but_for_its_time_and_begins_as_set_up():
    setup = b"\x00\xff\x03\x01A\x00\xff\x51\x03\x07\xa1\x20\x00\xb0\x07\x50\x10\xc0\x30\x20\x90\x3c\x40\x60\x80\x3c\x40"
    late = b"\x00\xc0\x05"  # a program of after the note
    file = EventFile.of(HEADER[:10] + b"\x00\x01" + HEADER[12:] + chunk(setup + late + END))
    later = file.later(960)
    old = [(event.tick, event.data) for event in file.tracks[0]]
    new = [(event.tick, event.data) for event in later.tracks[0]]
    assert new[0] == old[0]  # the name of the track
    assert new[1:4] == [(0, data) for _, data in old[1:4]]
    assert new[4:] == [(tick + 960, data) for tick, data in old[1:]]
    assert later.ends == [file.ends[0] + 960]
