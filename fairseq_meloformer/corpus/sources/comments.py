"""Comments on songs as captions: cleaned, matched to MIDI files by title and artist, the most liked first.

Matches that are not certain go to a review file, a table with an empty column `accept`: what somebody marks with "yes"
there is taken for certain by the next run.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fairseq_meloformer.corpus.sources.cleaning import copy_key, fault
from fairseq_meloformer.corpus.sources.exports import Comment, read_comments, read_text
from fairseq_meloformer.corpus.sources.matching import ACCEPT, Match, Matcher
from fairseq_meloformer.corpus.sources.rows import CaptionRow, Report, language
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

SOURCE: Final = "comments"
LICENCE: Final = "unknown (comments of listeners, rights with their authors)"

_COPIES: Final = 3
"""So many comments with the same words are quotations or texts that are passed on, not what somebody heard."""
_COLUMNS: Final = ("accept", "title", "artist", "midi_title", "midi_artist", "path", "confidence", "comments")

Query = tuple[str, str]  # title and artist as the export has them


@dataclass
class Matches:
    """What the titles of an export were matched to.

    Attributes:
        accepted: titles and artists whose songs are known, by themselves or from a review.
        uncertain: those that somebody has to look at.
        comments: how many usable comments each title and artist has.
    """

    accepted: dict[Query, Match] = field(default_factory=dict)
    uncertain: dict[Query, Match] = field(default_factory=dict)
    comments: Counter[Query] = field(default_factory=Counter)


def usable(paths: Sequence[Path], min_likes: int, report: Report) -> list[Comment]:
    """Comments that say something, each once for a title and an artist."""
    said: dict[str, list[Comment]] = defaultdict(list)
    for comment in (comment for path in paths for comment in read_comments(path)):
        report.read += 1
        if reason := _fault(comment, min_likes):
            report.drop(reason)
        else:
            said[copy_key(comment.text)].append(comment)
    kept: list[Comment] = []
    for same in said.values():
        if len(same) >= _COPIES:
            report.drop("copied text", len(same))
            continue
        by_song = {(comment.title, comment.artist): comment for comment in sorted(same, key=lambda one: one.likes)}
        report.drop("said twice", len(same) - len(by_song))
        kept += by_song.values()
    return kept


def _fault(comment: Comment, min_likes: int) -> str | None:
    if not comment.title or not comment.text:
        return "no title or no comment"
    return fault(comment.text, comment.lyrics) or ("too few likes" if comment.likes < min_likes else None)


def match(comments: Iterable[Comment], matcher: Matcher, reviewed: Mapping[Query, Sequence[str]]) -> Matches:
    """Match every title and artist once; `reviewed` are paths that somebody has accepted, by title and artist."""
    matches = Matches()
    for comment in comments:
        matches.comments[(comment.title, comment.artist)] += 1
    for query in matches.comments:
        if query in reviewed:
            songs = matcher.by_path(reviewed[query])
            matches.accepted[query] = Match(songs, 1.0)
        elif found := matcher.match(*query):
            (matches.accepted if found.confidence >= ACCEPT else matches.uncertain)[query] = found
    return matches


def captions(
    comments: Iterable[Comment], matches: Matches, per_song: int, licence: str, report: Report
) -> Iterator[CaptionRow]:
    """Captions of the songs that are known for certain, at most `per_song` each."""
    by_path: dict[str, list[Comment]] = defaultdict(list)
    for comment in comments:
        query = (comment.title, comment.artist)
        if query in matches.uncertain:
            report.drop("song uncertain: see the review file")
        elif query not in matches.accepted:
            report.drop("song not found")
        else:
            for song in matches.accepted[query].songs:
                by_path[song.path].append(comment)
    for path, said in sorted(by_path.items()):
        said.sort(key=lambda comment: -comment.likes)
        report.drop("more than --per-song", max(0, len(said) - per_song))
        for comment in said[:per_song]:
            yield CaptionRow(path, None, comment.text, language(comment.text) or "zh", SOURCE, licence)


def write_review(path: Path, matches: Matches) -> None:
    """Write the uncertain matches as a table that a spreadsheet opens, most comments first."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    for query in sorted(matches.uncertain, key=lambda query: -matches.comments[query]):
        found = matches.uncertain[query]
        for song in found.songs:
            table.writerow(["", *query, song.title, song.artist, song.path, found.confidence, matches.comments[query]])
    # With the mark by which spreadsheets know UTF-8.
    write_atomic(path, lambda file: file.write(text.getvalue().encode("utf-8-sig")))


def read_review(path: Path) -> dict[Query, list[str]]:
    """Paths that somebody has accepted, by title and artist.

    Raises:
        InputError: if the file is no review file.
    """
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if missing := [name for name in ("accept", "title", "artist", "path") if name not in (rows.fieldnames or ())]:
        raise InputError(
            f"{path} must be a review file with the columns {', '.join(_COLUMNS)}; it lacks {', '.join(missing)}"
        )
    accepted: dict[Query, list[str]] = defaultdict(list)
    for row in rows:
        if (row["accept"] or "").strip().casefold() in {"yes", "y", "1", "x", "是", "对"}:
            accepted[(row["title"], row["artist"])].append(row["path"])
    return dict(accepted)
