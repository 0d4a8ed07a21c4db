import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midi.raw import END_OF_TRACK, header, note, track

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi import files, smf
from fairseq_meloformer.midi.events import EventFile

PARTS = [b"".join(note(channel, 60 + channel + pitch) for pitch in range(4)) for channel in range(3)]


def heard(song):
    return sorted((one.start, one.pitch, one.velocity) for track in song.instruments for one in track.notes)


ALL = heard(smf.Song(header(3) + b"".join(map(track, PARTS))).midi())


def read(data):
    song = smf.Song(data)
    return heard(song.midi()), song.left_out


@given(st.lists(st.one_of(st.none(), st.integers(0, 100), st.integers(0, 2**32 - 1)), min_size=3, max_size=3))
def test_tracks_end_at_their_ends_whatever_their_length_says(sizes):
    data = header(3) + b"".join(track(part, size=size) for part, size in zip(PARTS, sizes, strict=True))
    assert read(data) == (ALL, [])


@given(st.integers(0, 2), st.binary(min_size=1, max_size=40).filter(lambda junk: b"MT" not in junk))
def test_bytes_between_tracks_are_passed_over_and_said(place, junk):
    tracks = [track(part) for part in PARTS]
    tracks.insert(place, junk)
    notes, left_out = read(header(3) + b"".join(tracks))
    assert notes == ALL
    assert [one.what for one in left_out] in ([], [f"{len(junk)} bytes that are no track"])
    assert left_out or junk[:4].isalnum()


def test_tracks_without_an_end_are_read_if_their_length_is_right():
    assert read(header(3) + b"".join(track(part, end=b"") for part in PARTS)) == (ALL, [])
    wrong = track(PARTS[0], end=b"", size=9) + track(PARTS[1], end=b"", size=9999) + track(PARTS[2])
    assert read(header(3) + wrong) == (ALL, [])
    for last in (track(PARTS[2], end=b"", size=40), track(PARTS[2])[:-1], track(PARTS[2])[:-7]):
        with pytest.raises(InputError, match="missing"):
            read(header(3) + track(PARTS[0]) + track(PARTS[1]) + last)


def test_what_follows_the_end_of_a_track_is_said():
    late = PARTS[2] + END_OF_TRACK + note(5, 40)
    notes, left_out = read(header(3) + track(PARTS[0]) + track(PARTS[1]) + track(late))
    assert notes == ALL
    assert left_out == [(f"{len(note(5, 40)) + 4} bytes after the end of the track", "track 2, tick 400")]
    stale = track(note(5, 40), b"\x00\x90\x90")
    for rest in (stale, b"?" + stale):
        late = track(PARTS[0] + END_OF_TRACK + rest, end=b"")
        notes, left_out = read(header(3) + late + track(PARTS[1]) + track(PARTS[2]))
        assert notes == ALL
        assert [one.what for one in left_out] == [f"{len(rest)} bytes after the end of the track"]
    covered = track(PARTS[0], size=len(track(*PARTS[:2])) + 4) + track(PARTS[1]) + track(PARTS[2])
    assert read(header(3) + covered) == (ALL, []), "a length that covers a whole track more"


def test_what_another_file_has_left_behind_the_last_track_is_no_track():
    rest = b"\x40\x00" + track(note(5, 40)) + track(note(5, 41))[:-6]
    notes, left_out = read(header(3) + b"".join(map(track, PARTS)) + rest)
    assert notes == ALL
    assert [one.what for one in left_out] == [f"{len(rest)} bytes that are no track"]
    assert len(read(header(2) + b"".join(map(track, PARTS)))[0]) == len(ALL), "a header may count too few"


def test_tracks_that_are_not_there_are_said():
    assert read(header(5) + b"".join(map(track, PARTS)))[1] == [
        ("2 of the 5 tracks that its header counts", "end of the file")
    ]


def test_chunks_of_other_kinds_are_passed_over():
    other = b"XFIH\x00\x00\x00\x05\x00\xff\x2f\x00\x90"
    for place in range(4):
        tracks = [track(part) for part in PARTS]
        tracks[place:place] = [other, other]
        assert read(header(3) + b"".join(tracks)) == (ALL, [])


@pytest.mark.parametrize("place", [1, 3])
def test_there_may_be_any_number_of_other_chunks(place):
    tracks = [track(part) for part in PARTS]
    tracks.insert(place, b"AAAA\0\0\0\0" * 100_000)
    assert read(header(3) + b"".join(tracks)) == (ALL, [])


def chunk(kind, body):
    return kind + len(body).to_bytes(4, "little") + body + b"\x00" * (len(body) % 2)


@pytest.mark.parametrize("before", [b"", chunk(b"DISP", b"MThd?"), chunk(b"LIST", b"INFO" + chunk(b"INAM", b"MTrk"))])
@pytest.mark.parametrize("after", [b"", chunk(b"LIST", b"INFO"), chunk(b"RIFF", b"DLS MTrk\x00\x00\x00\x00")])
def test_riff_files_are_read_as_what_stands_in_data(before, after):
    song = header(3) + b"".join(map(track, PARTS))
    content = b"RMID" + before + chunk(b"data", song) + after
    assert read(b"RIFF" + len(content).to_bytes(4, "little") + content) == (ALL, [])


def test_bytes_before_the_header_are_passed_over_and_said():
    assert read(b"\x00" * 128 + header(3) + b"".join(map(track, PARTS))) == (
        ALL, [("128 bytes before the MIDI header", "beginning of the file")],
    )  # fmt: skip


def test_independent_patterns_are_refused_unless_there_is_only_one():
    with pytest.raises(InputError, match=r"independent pieces \(format 2\)"):
        read(header(3, kind=2) + b"".join(map(track, PARTS)))
    assert len(read(header(2, kind=2) + track() + track(PARTS[0]))[0]) == 4
    with pytest.raises(InputError, match="format must be 0, 1 or 2, but is 7"):
        read(header(1, kind=7) + track(PARTS[0]))


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (b"\x00\xb0\x07\xff", "an event with a data byte above 127"),
        (b"\x00\xb0\xff\x07", "an event with a data byte above 127"),
        (b"\x00\xc0\x80", "an event with a data byte above 127"),
        (b"\x00\xe0\x00\x90", "an event with a data byte above 127"),
        (b"\x00\x90\x80\x40\x00\x80\x80\x40", "2 times an event with a data byte above 127"),
        (b"\x00\xf8", "a message 0xf8, which belongs on a cable"),
        (b"\x00\xf2\x10\x20", "a message 0xf2, which belongs on a cable"),
        (b"\x00\xfe\x00\xfe", "2 times a message 0xfe, which belongs on a cable"),
        (b"\x00\x90\x30\x40", "a note without an end"),
        (b"\x00\xff\x59\x02\x08\x00", "a key signature 0800, which names no key"),
        (b"\x00\xff\x59\x02\xff\x02", "a key signature ff02, which names no key"),
        (b"\x00\xff\x59\x01\x00", "a key signature 00, which names no key"),
    ],
)
def test_single_events_that_cannot_be_are_left_out_and_said(event, what):
    broken = PARTS[1][:8] + event + PARTS[1][8:]
    notes, left_out = read(header(3) + track(PARTS[0]) + track(broken) + track(PARTS[2]))
    assert notes == ALL
    assert [(one.what, one.where.partition(",")[0]) for one in left_out] == [(what, "track 1")]


def test_notes_louder_than_can_be_are_as_loud_as_can_be():
    notes, left_out = read(header() + track(b"\x00\x90\x3c\xc8\x10\x80\x3c\xff"))
    assert notes == [(0, 60, 127)]
    assert left_out == [("2 times an event with a data byte above 127", "track 0, tick 0")]


@pytest.mark.parametrize("reader", [files.read, EventFile.read])
def test_what_is_left_out_is_logged_if_nobody_asks(tmp_path, caplog, reader):
    (tmp_path / "song.mid").write_bytes(header(5) + b"".join(map(track, PARTS)))
    with caplog.at_level(logging.WARNING):
        reader(tmp_path / "song.mid")
    assert "song.mid: left out 2 of the 5 tracks" in caplog.text
    caplog.clear()
    left_out = []
    files.read(tmp_path / "song.mid", left_out)
    assert len(left_out) == 1
    assert not caplog.text


@given(st.integers(0, 2**31))
def test_no_damage_loses_notes_without_a_word(seed):
    """One byte of the framing is changed: all notes are there, or it is said, or the file is refused."""
    chance = random.Random(seed)
    data = bytearray(header(3) + b"".join(map(track, PARTS)))
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"MTrk"]
    framing = [at + offset for at in starts for offset in range(8)]
    data[chance.choice(framing)] = chance.randrange(256)
    try:
        notes, left_out = read(bytes(data))
    except InputError:
        return
    assert notes == ALL or left_out
