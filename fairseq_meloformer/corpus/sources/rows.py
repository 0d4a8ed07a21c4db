"""What all sources of captions share: the row they write, the account of what they dropped, and files kept whole."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import dumps, write_atomic, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Row = dict[str, Any]

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN_LETTER = re.compile(r"[a-zA-Z]")
_OTHER_LETTER = re.compile(r"[^\W\d_]")
_HAN_FOR_LETTERS = 3
"""A Chinese character says about as much as this many Latin letters."""


EXCERPTS = frozenset({"musiccaps"})
"""Sources whose bars are seconds that were cut out, so that the words hold for the music around them too."""


@dataclass(frozen=True)
class CaptionRow:
    """A text about a song, or about some of its bars.

    Attributes:
        path: the MIDI file, relative to the folder that `meloformer prepare` reads.
        bars: first bar and the bar after the last one, counted from 0; None for the whole song.
        text: the words.
        lang: "zh" or "en".
        source: who says so: "comments", "musiccaps", "midicaps", "measured" or the name of a language model.
        licence: of the text.
        attributes: what was measured in these bars, where that is known.
    """

    path: str
    bars: tuple[int, int] | None
    text: str
    lang: str
    source: str
    licence: str
    attributes: Row | None = None

    @property
    def id(self) -> str:
        """A name that depends on what is said of what, and on nothing else."""
        what = dumps({"path": self.path, "bars": self.bars, "text": self.text})
        return f"{self.source}:{hashlib.sha256(what.encode()).hexdigest()[:20]}"

    def row(self) -> Row:
        """As a line of captions.jsonl."""
        bars = None if self.bars is None else list(self.bars)
        return {
            "id": self.id,
            "path": self.path,
            "bars": bars,
            "text": self.text,
            "lang": self.lang,
            "source": self.source,
            "licence": self.licence,
            "attributes": self.attributes,
        }


@dataclass
class Report:
    """What became of everything that was read: counts only, so that no personal data gets in.

    Attributes:
        read: texts that the source had.
        dropped: how many of them were not used, by reason.
        written: captions by language.
        songs: paths that have a caption now.
        details: further numbers of one source.
    """

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    songs: set[str] = field(default_factory=set)
    details: Row = field(default_factory=dict)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count texts that are not used."""
        if count:
            self.dropped[reason] += count

    def json(self) -> Row:
        """As written beside the captions."""
        return {
            "read": self.read,
            "written": self.written.total(),
            "languages": dict(sorted(self.written.items())),
            "songs": len(self.songs),
            "dropped": dict(self.dropped.most_common()),
            **self.details,
        }

    def table(self) -> str:
        """The same for the eye: a line for each number."""
        lines: list[tuple[str, object]] = [("read", self.read)]
        lines += [(f"dropped: {reason}", count) for reason, count in self.dropped.most_common()]
        lines += [(f"captions: {lang}", count) for lang, count in sorted(self.written.items())]
        lines += [("songs with captions", len(self.songs))]
        lines += [(name.replace("_", " "), value) for name, value in self.details.items()]
        width = max(len(name) for name, _ in lines)
        return "".join(f"{name:<{width}}  {value:>9}\n" for name, value in lines)


def language(text: str) -> str | None:
    """Return "zh" or "en", whichever most of the text is in, or None for another language or no words at all.

    Any Latin script counts as English: exports say nothing about a comment's language, and few are in others.
    """
    han, latin = len(HAN.findall(text)) * _HAN_FOR_LETTERS, len(_LATIN_LETTER.findall(text))
    letters = len(_OTHER_LETTER.findall(text))
    other = letters - len(HAN.findall(text)) - latin
    if not letters or other * 4 > letters:
        return None
    return "zh" if han >= latin else "en"


def refuse_existing(path: Path) -> None:
    """Check that no captions are about to be overwritten.

    Raises:
        InputError: if they are there.
    """
    if path.exists():
        raise InputError(
            f"captions are never overwritten, and there is {path} already: remove it, or give another --output"
        )


def write_captions(path: Path, captions: Iterable[CaptionRow], report: Report, about: Row) -> None:
    """Write `captions.jsonl` atomically, each caption once, and count.

    What is known about them goes into a report beside it, which is written first: where captions are, all is done.
    """
    lines = (f"{dumps(caption.row())}\n".encode() for caption in counted(captions, report))

    def write(file: BinaryIO) -> None:
        file.writelines(lines)
        write_json(path.with_suffix(".report.json"), {**about, **report.json()})

    write_atomic(path, write)


def counted(captions: Iterable[CaptionRow], report: Report) -> Iterable[CaptionRow]:
    """Each caption once, while the report counts them."""
    seen: set[str] = set()
    for caption in captions:
        if caption.id in seen:
            report.drop("said of the same bars already")
            continue
        seen.add(caption.id)
        report.written[caption.lang] += 1
        report.songs.add(caption.path)
        yield caption


def require(row: Row, names: Sequence[str], place: str) -> None:
    """Check that a row has something under every name.

    Raises:
        InputError: if not.
    """
    if missing := [name for name in names if not row.get(name)]:
        raise InputError(
            f"{place}: every row must have {', '.join(names)}; {dumps(row)[:200]} lacks {', '.join(missing)}"
        )
