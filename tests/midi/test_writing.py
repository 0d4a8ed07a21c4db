import mido
import pytest
from miditoolkit import Instrument, KeySignature, Marker, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import midi
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.keys import key_name
from fairseq_meloformer.midi.writing import playable


def part(program, *notes, name="", drums=False):
    """A track from (start, end, pitch) in ticks."""
    made = Instrument(program, drums, name)
    made.notes = [Note(90, pitch, start, end) for start, end, pitch in notes]
    return made


def song(*parts):
    made = MidiFile()
    made.instruments = list(parts)
    return made


def written(made, tmp_path, text=""):
    """Events (tick, message) of every track of the file."""
    midi.write(made, tmp_path / "song.mid", text)
    tracks = []
    for track in mido.MidiFile(tmp_path / "song.mid", charset="utf-8").tracks:
        ticks, now = [], 0
        for message in track:
            now += message.time
            ticks.append((now, message))
        tracks.append(ticks)
    return tracks


def sounding(tracks):
    """Name of the track, program and drums or not of every note as a synthesiser with several ports plays them."""
    events = []
    for number, track in enumerate(tracks):
        port = next((message.port for _, message in track if message.type == "midi_port"), 0)
        name = next((message.name for _, message in track if message.type == "track_name"), "")
        events += [(tick, number, place, port, name, message) for place, (tick, message) in enumerate(track)]
    programs, found = {}, set()
    for *_, port, name, message in sorted(events, key=lambda event: event[:3]):
        if message.type == "program_change":
            programs[port, message.channel] = message.program
        elif message.type == "note_on" and message.velocity:
            found.add((name, programs.get((port, message.channel), 0), message.channel == 9))
    return found


def notes_of(made):
    return [(note.start, note.end, note.pitch) for one in made.instruments for note in one.notes]


def test_an_instrument_is_one_track_one_name_and_one_channel_in_the_order_of_a_score(tmp_path):
    programs = (43, 0, 48, 25, 80, 73)
    parts = [part(program, (0, 480, 60), name=str(program)) for program in programs]
    tracks = written(song(part(0, (0, 10, 36), drums=True), part(48, (480, 960, 62), name="48"), *parts), tmp_path)
    names = [next(m.name for _, m in track if m.type == "track_name") for track in tracks[1:]]
    assert names == ["80", "73", "25", "0", "48", "43", "Drums"]
    assert sounding(tracks) == {(str(program), program, False) for program in programs} | {("Drums", 0, True)}
    channels = [{m.channel for _, m in track if not m.is_meta} for track in tracks[1:]]
    assert all(len(own) == 1 for own in channels)
    assert len(set.union(*channels)) == 7
    assert channels[-1] == {9}


def test_instruments_of_one_name_are_told_apart_and_those_without_a_name_get_general_midis():
    two = playable(song(part(33, (0, 1, 40), name="Bass"), part(43, (0, 1, 40), name="Bass"), part(73, (0, 1, 80))))
    assert [one.name for one in two.instruments] == ["Flute", "Bass", "Bass 2"]


@pytest.mark.parametrize(
    ("names", "told_apart"),
    [
        (["Piano", "Piano", "Piano 2"], ["Piano", "Piano 3", "Piano 2"]),
        (["Piano 2", "Piano", "Piano"], ["Piano 2", "Piano", "Piano 3"]),
        (["Piano", "Piano", "Piano"], ["Piano", "Piano 2", "Piano 3"]),
    ],
)
def test_a_number_is_not_a_name_that_another_instrument_has(names, told_apart):
    made = playable(song(*(part(program, (0, 1, 60), name=name) for program, name in enumerate(names))))
    assert [one.name for one in made.instruments] == told_apart


def test_more_instruments_than_channels_go_to_a_second_port(tmp_path):
    many = [part(program, (0, 480, 60), name=str(program)) for program in range(40)]
    tracks = written(song(*many, part(0, (0, 10, 36), drums=True)), tmp_path)
    assert sounding(tracks) == {(str(program), program, False) for program in range(40)} | {("Drums", 0, True)}
    fifteen = written(song(*many[:15]), tmp_path)
    assert not [m for track in fifteen for _, m in track if m.type == "midi_port"]


def test_of_equal_pitches_that_overlap_the_earlier_ends_whatever_tracks_they_came_from(tmp_path):
    first = part(3, (0, 1920, 60), (480, 960, 60), (0, 480, 60), name="键盘")
    second = part(3, (600, 900, 60), (600, 900, 61), (5, 5, 127), name="键盘")
    made = song(first, second)
    midi.write(made, tmp_path / "song.mid")
    back = midi.read(tmp_path / "song.mid")
    expected = [(0, 480, 60), (5, 6, 127), (480, 600, 60), (600, 900, 60), (600, 900, 61)]
    assert sorted(notes_of(back)) == sorted(notes_of(playable(made))) == expected
    assert [one.name for one in back.instruments] == ["键盘"]
    assert len(made.instruments) == 2  # the song itself is left as it was
    assert first.notes[0].end == 1920


def test_a_note_that_would_be_none_is_a_short_and_quiet_one(tmp_path):
    silent = song(part(0, (0, 480, 60)))
    silent.instruments[0].notes[0].velocity = 0
    midi.write(silent, tmp_path / "song.mid")
    (note,) = midi.read(tmp_path / "song.mid").instruments[0].notes
    assert (note.start, note.end, note.velocity) == (0, 480, 1)


def test_tempi_metres_keys_markers_and_the_text_stand_in_the_first_track(tmp_path):
    made = song(part(0, (0, 480, 60)))
    made.tempo_changes = [TempoChange(120.0, 0), TempoChange(102.25, 960)]
    made.time_signature_changes = [TimeSignature(6, 8, 0)]
    made.key_signature_changes = [KeySignature("F#m", 0)]
    made.markers = [Marker("宁静的早晨", 0), Marker("storm", 960)]
    first = written(made, tmp_path, "暴风雨, seed 7")[0]
    assert first[0][1] == mido.MetaMessage("text", text="暴风雨, seed 7", time=0)
    said = [(tick, m.type) for tick, m in first[1:]]
    assert said == [
        (0, "time_signature"), (0, "key_signature"), (0, "set_tempo"), (0, "marker"), (960, "set_tempo"),
        (960, "marker"), (960, "end_of_track"),
    ]  # fmt: skip
    tempi = [mido.tempo2bpm(m.tempo) for _, m in first if m.type == "set_tempo"]
    assert tempi == [120, pytest.approx(102.25, abs=1e-4)]
    assert [m.text for _, m in first if m.type == "marker"] == ["宁静的早晨", "storm"]
    assert next(m.key for _, m in first if m.type == "key_signature") == "F#m"
    back = midi.read(tmp_path / "song.mid")
    assert back.time_signature_changes == made.time_signature_changes
    assert back.key_signature_changes == made.key_signature_changes
    assert back.markers == made.markers


@pytest.mark.parametrize("minor", [False, True])
def test_every_key_is_read_as_it_is_written(tmp_path, minor):
    made = song(part(0, (0, 480, 60)))
    made.key_signature_changes = [
        KeySignature(key_name(sharps, minor=minor), 480 * (sharps + 7)) for sharps in range(-7, 8)
    ]
    midi.write(made, tmp_path / "song.mid")
    assert midi.read(tmp_path / "song.mid").key_signature_changes == made.key_signature_changes
    assert made.key_signature_changes[4].key_name == ("Cm" if minor else "Eb")


def test_a_file_is_there_completely_or_not_at_all(tmp_path):
    midi.write(song(part(0, (0, 480, 60))), tmp_path / "deep" / "song.mid")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["song.mid"]
    with pytest.raises(InputError, match=r"pitch of every note must be in 0\.\.127, but one is 200"):
        midi.write(song(part(0, (0, 480, 200))), tmp_path / "song.mid")
    slow = song(part(0, (0, 480, 60)))
    slow.tempo_changes = [TempoChange(2.0, 0)]
    with pytest.raises(InputError, match=r"between 3\.58 and 60,000,000 quarters a minute, but at tick 0 it is 2"):
        midi.write(slow, tmp_path / "song.mid")
    assert not list(tmp_path.glob("*.mid"))
