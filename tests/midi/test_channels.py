import weakref

import pytest
from midi.raw import bank, exclusive, header, note, port, program, track

from fairseq_meloformer.midi import smf
from fairseq_meloformer.midi.channels import PROGRAM, Channels


def voices(*tracks, kind=1):
    """Pitch, program and whether it is drums, of every note."""
    song = smf.Song(header(len(tracks), kind) + b"".join(tracks))
    assert not song.left_out
    return sorted((played.pitch, one.program, one.is_drum) for one in song.midi().instruments for played in one.notes)


SETUP = [program(0, 73), program(1, 33)]
PLAYED = [note(0, 60), note(1, 40)]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (1, 0, 2)])
def test_programs_hold_for_the_channel_whatever_track_they_stand_in(order):
    tracks = [track(*SETUP), *map(track, PLAYED)]
    assert voices(*(tracks[place] for place in order)) == [(40, 33, False), (60, 73, False)]


def test_programs_of_one_track_hold_in_another_from_their_time_on():
    first = track(program(0, 73), program(0, 48, wait=110))
    second = track(note(0, 60), note(0, 62, wait=5), note(0, 64, wait=10))
    assert voices(first, second) == [(60, 73, False), (62, 73, False), (64, 48, False)]


def test_the_program_at_the_beginning_of_a_note_counts():
    held = b"\x00\x90\x3c\x5a\x0a\xc0\x1e\x0a\x80\x3c\x40"
    assert voices(track(program(0, 5), held, note(0, 62))) == [(60, 5, False), (62, 30, False)]
    # In one track, what comes after the note comes after it, even at the same tick.
    assert voices(track(b"\x00\x90\x3c\x5a", program(0, 30), b"\x0a\x80\x3c\x40")) == [(60, 0, False)]


def test_every_port_has_channels_of_its_own():
    tracks = [
        track(port(0), program(0, 73), note(0, 60)),
        track(port(1), program(0, 33), note(0, 40)),
        track(port(0), note(0, 62)),
        track(port(1), note(0, 42)),
        track(port(2), note(9, 36)),
    ]
    assert voices(*tracks) == [(36, 0, True), (40, 33, False), (42, 33, False), (60, 73, False), (62, 73, False)]


def test_a_port_named_after_the_program_is_that_of_the_track():
    assert voices(track(program(3, 26)), track(program(3, 43), port(1), note(3, 40)), track(note(3, 60))) == [
        (40, 43, False), (60, 26, False),
    ]  # fmt: skip


XG = exclusive(0x43, 0x10, 0x4C, 0x00, 0x00, 0x7E, 0x00)


def rhythm(part, use):
    return exclusive(0x41, 0x10, 0x42, 0x12, 0x40, 0x10 | part, 0x15, use, 0)


@pytest.mark.parametrize(
    ("events", "channel", "drums"),
    [
        ([bank(4, 120), program(4, 0)], 4, True),
        ([bank(4, 121), program(4, 0)], 4, False),
        ([bank(9, 121), program(9, 0)], 9, False),
        ([bank(9, 0), program(9, 0)], 9, True),
        ([bank(4, 127), program(4, 0)], 4, False),
        ([XG, bank(4, 127), program(4, 0)], 4, True),
        ([bank(4, 120)], 4, False),  # a bank waits for a program
        ([bank(4, 120), program(4, 0), bank(4, 0)], 4, True),
        ([rhythm(0xA, 2)], 10, True),
        ([rhythm(1, 1), program(0, 3)], 0, True),
        ([rhythm(0, 0)], 9, False),
        ([rhythm(1, 1), rhythm(1, 0)], 0, False),
    ],
)
def test_drum_kits_are_told_by_channel_bank_and_part(events, channel, drums):
    assert [found[2] for found in voices(track(*events), track(note(channel, 60)))] == [drums]
    assert [found[2] for found in voices(track(*events, note(channel, 60)), kind=0)] == [drums]


def test_nothing_is_kept_of_channels_that_nobody_needs_any_more():
    channels = Channels()
    channels.change(3, 0, PROGRAM, 40)
    assert [channels.voices(3, 1).at(0, told).program for told in (0, 1)] == [0, 40]
    alive = weakref.ref(channels)
    del channels
    assert alive() is None
