"""Small files that others had trouble with, and what is right; the same kinds made here stand in the other tests."""

import pytest

from fairseq_meloformer.midi import bar_lines, files
from fairseq_meloformer.midi.files import merge_six_tracks, metre_of, notes
from fairseq_meloformer.tokens import remi

COUNTS = {"Lead": 64, "Bass": 32, "Piano": 48, "Drums": 96}
SAID = {
    "data-byte-255": [("an event with a data byte above 127", "track 3, tick 0")],
    "pitch-above-127": [("2 times an event with a data byte above 127", "track 3, tick 960")],
}


@pytest.fixture(scope="session")
def cases(shared):
    return shared / "cases" / "midi"


@pytest.mark.parametrize(
    "name",
    [
        "control",
        "data-byte-255",
        "last-bar-2-4",
        "metre-2-2",
        "metre-2-4",
        "metre-8-8",
        "pedal-bends-lyrics",
        "pickup-bar",
        "pitch-above-127",
        "riff",
        "track-length-too-long-last",
        "track-length-too-long-middle",
    ],
)
def test_files_that_hold_the_same_song_are_the_same_song(cases, name):
    left_out = []
    song = merge_six_tracks(files.read(cases / f"{name}.mid", left_out))
    assert {track.name: len(track.notes) for track in song.instruments} == COUNTS
    assert left_out == SAID.get(name, [])
    assert metre_of(song) == "4/4"
    encoded = remi.encode(song, ignore_time_signature=True, instrument_order="six_tracks")
    control = merge_six_tracks(files.read(cases / "control.mid"))
    assert encoded == remi.encode(control, ignore_time_signature=True, instrument_order="six_tracks")
    assert len(remi.bars(encoded)) == 8


def test_a_pickup_has_a_bar_of_its_own(cases):
    song = merge_six_tracks(files.read(cases / "pickup-bar.mid"))
    assert len(bar_lines(song)) - 1 == 9
    assert notes(song).onset.min() == 4


def test_programs_hold_for_all_tracks(cases):
    song = files.read(cases / "programs-in-setup-track.mid")
    assert [(track.program, track.is_drum) for track in song.instruments] == [
        (73, False), (33, False), (48, False), (25, False), (0, True),
    ]  # fmt: skip
    merged = merge_six_tracks(song)
    assert {track.name: len(track.notes) for track in merged.instruments} == {
        "Lead": 64, "Bass": 32, "Strings": 48, "Guitar": 48, "Drums": 96,
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["gbk", "utf8"])
def test_the_lead_is_the_track_that_says_so(cases, encoding):
    song = files.read(cases / f"track-name-{encoding}.mid")
    assert song.instruments[0].name == "主旋律"
    left_out = []
    lead = merge_six_tracks(song, left_out=left_out).instruments[0]
    assert lead.name == "Lead"
    assert round(sum(note.pitch for note in lead.notes) / len(lead.notes)) == 66
    assert left_out == [("64 notes of program 72, which is none of the six instruments", "instrument 1 (Piccolo)")]


def test_a_waltz_has_bars_of_three_quarters(cases):
    song = merge_six_tracks(files.read(cases / "waltz.mid"), ["4/4", "3/4"])
    assert metre_of(song) == "3/4"
    assert {track.name: len(track.notes) for track in song.instruments} == {"Lead": 36, "Bass": 12, "Piano": 72}
    bars = remi.bars(remi.encode(song, ignore_time_signature=True))
    assert len(bars) == 12
    assert {token for token in bars[5] if token.startswith("o-")} == {"o-0", "o-12", "o-24"}
