"""Pieces on disk, without a server."""

import errno
import io
import json
import os
import zipfile

import pytest

from fairseq_meloformer.midi.writing import written
from fairseq_meloformer.render import audio
from fairseq_meloformer.studio import shelf as room
from fairseq_meloformer.studio.shelf import Shelf
from fairseq_meloformer.tokens import remi

SONG = remi.decode(["s-9", "t-35", "o-0", "i-0", "p-60", "d-12", "v-20", "b-1"])


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def test_the_oldest_pieces_go_and_files_of_other_names_stay(shelf, monkeypatch):
    monkeypatch.setattr(room, "MOST_PIECES", 2)
    for name in ("song.mid", "song.json", "lullaby.mid"):
        (shelf.folder / name).write_bytes(b"somebody's")
        os.utime(shelf.folder / name, (1, 1))
    pieces = []
    for age in (3, 2, 1):
        pieces.append(shelf.bring(written(SONG), "")["id"])
        os.utime(shelf.folder / f"{pieces[-1]}.mid", (10 - age, 10 - age))
    kept = {f"{piece}.{kind}" for piece in pieces[1:] for kind in ("mid", "json")}
    assert {path.name for path in shelf.folder.iterdir()} == kept | {"song.mid", "song.json", "lullaby.mid"}


def test_what_cannot_be_kept_whole_leaves_nothing(shelf, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(room, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        shelf.bring(written(SONG), "")
    assert not list(shelf.folder.iterdir())


def test_without_a_soundfont_all_else_can_be_taken_home(shelf, monkeypatch):
    monkeypatch.setattr(audio, "can_render", lambda: True)
    monkeypatch.setattr(audio, "soundfont", lambda: None)
    piece = shelf.bring(written(SONG), "a")["id"]
    names = zipfile.ZipFile(io.BytesIO(shelf.taken(piece, "zip"))).namelist()
    assert names == ["a.mid", "a.musicxml", "a.png", "a.json", "a.html"]


def test_a_recipe_says_what_its_files_are_called(shelf):
    brought = shelf.bring(written(SONG), "song.mid")["id"]
    steps = [{"passage": {"piece": brought, "bars": [1, 1]}}, {"text": "lively"}]
    piece = shelf.put({"text": "lively", "made": steps}, lambda path: path.write_bytes(written(SONG)))["id"]
    assert json.loads(shelf.taken(piece, "json"))["names"] == {brought: "song.mid"}
