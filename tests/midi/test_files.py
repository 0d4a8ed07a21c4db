import random

import miditoolkit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miditoolkit import Instrument, KeySignature, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi import files
from fairseq_meloformer.midi.events import EventFile
from fairseq_meloformer.tokens import remi

HEADER = b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0"
END_OF_TRACK = b"\x00\xff\x2f\x00"


def track(*events):
    body = b"".join(events) + END_OF_TRACK
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def part(name, program, notes, drums=False):
    """A track from (onset, duration, pitch) in quarters."""
    made = Instrument(program, drums, name)
    made.notes = [Note(90, pitch, round(onset * 480), round((onset + length) * 480)) for onset, length, pitch in notes]
    return made


def piece(*parts, metre=(4, 4)):
    made = MidiFile()
    made.time_signature_changes = [TimeSignature(*metre, 0)]
    made.tempo_changes = [TempoChange(100.0, 0)]
    made.instruments = list(parts)
    made.max_tick = max([note.end for one in parts for note in one.notes], default=0) + 1
    return made


def line(pitch, bars=8, step=1.0):
    return [(step * place, step * 0.9, pitch + (0, 4, 7, 5)[place % 4]) for place in range(round(4 * bars / step))]


def chords(pitch, bars=8):
    return [(4 * bar, 3.5, pitch + above) for bar in range(bars) for above in (0, 4, 7)]


def everything(song):
    return sorted(
        (note.start, note.end, note.pitch, note.velocity, int(one.program), one.is_drum)
        for one in song.instruments
        for note in one.notes
    )


# Reading


def test_real_files_are_read_as_miditoolkit_reads_them(real_music):
    for path in sorted(real_music.rglob("*.mid"))[::3]:
        ours, theirs = files.read(path), miditoolkit.MidiFile(path)
        assert everything(ours) == everything(theirs)
        assert ours.ticks_per_beat == theirs.ticks_per_beat
        assert ours.max_tick == theirs.max_tick
        assert ours.tempo_changes == theirs.tempo_changes
        assert ours.time_signature_changes == theirs.time_signature_changes
        assert ours.key_signature_changes == theirs.key_signature_changes
        assert ours.markers == theirs.markers
        assert [one.name for one in ours.instruments] == [one.name.strip() for one in theirs.instruments]


def test_running_status_and_note_on_without_velocity(tmp_path):
    events = [b"\x00\x90\x3c\x40", b"\x00\x3e\x40", b"\x83\x60\x3c\x00", b"\x00\xb0\x07\x64", b"\x00\x90\x3e\x00"]
    (tmp_path / "song.mid").write_bytes(HEADER + track(*events))
    assert everything(files.read(tmp_path / "song.mid")) == [(0, 480, 60, 64, 0, False), (0, 480, 62, 64, 0, False)]


def test_overlapping_notes_of_one_pitch_end_first_in_first_out(tmp_path):
    on, off = b"\x90\x3c\x40", b"\x80\x3c\x40"
    (tmp_path / "song.mid").write_bytes(
        HEADER + track(b"\x00", on, b"\x0a", on, b"\x0a", off, b"\x0a", off, b"\x0a", off)
    )
    assert [event[:2] for event in everything(files.read(tmp_path / "song.mid"))] == [(0, 20), (10, 30)]


def test_tempi_of_several_tracks_come_in_order(tmp_path):
    tempo = b"\xff\x51\x03"
    first = track(b"\x83\x60", tempo, b"\x07\xa1\x20")
    second = track(b"\x0a", tempo, b"\x0f\x42\x40", b"\x0a\xff\x03\x06", "旋律".encode())
    (tmp_path / "song.mid").write_bytes(HEADER + first + b"XXXX\x00\x00\x00\x01?" + second)
    read = files.read(tmp_path / "song.mid")
    assert [(change.time, change.tempo) for change in read.tempo_changes] == [(0, 120.0), (10, 60.0), (480, 120.0)]


NOTE = b"\x00\x90\x3c\x40\x0a\x80\x3c\x40"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"RIFF....garbage.......", "must begin with a MIDI header"),
        (HEADER[:9], "must begin with a MIDI header"),
        (HEADER[:12] + b"\x00\x00" + track(NOTE), "division is 0x0"),
        (HEADER[:12] + b"\xe7\x28" + track(NOTE), "division is 0xe728"),
        (HEADER, "it has no track"),
        (HEADER + track(NOTE)[:-6], "track 0 should have 12 bytes, but 6 of them are missing"),
        (HEADER + b"MTrk\x00\x00\x00\x03\x00\x90\x3c", "breaks off in the middle of an event of track 0"),
        (HEADER + b"MTrk\x00\x00\x00\x05\x00\xff\x03\x7f\x41", "breaks off in the middle of an event of track 0"),
        (HEADER + track(b"\x00\x3c\x40"), "track 0: an event at tick 0 has no status byte"),
        (HEADER + track(b"\x00\xf4\x00"), "must be an event of a MIDI file, but is 0xf4"),
        (HEADER + track(b"\xff\xff\xff\xff\xff\x00"), "at most 4 bytes"),
        (HEADER + track(b"\x00\xff\x51\x03\x00\x00\x00"), "0 microseconds a quarter"),
        (HEADER + track(b"\x00\xff\x58\x04\x00\x02\x18\x08"), "must have a numerator"),
        (HEADER + track(b"\xff\xff\xff\x7f\x90\x3c\x40"), "more than 100000"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path, data, message):
    (tmp_path / "broken.mid").write_bytes(data)
    for reader in (files.read, EventFile.read):
        with pytest.raises(InputError, match=message) as caught:
            reader(tmp_path / "broken.mid")
        assert "broken.mid" in str(caught.value)


def test_missing_files_and_folders_are_refused_by_name(tmp_path):
    for path in (tmp_path / "absent.mid", tmp_path):
        for reader in (files.read, EventFile.read):
            with pytest.raises(InputError, match="must be readable"):
                reader(path)


def test_what_a_file_says_of_its_key_changes_no_token(tmp_path):
    song, tokens = piece(part("melody", 0, line(64)), part("", 0, chords(40))), []
    for keys in ([], [KeySignature("F#m", 0)]):
        song.key_signature_changes = keys
        files.write(song, tmp_path / "song.mid")
        read = files.read(tmp_path / "song.mid")
        assert read.key_signature_changes == keys
        tokens.append(remi.encode(files.merge_six_tracks(read), normalise_pitch=True))
    assert tokens[0] == tokens[1]


@given(seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_damaged_files_are_read_or_refused(tmp_path_factory, seed):
    path = tmp_path_factory.getbasetemp() / "damaged.mid"
    files.write(piece(part("a", 0, line(60)), part("b", 0, chords(40), drums=True)), path)
    damaged, chance = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(chance.randrange(1, 6)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    path.write_bytes(damaged[: chance.randrange(len(damaged)) or None])
    try:
        song = files.read(path)
    except InputError:
        return
    assert all(note.start <= note.end < song.max_tick for one in song.instruments for note in one.notes)
    assert all(0 < note.velocity < 128 and note.pitch < 128 for one in song.instruments for note in one.notes)
    if len(files.notes(song)) and song.max_tick < 10**6:
        try:
            assert remi.encode(song)[-1] == "b-1"
        except InputError as error:
            assert "time signature" in str(error)  # noqa: PT017 - the one thing that reading does not check


# Notes and bars


def test_notes_are_sorted_arrays_in_quarters():
    song = files.notes(
        piece(part("a", 5, [(2, 1, 60), (0, 0.5, 64), (0, 1, 50)]), part("b", 9, [(1, 2, 36)], drums=True))
    )
    assert len(song) == 4
    assert song.onset.tolist() == [0, 0, 1, 2]
    assert song.duration.tolist() == [1, 0.5, 2, 1]
    assert song.pitch.tolist() == [50, 64, 36, 60]
    assert song.program.tolist() == [5, 5, 128, 5]
    assert song.track.tolist() == [0, 0, 1, 0]
    assert set(song.velocity.tolist()) == {90}
    assert len(files.notes(MidiFile())) == 0


def test_bar_lines_go_to_the_end_of_the_last_onset_s_bar():
    song = piece(part("a", 0, [(0, 1, 60), (8, 9, 60)]))
    assert files.bar_lines(song).tolist() == [0, 4, 8, 12]
    song.time_signature_changes = [TimeSignature(3, 4, 0), TimeSignature(6, 8, 6 * 480)]
    assert files.bar_lines(song).tolist() == [0, 3, 6, 9]
    song.time_signature_changes = [TimeSignature(3, 4, 480)]
    assert files.bar_lines(song).tolist() == [0, 1, 4, 7, 10]
    assert files.bar_lines(MidiFile()).tolist() == [0, 4]


def test_a_song_has_one_metre_or_none():
    song = piece(part("a", 0, [(0, 1, 60), (8, 1, 60)]))
    assert files.metre_of(song) == "4/4"
    song.time_signature_changes.append(TimeSignature(3, 4, 9 * 480))
    assert files.metre_of(song) == "4/4"  # after the last onset it matters to nobody
    song.time_signature_changes.append(TimeSignature(3, 4, 4 * 480))
    with pytest.raises(InputError, match="begins in 4/4 and has a bar of 3/4 at quarter 4"):
        files.metre_of(song)
    assert files.metre_of(piece(part("a", 0, [(0, 1, 60)]), metre=(6, 8))) == "6/8"


# Six tracks


def merged(*parts, **options):
    song = files.merge_six_tracks(piece(*parts, **options))
    return {one.name: one for one in song.instruments}


def test_tracks_go_where_their_programs_say():
    tracks = merged(
        part("Melody", 0, line(72)), part("x", 33, line(36)), part("", 4, chords(60)), part("", 27, chords(52)),
        part("", 49, chords(64)), part("", 0, line(36), drums=True), part("", 100, chords(70)), part("", 56, line(60)),
    )  # fmt: skip
    programs = {name: (one.program, one.is_drum) for name, one in tracks.items()}
    assert programs == {
        "Lead": (80, False), "Drums": (0, True), "Bass": (43, False), "Guitar": (25, False), "Piano": (0, False),
        "Strings": (48, False),
    }  # fmt: skip
    assert {note.pitch for note in tracks["Lead"].notes} == {72, 76, 79, 77}
    assert {note.pitch for note in tracks["Piano"].notes} == {60, 64, 67}
    assert len(tracks["Guitar"].notes) == 24


@pytest.mark.parametrize(
    ("parts", "lead"),
    [
        ([part("vocal", 0, line(60)), part("", 73, line(72))], 60),  # a name is the best sign,
        ([part("backing vocals", 52, line(60)), part("", 12, line(72)), part("", 12, line(65))], 72),  # then height,
        (
            [part("", 80, [(onset, 1.0, pitch) for onset, _, pitch in chords(60)]), part("", 0, chords(80))],
            60,
        ),  # program
    ],
)
def test_lead_is_found(parts, lead):
    assert min(note.pitch for note in merged(*parts)["Lead"].notes) == lead


def test_bass_is_found_by_name_or_as_the_lowest_line():
    named = merged(part("melody", 0, line(72)), part("Slap Bass", 0, chords(50)), part("Bassoon", 70, line(36)))
    assert {note.pitch for note in named["Bass"].notes} == {50, 54, 57}
    lowest = merged(part("melody", 0, line(72)), part("", 58, line(36)), part("", 43, line(45)))
    assert min(note.pitch for note in lowest["Bass"].notes) == 36
    assert min(note.pitch for note in lowest["Strings"].notes) == 45


def test_a_pitch_sounds_once_at_a_time_in_a_merged_track():
    tracks = merged(
        part("melody", 0, line(72)),
        part("", 0, [(0, 1, 60), (4, 4, 60)]),
        part("", 1, [(0, 2, 60), (0.01, 1, 60), (5, 1, 60)]),
    )
    assert [(note.start, note.end) for note in tracks["Piano"].notes] == [(0, 960), (1920, 2400), (2400, 2880)]


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ([part("melody", 0, line(60))], {"metre": (3, 4)}, "must be in 4/4, but is in 3/4"),
        (
            [part("melody", 0, [(0.618 * place, 0.5, 60 + place % 5) for place in range(40)])],
            {"metre": (1, 4)},
            r"these lie anywhere\. Quantise them, or write the metre into the file\.$",
        ),
        (
            [part("melody", 0, line(60, bars=3))],
            {},
            "at least 16 notes and 3 pitches, but this one has 12 and 4",
        ),
        (
            [part("melody", 0, line(60, bars=3, step=0.5))],
            {},
            "must last 16 to 10000 quarters, but this one lasts 11.9",
        ),
        ([part("melody", 0, [(onset, 0.5, 60) for onset in range(32)])], {}, "at least 16 notes and 3 pitches"),
        ([part("", 0, chords(60))], {}, "must have a lead"),
        ([part("", 0, line(40), drums=True), part("", 0, chords(60))], {}, "must have a lead"),
        ([part("melody", 0, [(4 * bar + 3.5, 1.5, 60 + bar) for bar in range(20)])], {}, "100% do: the metre or"),
    ],
)
def test_songs_that_make_no_six_tracks_are_refused(parts, options, message):
    with pytest.raises(InputError, match=message):
        merged(*parts, **options)


def test_pop909_gets_bars_from_its_notes(real_music):
    for number in ("001", "026", "128", "759"):
        song = files.merge_six_tracks(files.read(real_music / f"pop909/{number}.mid"))
        assert song.instruments[0].name == "Lead"
        assert "Piano" in {one.name for one in song.instruments}
        assert [(change.numerator, change.denominator) for change in song.time_signature_changes] == [(4, 4)]
        onset = files.notes(song).onset * 4
        assert np.abs(onset - np.rint(onset)).mean() < 0.1, "the notes lie on sixteenths"
        lengths = [np.diff(np.append(np.flatnonzero(np.rint(onset) % 16 == phase), 0)).size for phase in range(16)]
        assert lengths[0] > np.mean(lengths), "more notes begin bars than begin elsewhere"
    own = files.merge_six_tracks(files.read(real_music / "pop909/001.mid"), ["4/4", "2/4"])
    assert files.metre_of(own) == "2/4"


def test_bars_are_found_again_after_the_song_is_shifted(shared):
    song = files.read(shared / "museformer" / "golden" / "six_track_sample.mid")
    expected = remi.encode(files.merge_six_tracks(song))
    for one in song.instruments:
        for note in one.notes:
            note.start += round(2.6 * song.ticks_per_beat)
            note.end += round(2.6 * song.ticks_per_beat)
    assert remi.encode(files.merge_six_tracks(song))[-1000:] == expected[-1000:]
