"""Comments on songs as exports of NetEase and the like have them: JSONL or CSV, columns named in either language."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import read_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_NAMES: Final = {
    "title": ("title", "song", "song_name", "songname", "name", "歌名", "歌曲", "歌曲名", "歌曲名称"),
    "artist": ("artist", "artists", "singer", "ar", "artist_name", "歌手", "艺人", "演唱"),
    "comment": ("comment", "content", "text", "comment_content", "评论", "评论内容", "内容"),
    "likes": ("likes", "likedcount", "liked_count", "like_count", "点赞", "点赞数", "赞"),
    "lyrics": ("lyrics", "lyric", "歌词"),
}
_NEEDED: Final = ("title", "comment")
_UNITS: Final = {"": 1, "k": 1_000, "千": 1_000, "w": 10_000, "万": 10_000, "亿": 100_000_000}
_ENCODINGS: Final = ("utf-8-sig", "gb18030")


@dataclass(frozen=True)
class Comment:
    """A comment as exported: every field may be empty, and so may the lyrics usually be."""

    title: str
    artist: str
    text: str
    likes: int
    lyrics: str


def read_comments(path: Path) -> Iterator[Comment]:
    """Comments of a file, CSV by its name (.csv, .tsv), else JSONL.

    Raises:
        InputError: if the file is missing or cannot be read as such, or none of its rows has a title and a comment.
    """
    rows = _read_table(path) if path.suffix.lower() in {".csv", ".tsv"} else read_jsonl(path)
    columns: dict[str, str] = {}
    names: set[str] = set()
    for row in rows:
        # Rows of JSONL may differ: what one lacks another has.
        if not row.keys() <= names:
            names |= row.keys()
            columns = _columns(names)
        if all(name in columns for name in _NEEDED):
            yield _comment(row, columns)
    if missing := [f"a {name} ({', '.join(_NAMES[name])})" for name in _NEEDED if name not in columns]:
        there = ", ".join(sorted(names)) or "no rows"
        raise InputError(f"{path} must have {' and '.join(missing)} in its rows; it has {there}")


def _columns(names: set[str]) -> dict[str, str]:
    """Which of the names in a file stands for which field: the first in the order of `_NAMES` wins."""
    there = {name.strip().casefold(): name for name in sorted(names)}
    return {
        field: there[alias]
        for field, aliases in _NAMES.items()
        for alias in reversed(aliases)  # later ones are overwritten
        if alias in there
    }


def _comment(row: Mapping[str, Any], columns: Mapping[str, str]) -> Comment:
    value = {field: row.get(columns.get(field, "")) for field in _NAMES}
    words = {field: _words(value[field]) for field in _NAMES}
    return Comment(words["title"], words["artist"], words["comment"], likes(value["likes"]), words["lyrics"])


def _words(value: object) -> str:
    """Text of a field: a string, or a list of strings or of objects with a name, as NetEase gives artists."""
    if isinstance(value, list):
        return "/".join(filter(None, map(_words, value)))
    if isinstance(value, dict):
        return _words(value.get("name"))
    return "" if value is None else str(value).strip()


def likes(value: object) -> int:
    """A number of likes: 12, "1,234", "1.2万", "10w+"; 0 when there is none."""
    found = re.match(r"([\d.,]*\d)\s*([k千w万亿]?)", str(value).strip().casefold())
    try:
        return int(float(found[1].replace(",", "")) * _UNITS[found[2]]) if found else 0
    except ValueError:
        return 0


def _read_table(path: Path) -> Iterator[dict[str, Any]]:
    text = read_text(path)
    first = text.partition("\n")[0]
    separator = max(",\t;", key=first.count)
    try:
        for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            yield {name: value for name, value in row.items() if isinstance(name, str)}
    except csv.Error as error:
        raise InputError(f"{path} must be a table (CSV) with its names in the first line; {error}") from error


def read_text(path: Path, encodings: Sequence[str] = _ENCODINGS) -> str:
    """A text file in UTF-8 or in what Chinese spreadsheets write.

    Raises:
        InputError: if it is missing or in neither.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"a file with captions must be at {path}; {error.strerror}") from error
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError(f"{path} must be a text file in {' or '.join(encodings)}; it is in neither")
