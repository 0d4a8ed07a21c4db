import hashlib

import pytest

from fairseq_meloformer.corpus.sources import midicaps
from fairseq_meloformer.corpus.sources.rows import Report
from fairseq_meloformer.errors import InputError


def test_files_are_found_by_path_by_name_and_by_content(tmp_path, write_song, lines):
    folder = tmp_path / "midi"
    named, elsewhere = "0" * 32, "1" * 32
    write_song(folder / "lmd_full" / "0" / f"{named}.mid", 1)
    write_song(folder / "mine" / f"{elsewhere.upper()}.MID", 2)
    write_song(folder / "renamed.mid", 3)
    content = hashlib.md5((folder / "renamed.mid").read_bytes()).hexdigest()  # noqa: S324
    rows = [
        {"location": f"lmd_full/0/{named}.mid", "caption": " A calm piece. ", "genre": ["pop"]},
        {"location": f"lmd_full/1/{elsewhere}.mid", "caption": "By name."},
        {"location": f"lmd_full/{content[0]}/{content}.mid", "caption": "By content."},
        {"location": f"lmd_full/f/{'f' * 32}.mid", "caption": "Absent."},
    ]
    lines(tmp_path / "train.json", rows)
    report = Report()
    found = list(midicaps.captions(tmp_path / "train.json", folder, report))
    assert [(caption.path, caption.text) for caption in found] == [
        (f"lmd_full/0/{named}.mid", "A calm piece."),
        (f"mine/{elsewhere.upper()}.MID", "By name."),
        ("renamed.mid", "By content."),
    ]
    assert {(caption.lang, caption.bars, caption.source) for caption in found} == {("en", None, "midicaps")}
    assert (report.read, report.dropped) == (4, {"no such MIDI file": 1})


def test_rows_of_another_form_are_said(tmp_path, write_song, lines):
    write_song(tmp_path / "midi" / "a.mid")
    lines(tmp_path / "train.json", [{"file": "a.mid", "caption": "x"}])
    with pytest.raises(InputError, match="lacks location"):
        list(midicaps.captions(tmp_path / "train.json", tmp_path / "midi", Report()))
