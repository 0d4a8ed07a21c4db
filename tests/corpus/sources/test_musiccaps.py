import csv

import pytest
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import midi
from fairseq_meloformer.corpus.sources import musiccaps
from fairseq_meloformer.corpus.sources.rows import Report
from fairseq_meloformer.errors import InputError


def table(path, *rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ytid", "start_s", "end_s", "aspect_list", "caption"])
        writer.writerows(rows)
    return path


def test_captions_find_the_transcriptions_by_id_and_the_bars_by_time(tmp_path, write_song):
    folder = tmp_path / "midi"
    write_song(folder / "-abc_DEF-12.mid", 1, bars=6)  # the clip alone
    write_song(folder / "sub" / "A song [whole000001].mid", 2, bars=40)  # 80 s, in which the clip is
    write_song(folder / "clip0000001_30_40.mid", 3, bars=40)  # a clip by its name
    write_song(folder / "short000001.mid", 4, bars=10)
    (folder / "broken00001.mid").write_bytes(b"no music")
    write_song(folder / "other.mid", 5)
    path = table(
        tmp_path / "captions.csv",
        ["-abc_DEF-12", 30, 40, "['low quality', 'sad', 'slow piano']", "The low quality recording features a piano."],
        ["whole000001", 30, 40, "['noisy']", "A fast melody. The recording is noisy."],
        ["clip0000001", 30, 40, "['calm']", "The audio quality is poor."],
        ["short000001", 30, 40, "[]", "Longer than a clip, shorter than its place."],
        ["broken00001", 30, 40, "[]", "Text."],
        ["absent00001", 30, 40, "[]", "Text."],
    )
    report = Report()
    found = [(caption.path, caption.bars, caption.text) for caption in musiccaps.captions(path, folder, report)]
    assert found == [
        ("-abc_DEF-12.mid", None, "The recording features a piano."),
        ("-abc_DEF-12.mid", None, "sad, slow piano"),
        ("sub/A song [whole000001].mid", (15, 20), "A fast melody."),
        ("clip0000001_30_40.mid", None, "calm"),
    ]
    assert report.read == 6
    assert report.dropped == {
        "no MIDI file with this YouTube id": 1,
        "MIDI file cannot be used": 2,
        "about the recording only": 1,
    }


@pytest.mark.parametrize(
    ("metre", "pickup", "bars"),
    [((2, 4), 0, (15, 20)), ((2, 4), 1, (16, 21)), ((3, 4), 0, (20, 27))],
)
def test_bars_are_counted_as_they_are_prepared(tmp_path, metre, pickup, bars):
    """At 120 qpm, a clip from 30 to 40 s; 3/4 is no metre that is prepared unless it is asked for."""
    song = MidiFile(ticks_per_beat=480)
    song.tempo_changes = [TempoChange(120, 0)]
    song.time_signature_changes = [TimeSignature(1, 4, 0)] * bool(pickup) + [TimeSignature(*metre, 480 * pickup)]
    song.instruments = [Instrument(80, name="melody")]
    song.instruments[0].notes = [Note(80, 60 + beat % 7, 480 * beat, 480 * beat + 480) for beat in range(160)]
    (tmp_path / "midi").mkdir()
    midi.write(song, tmp_path / "midi" / "whole000001.mid")
    path = table(tmp_path / "captions.csv", ["whole000001", 30, 40, "[]", "A fast melody."])
    (caption,) = musiccaps.captions(path, tmp_path / "midi", Report())
    assert caption.bars == bars


def test_the_real_table_is_wording_about_music(shared):
    path = shared / "data" / "musiccaps-public.csv"
    assert len(musiccaps.read(path)) == 5521
    texts = musiccaps.wording(path)
    assert len(texts) > 5400
    assert not [text for text in texts if "low quality recording" in text.lower()]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["a", "x", 2, "[]", "text"], "line 2"),
        (["a", 1, 2, "[unclosed", "text"], "line 2"),
        (["a", 1, 2], "line 2"),
    ],
)
def test_rows_that_are_not_musiccaps_are_said(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        musiccaps.read(table(tmp_path / "captions.csv", row))


def test_another_table_is_said(tmp_path):
    (tmp_path / "captions.csv").write_text("ytid,caption\nx,y\n")
    with pytest.raises(InputError, match="it lacks start_s, end_s, aspect_list"):
        musiccaps.read(tmp_path / "captions.csv")
