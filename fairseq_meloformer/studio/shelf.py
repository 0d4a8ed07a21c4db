"""Pieces of a studio on disk: a MIDI file and what is known of it, under names that nobody guesses."""

import base64
import json
import re
import secrets
import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from fairseq_meloformer import midi
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic, write_json
from fairseq_meloformer.render import audio, musicxml, page, pictures
from fairseq_meloformer.studio.sheets import sheet
from fairseq_meloformer.words.prompts import from_texts

Row = dict[str, Any]
_ID: Final = re.compile(r"[0-9a-f]{32}")
_COLONS: Final = str.maketrans(dict.fromkeys(":：﹕∶", " "))
MOST_PIECES: Final = 2000

KINDS: Final = {
    "mid": "audio/midi",
    "musicxml": "application/vnd.recordare.musicxml+xml",
    "wav": "audio/wav",
    "png": "image/png",
    "json": "application/json",
    "html": "text/html",
    "zip": "application/zip",
}
"""What a piece can be taken home as, and its media type."""


class Shelf:
    """A folder of pieces; the oldest go when there are too many. Files of other names in it are left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, row: Row, save: Callable[[Path], None]) -> Row:
        """Keep a piece: what is known of it, and what writes its MIDI file. Gives what `get` does.

        Raises:
            InputError: the file is none that can be shown.
        """
        name = secrets.token_hex(16)
        path = self.folder / f"{name}.mid"
        save(path)
        try:
            row = {**row, "id": name, **sheet(path.read_bytes(), dict(row.get("stand_ins", [])))}
            write_json(path.with_suffix(".json"), row)
        except BaseException:
            path.unlink()
            raise
        own = [file for file in self.folder.glob("*.mid") if _ID.fullmatch(file.stem)]
        for old in sorted(own, key=lambda file: file.stat().st_mtime)[:-MOST_PIECES]:
            old.unlink(missing_ok=True)
            old.with_suffix(".json").unlink(missing_ok=True)
        return row

    def bring(self, data: bytes, name: str) -> Row:
        """Keep a MIDI file that somebody brought.

        Raises:
            InputError: it is none that can be shown.
        """
        sheet(data)
        title = "".join(character for character in name if character.isprintable())[:80]
        title = title.translate(_COLONS)  # "5-8: storm.mid" is no timeline
        return self.put({"text": title, "made": []}, lambda path: write_atomic(path, lambda file: file.write(data)))

    def path(self, name: str) -> Path:
        """The MIDI file of a piece.

        Raises:
            InputError: there is no such piece.
        """
        path = self.folder / f"{name}.mid"
        if not _ID.fullmatch(name) or not path.is_file():
            raise InputError("there is no such piece here (any more)")
        return path

    def get(self, name: str) -> Row:
        """What is known of a piece: `text`, `made` (what was asked for, step by step), and its sheet."""
        row: Row = json.loads(self.path(name).with_suffix(".json").read_text(encoding="utf-8"))
        return row

    def file_name(self, name: str) -> str:
        """A piece's name for people, without an ending."""
        return from_texts([self.get(name)["text"] or "piece"])[0].id

    def taken(self, name: str, kind: str) -> bytes:
        """A piece in one of `KINDS`.

        Raises:
            InputError: there is no such piece, or it cannot be had so.
        """
        path = self.path(name)
        if kind == "mid":
            return path.read_bytes()
        if kind == "json":
            return (json.dumps(self._recipe(name), ensure_ascii=False, indent=2) + "\n").encode()
        if kind == "zip":
            return self._all(name)
        with tempfile.TemporaryDirectory() as folder:
            out, song, text = Path(folder) / f"piece.{kind}", midi.read(path), self.get(name)["text"]
            if kind == "html":
                page.write(out, song, path.read_bytes(), text, self._told(name))
            elif kind == "png":
                pictures.piano_roll(song, out, title=text)
            elif kind == "musicxml":
                musicxml.write(song, out, text)
            elif not audio.render(song, out):
                raise InputError(audio.HINT)
            return out.read_bytes()

    def _told(self, name: str) -> Row:
        row = self.get(name)
        seed = row["made"][-1].get("seed", 0) if row["made"] else "–"
        return {"understood": row.get("understood", []), "not_kept": row.get("not_honoured", []), "seed": seed}

    def _recipe(self, name: str) -> Row:
        """All that makes the piece again: what was asked for step by step, and the files that this starts from."""
        row = self.get(name)
        needed = {step["plan_from"] for step in row["made"] if "plan_from" in step}
        if not row["made"]:
            needed.add(name)
        elif "passage" in row["made"][0]:
            needed.add(row["made"][0]["passage"]["piece"])
        files = {one: base64.b64encode(self.path(one).read_bytes()).decode() for one in sorted(needed)}
        names = {one: self.get(one)["text"] for one in files}  # what is brought is composed to its name
        return {
            **{key: row[key] for key in ("text", "made", "attributes", "understood", "not_honoured") if key in row},
            "files": files,
            "names": names,
        }

    def _all(self, name: str) -> bytes:
        title, target = self.file_name(name), BytesIO()
        silent = not audio.can_render() or audio.soundfont() is None
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for kind in KINDS:
                if kind != "zip" and not (kind == "wav" and silent):
                    archive.writestr(f"{title}.{kind}", self.taken(name, kind))
        return target.getvalue()
