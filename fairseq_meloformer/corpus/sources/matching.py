"""Which song a title and an artist mean, and how sure that is.

Confidence is the likeness of the titles times what the artists add. At or above `ACCEPT` a match is used, at or above
`REVIEW` it is shown to somebody, below it is none.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairseq_meloformer.corpus.sources import titles
from fairseq_meloformer.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fairseq_meloformer.corpus.sources.titles import Title

ACCEPT: Final = 0.85
REVIEW: Final = 0.6

_ONLY_BASE: Final = 0.98  # titles that agree but for a remark such as (Live)
_OTHER_ARTIST: Final = 0.55  # what is left of a perfect title when somebody else sings
_UNKNOWN_ARTIST: Final = 0.8  # ... when one side names nobody, or in another script: for review, never by itself
_SAME_ARTIST: Final = 0.8  # likeness from which two names are taken for one
_CANDIDATES: Final = 12


@dataclass(frozen=True)
class ListedSong:
    """A MIDI file with a title; `artist` may be empty."""

    path: str
    title: str
    artist: str


@dataclass(frozen=True)
class Match:
    """The songs that a query means, and how sure that is (0..1). There are several where one song has several files."""

    songs: tuple[ListedSong, ...]
    confidence: float


class Matcher:
    """Finds songs by title and artist, through differences of script, width, punctuation, brackets and spelling."""

    def __init__(self, songs: Iterable[ListedSong]) -> None:
        self._songs = list(songs)
        self._titles = [titles.title(song.title) for song in self._songs]
        self._artists = [titles.artists(song.artist) for song in self._songs]
        self._named: dict[str, list[int]] = defaultdict(list)
        for index, title in enumerate(self._titles):
            for form in {title.full, title.base} - {""}:
                self._named[form].append(index)

    def match(self, title: str, artist: str) -> Match | None:
        """The best match, or None when nothing reaches `REVIEW`.

        Equally good songs by different artists are a match of none of them: confidence then stays below `ACCEPT`.
        """
        query, names = titles.title(title), titles.artists(artist)
        scored = [
            (_title_likeness(query, self._titles[index]) * _artist_factor(names, self._artists[index]), index)
            for index in self._candidates(query)
        ]
        best = max(scored, default=(0.0, 0))[0]
        if best < REVIEW:
            return None
        found = sorted(index for score, index in scored if score == best)
        if len({(self._titles[index].base, self._artists[index]) for index in found}) > 1:
            best = min(best, _UNKNOWN_ARTIST)
        return Match(tuple(self._songs[index] for index in found), round(best, 3))

    def by_path(self, paths: Iterable[str]) -> tuple[ListedSong, ...]:
        """The songs in these files.

        Raises:
            InputError: if there is no such file among them.
        """
        songs = {song.path: song for song in self._songs}
        if unknown := sorted(set(paths) - songs.keys()):
            raise InputError(f"accepted songs must be in the metadata; these are not: {', '.join(unknown[:5])}")
        return tuple(songs[path] for path in paths)

    def _candidates(self, query: Title) -> set[int]:
        from rapidfuzz import fuzz, process  # noqa: PLC0415  not needed for composing, and not installed with it

        found: set[int] = set()
        for form in {query.full, query.base} - {""}:
            near = process.extract(
                form, self._named.keys(), scorer=fuzz.ratio, limit=_CANDIDATES, score_cutoff=100 * REVIEW
            )
            found.update(index for name, _, _ in near for index in self._named[name])
        return found


def _title_likeness(one: Title, other: Title) -> float:
    if one.full == other.full:
        return 1.0
    full = _likeness(one.full, other.full)
    return max(full, _ONLY_BASE * max(_likeness(a, b) for a in (one.full, one.base) for b in (other.full, other.base)))


def _likeness(one: str, other: str) -> float:
    """Normalised Indel similarity, 0..1."""
    from rapidfuzz import fuzz  # noqa: PLC0415

    return float(fuzz.ratio(one, other)) / 100


def _artist_factor(one: frozenset[str], other: frozenset[str]) -> float:
    """1 when the credits share an artist; less when they cannot be compared; least when they differ."""
    if not one or not other:
        return _UNKNOWN_ARTIST
    best = max(_name_likeness(a, b) for a in one for b in other)
    if best >= _SAME_ARTIST:
        return 0.9 + 0.1 * best
    scripts = {titles.script(name) for name in one}, {titles.script(name) for name in other}
    return _OTHER_ARTIST if scripts[0] & scripts[1] else _UNKNOWN_ARTIST


def _name_likeness(one: str, other: str) -> float:
    """Likeness of two names; one inside the other ("顺子", "顺子shunza") is the same name."""
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) >= 2 and shorter in longer:
        return 1.0
    return _likeness(one, other)


def songs_of(metadata: Iterable[dict[str, Any]], place: str) -> list[ListedSong]:
    """Songs that have a title, from rows with path, title and artist.

    Raises:
        InputError: if there is none.
    """
    songs = [
        ListedSong(str(row["path"]), str(row["title"]), str(row.get("artist") or ""))
        for row in metadata
        if row.get("path") and row.get("title")
    ]
    if not songs:
        raise InputError(f"{place} must have rows with path and title (and artist, without which no match is certain)")
    return songs
