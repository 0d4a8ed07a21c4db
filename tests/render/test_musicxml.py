import importlib.util
import shutil

import pytest
from miditoolkit import Instrument, KeySignature, Marker, MidiFile, Note, TempoChange, TimeSignature
from music21 import converter, expressions, key, meter, tempo

from fairseq_meloformer.midi import files
from fairseq_meloformer.render import musicxml

ROLES = {80: "Lead", 25: "Guitar", 0: "Piano", 48: "Strings", 43: "Bass"}


def piece(metre=(4, 4)):
    """Four bars of six instruments, a C major scale each, with a triplet and a held note."""
    midi = MidiFile()
    midi.time_signature_changes = [TimeSignature(*metre, 0)]
    midi.tempo_changes = [TempoChange(102.0, 0)]
    for program, name in ROLES.items():
        one = Instrument(program, is_drum=False, name=name)
        pitches = [60 + step for step in (0, 2, 4, 5, 7, 9, 11, 12)]
        one.notes = [Note(80, pitch, 480 * beat, 480 * beat + 460) for beat, pitch in enumerate(pitches)]
        one.notes += [Note(80, 72, 3840 + 160 * step, 4000 + 160 * step) for step in range(3)]
        one.notes += [Note(80, 48, 4800, 7200)]
        midi.instruments.append(one)
    midi.instruments.append(Instrument(0, is_drum=True, name="Drums"))
    midi.instruments[-1].notes = [Note(100, (36, 38)[beat % 2], 480 * beat, 480 * beat + 60) for beat in range(15)]
    return midi


def opened(midi, tmp_path, title=""):
    musicxml.write(midi, tmp_path / "score.musicxml", title)
    return converter.parse(tmp_path / "score.musicxml")


def test_a_score_opens_with_a_part_for_each_instrument_and_its_bars(tmp_path):
    score = opened(piece(), tmp_path, "暴风雨")
    assert [part.partName for part in score.parts] == [*ROLES.values(), "Drums"]
    assert score.metadata.bestTitle == "暴风雨"
    assert {len(part.getElementsByClass("Measure")) for part in score.parts} == {4}
    for part in score.parts:
        assert {measure.duration.quarterLength for measure in part.getElementsByClass("Measure")} == {4.0}
    lead = score.parts[0].flatten().notes
    assert [note.pitch.midi for note in lead[:8]] == [60, 62, 64, 65, 67, 69, 71, 72]
    assert [float(note.quarterLength) for note in lead[:8]] == [1.0] * 8
    assert [note.duration.tuplets[0].tupletMultiplier() * 3 for note in lead[8:11]] == [2, 2, 2]
    assert [beam.type for note in lead[8:11] for beam in note.beams] == ["start", "continue", "stop"]
    assert [note.tie.type for note in lead[11:13]] == ["start", "stop"]


def test_the_midi_programs_are_kept(tmp_path):
    score = opened(piece(), tmp_path)
    programs = [part.getInstrument().midiProgram for part in score.parts]
    assert programs[:5] == list(ROLES)


@pytest.mark.parametrize("saved", [False, True])
def test_tempi_markers_and_the_key_are_those_of_the_song_and_stand_above_the_first_part(tmp_path, saved):
    midi = piece()
    midi.key_signature_changes = [KeySignature("Eb", 0)]
    midi.markers = [Marker("calm", 0), Marker("storm", 3840)]
    midi.tempo_changes.append(TempoChange(60.0, 3840))
    if saved:
        files.write(midi, tmp_path / "song.mid")
        midi = files.read(tmp_path / "song.mid")
    score = opened(midi, tmp_path)
    first, second = score.parts[:2]
    marks = [(mark.content, mark.activeSite.number) for mark in first[expressions.RehearsalMark]]
    assert marks == [("calm", 1), ("storm", 3)]
    assert [mark.number for mark in first[tempo.MetronomeMark]] == [102, 60]
    assert [signature.sharps for signature in second[key.KeySignature]] == [-3]
    assert not second[expressions.RehearsalMark]


def test_without_a_key_the_measured_one_is_written(tmp_path):
    assert [found.sharps for found in opened(piece(), tmp_path).parts[0][key.KeySignature]] == [0]


@pytest.mark.parametrize("signature", ["C", "Cb", "C#"])
def test_the_lowest_and_highest_notes_are_printed_as_they_are(tmp_path, signature):
    midi = piece()
    midi.key_signature_changes = [KeySignature(signature, 0)]
    pitches = [0, 1, 11, 12, 13, 23, 24, 127]
    midi.instruments[0].notes = [Note(80, pitch, 480 * beat, 480 * beat + 480) for beat, pitch in enumerate(pitches)]
    assert [note.pitch.midi for note in opened(midi, tmp_path).parts[0].flatten().notes] == pitches


def test_characters_that_xml_cannot_have_are_left_out(tmp_path):
    midi = piece()
    midi.instruments[0].name = "\0Le\x1bad"
    midi.markers = [Marker("st\x07orm\ufffe", 0)]
    score = opened(midi, tmp_path, "暴\x0b风雨\ud800 & <so on> 🎵")
    assert score.metadata.bestTitle == "暴风雨 & <so on> 🎵"
    assert score.parts[0].partName == "Lead"
    assert [mark.content for mark in score.parts[0][expressions.RehearsalMark]] == ["storm"]


@pytest.mark.parametrize("metre", [(3, 4), (6, 8)])
def test_other_metres_are_written_as_they_are(tmp_path, metre):
    score = opened(piece(metre), tmp_path)
    assert score.parts[0][meter.TimeSignature].first().ratioString == f"{metre[0]}/{metre[1]}"
    assert {measure.duration.quarterLength for measure in score.parts[2].getElementsByClass("Measure")} == {3.0}


needs_verovio = pytest.mark.skipif(
    not (importlib.util.find_spec("verovio") and importlib.util.find_spec("typst")), reason="verovio is not installed"
)


@needs_verovio
def test_a_score_becomes_a_pdf(tmp_path):
    musicxml.write(piece(), tmp_path / "score.musicxml")
    assert musicxml.engrave(tmp_path / "score.musicxml", tmp_path / "score.pdf", "暴风雨 & #storm")
    assert (tmp_path / "score.pdf").read_bytes()[:5] == b"%PDF-"


@needs_verovio
def test_what_verovio_cannot_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "bad.musicxml").write_text("no score")
    with pytest.raises(musicxml.InputError, match=r"verovio must engrave .*bad\.musicxml, but cannot read it"):
        musicxml.engrave(tmp_path / "bad.musicxml", tmp_path / "bad.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.musicxml"]


def test_without_an_engraver_there_is_a_hint_and_no_pdf(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(musicxml, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    musicxml._hint.cache_clear()
    assert not musicxml.engrave(tmp_path / "score.musicxml", tmp_path / "score.pdf")
    assert not musicxml.engrave(tmp_path / "score.musicxml", tmp_path / "score.pdf")
    assert [record.message for record in caplog.records] == [musicxml.HINT]
    assert not list(tmp_path.iterdir())


def test_musescore_engraves_where_it_is_installed(tmp_path, monkeypatch):
    program = tmp_path / "mscore"
    program.write_text(
        '#!/bin/sh\ncase "$3" in *bad*) echo "cannot read" >&2; exit 1;; esac\nprintf "%%PDF-1" > "$2"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert musicxml.engrave(tmp_path / "score.musicxml", tmp_path / "score.pdf")
    assert (tmp_path / "score.pdf").read_bytes() == b"%PDF-1"
    with pytest.raises(musicxml.InputError, match=r"must engrave .*bad\.musicxml, but says: cannot read"):
        musicxml.engrave(tmp_path / "bad.musicxml", tmp_path / "bad.pdf")
