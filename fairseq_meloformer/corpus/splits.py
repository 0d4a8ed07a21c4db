"""Which songs train and which test, so that nothing leaks: one title or one content never lands on both sides."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairseq_meloformer.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class SongKeys:
    """What a song is recognised by.

    Attributes:
        path: its file.
        title: its title, perhaps empty.
        content: hash of its notes.
        given: the split that its metadata demand, perhaps empty.
    """

    path: str
    title: str
    content: str
    given: str = ""


def title_key(title: str) -> str:
    """A title without case, accents' encoding, spaces and punctuation, so that spellings of one title are equal."""
    folded = unicodedata.normalize("NFKC", title).casefold()
    return "".join(character for character in folded if character.isalnum())


def require_shares(valid: float, test: float) -> None:
    """Check the shares of splits.

    Raises:
        InputError: one is negative, or nothing is left for train.
    """
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise InputError(
            "the shares of valid and test must be at least 0 and leave something for train, "
            f"received {valid} and {test}"
        )


def assign(songs: Sequence[SongKeys], valid_share: float, test_share: float) -> dict[str, str]:
    """Split by path. Songs that share a title or their notes stay together.

    A group with a song that is demanded for training trains; else it goes where one is demanded, else where the hash of
    its title (or path) falls, so that neither further songs nor other settings of the tokens move those that are there.
    A demanded share never stays empty as long as more than one group trains.

    Raises:
        InputError: if shares are not in [0, 1), or a demanded split has an unknown name.
    """
    require_shares(valid_share, test_share)
    groups = _groups(songs)
    places = {name: _place(name) for name in groups}
    chosen = {
        name: _demanded(members)
        or ("valid" if places[name] < valid_share else "test" if places[name] < valid_share + test_share else "train")
        for name, members in groups.items()
    }
    free = sorted((name for name, members in groups.items() if not _demanded(members)), key=places.__getitem__)
    for split, share in (("valid", valid_share), ("test", test_share)):
        training = [name for name in free if chosen[name] == "train"]
        if share and split not in chosen.values() and list(chosen.values()).count("train") > 1 and training:
            chosen[training[0]] = split
    return {song.path: chosen[name] for name, members in groups.items() for song in members}


def _groups(songs: Iterable[SongKeys]) -> dict[str, list[SongKeys]]:
    """Songs joined by common titles or contents, by the first title of the group, or its first path if it has none."""
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        while parents.setdefault(key, key) != key:
            parents[key] = key = parents[parents[key]]
        return key

    def keys(song: SongKeys) -> list[str]:
        title = title_key(song.title)
        return sorted([f"content:{song.content}", *([f"title:{title}"] if title else [])])

    songs = list(songs)
    for song in songs:
        first, *others = (root(key) for key in keys(song))
        for other in others:
            parents[max(first, other)] = min(first, other)
    joined: dict[str, list[SongKeys]] = {}
    for song in songs:
        joined.setdefault(root(keys(song)[0]), []).append(song)
    return {_name(members): members for members in joined.values()}


def _name(members: Sequence[SongKeys]) -> str:
    titles = [f"title:{title}" for song in members if (title := title_key(song.title))]
    return min(titles or [f"path:{song.path}" for song in members])


def _demanded(members: Iterable[SongKeys]) -> str:
    demanded = {song.given for song in members if song.given}
    if unknown := demanded - set(SPLITS):
        raise InputError(f"a song's split must be one of {', '.join(SPLITS)}, received {sorted(unknown)}")
    return next((split for split in SPLITS if split in demanded), "")


def _place(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
