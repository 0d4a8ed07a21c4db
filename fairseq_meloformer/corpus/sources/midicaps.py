"""MidiCaps (Melechovsky, Roy and Herremans 2024): captions of the Lakh MIDI Dataset, written by a language model.

Rows have `location` (a path in lmd_full, whose name is the MD5 of the file) and `caption`. A file is found by its path,
else by the MD5 in its name, else by the MD5 of its content.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from fairseq_meloformer.corpus.prepare import find
from fairseq_meloformer.corpus.sources.rows import CaptionRow, Report, require
from fairseq_meloformer.jobs import read_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE: Final = "midicaps"
LICENCE: Final = "CC-BY-SA-4.0 (MidiCaps)"

_MD5: Final = re.compile(r"[0-9a-f]{32}")


def captions(path: Path, midi: Path, report: Report) -> Iterator[CaptionRow]:
    """Captions of the files in a folder that MidiCaps describes.

    Raises:
        InputError: if there are no MIDI files, or the captions are not in MidiCaps' form.
    """
    files = find(midi)
    there = set(files)
    by_md5 = {_md5(midi, name): name for name in tqdm(files, desc="look for MIDI files", disable=None)}
    for row in read_jsonl(path):
        report.read += 1
        require(row, ("location", "caption"), str(path))
        location = str(row["location"])
        found = location if location in there else by_md5.get(PurePosixPath(location).stem.lower())
        if found is None:
            report.drop("no such MIDI file")
        else:
            yield CaptionRow(found, None, str(row["caption"]).strip(), "en", SOURCE, LICENCE)


def _md5(folder: Path, name: str) -> str:
    stem = PurePosixPath(name).stem.lower()
    if _MD5.fullmatch(stem):
        return stem
    with (folder / name).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
