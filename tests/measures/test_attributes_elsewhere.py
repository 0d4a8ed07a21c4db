"""Attributes against other people's rulers, on real music; needs muspy and music21, and minutes rather than seconds."""

import tarfile

import numpy as np
import pytest

from fairseq_meloformer import midi as midi_files
from fairseq_meloformer.measures.attributes import measure, measure_passage
from fairseq_meloformer.measures.passage import Song


@pytest.fixture(scope="module")
def some_files(shared, tmp_path_factory):
    """12 files of the real music."""
    folder = tmp_path_factory.mktemp("some")
    with tarfile.open(shared / "data" / "midi.tar.gz") as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".mid")]
        chosen = sorted(members, key=lambda member: member.name)[:: len(members) // 12][:12]
        archive.extractall(folder, sorted(chosen, key=lambda member: member.offset), filter="data")
    return [folder / member.name for member in chosen]


def test_agrees_with_muspy_where_the_definitions_agree(some_files):
    muspy = pytest.importorskip("muspy", reason="the cross-check needs muspy")
    for path in some_files:
        theirs, ours = muspy.read_midi(path), measure(midi_files.read(path))
        pitches = [note.pitch for part in theirs.tracks if not part.is_drum for note in part.notes]
        assert ours["register"] == pytest.approx(np.mean(pitches), abs=0.05)
        assert ours["pitch_range"] == muspy.pitch_range(theirs)
        count = sum(len(part.notes) for part in theirs.tracks)
        assert ours["density"] * ours["bars"] == pytest.approx(count, rel=0.005)


def test_agrees_with_music21_on_keys(some_files):
    music21 = pytest.importorskip("music21", reason="the cross-check needs music21")
    for path in some_files:
        passage = Song(midi_files.read(path)).passage(0, 8)
        stream = music21.stream.Stream()
        for pitch, quarters in zip(passage.pitched.pitch, passage.pitched.duration, strict=True):
            stream.insert(0, music21.note.Note(int(pitch), quarterLength=float(quarters)))
        found = measure_passage(passage)
        if "key" not in found:
            continue
        theirs = music21.analysis.discrete.KrumhanslKessler(stream).getSolution(stream)
        tonic = music21.pitch.Pitch(found["key"].split()[0].replace("b", "-")).pitchClass
        assert (theirs.tonic.pitchClass, theirs.mode) == (tonic, found["key"].split()[1])
