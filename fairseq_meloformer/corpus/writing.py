"""From tokenised songs to a corpus: duplicates dropped, split, described, and written as fairseq reads it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from fairseq_meloformer.corpus.balance import draw, stratum
from fairseq_meloformer.corpus.sources.rows import EXCERPTS, require
from fairseq_meloformer.corpus.splits import SPLITS, SongKeys, assign
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import dumps, read_jsonl, write_atomic
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.measures.tonality import transposed_text
from fairseq_meloformer.words.captions import Captioner

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from fairseq_meloformer.jobs import JsonlLog

Row = dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """What is known about songs besides their notes.

    Attributes:
        metadata: by path: title, artist, licence, split (or museformer_split) where known.
        captions: by path: rows of captions.jsonl.
    """

    metadata: dict[str, Row] = field(default_factory=dict)
    captions: dict[str, list[Row]] = field(default_factory=dict)

    @classmethod
    def read(cls, metadata: Path | None, captions: Sequence[Path]) -> Sources:
        """Read the files.

        Raises:
            InputError: if one is missing or a row lacks what it must have, or has bars that are none.
        """
        sources = cls()
        if metadata is not None:
            for row in read_jsonl(metadata):
                require(row, ("path",), str(metadata))
                sources.metadata[_spelled(row["path"])] = row
        for path in captions:
            for row in read_jsonl(path):
                require(row, ("path", "text", "lang"), str(path))
                _require_bars(row, path)
                sources.captions.setdefault(_spelled(row["path"]), []).append(row)
        return sources

    def of(self, path: str, name: str) -> str:
        """A metadata field of a song, empty when unknown."""
        return str(self.metadata.get(_spelled(path), {}).get(name) or "")

    def known(self, path: str) -> int:
        """How much is said of a song: captions, title and licence."""
        return len(self.captions.get(_spelled(path), ())) + sum(bool(self.of(path, name)) for name in _SAID)

    def about(self, path: str, bars: tuple[int, int]) -> list[Row]:
        """Captions of the song, of bars that this passage lies in, or of an excerpt that lies mostly in it."""
        return [row for row in self.captions.get(_spelled(path), ()) if _is_about(row, *bars)]

    def unused(self, files: Iterable[str], heard: Container[int]) -> dict[str, list[str]]:
        """Paths of rows that came to nothing, by why.

        Args:
            files: paths of all MIDI files.
            heard: ids of the captions (the objects) that passages have.
        """
        known = set(map(_spelled, files))
        captions = [(path, id(row)) for path, rows in self.captions.items() for row in rows]
        return {
            "metadata_without_file": [path for path in self.metadata if path not in known],
            "captions_without_file": [path for path, _ in captions if path not in known],
            "captions_without_passage": [path for path, row in captions if path in known and row not in heard],
        }


_SAID = ("title", "licence")


def _spelled(path: object) -> str:
    """One spelling of a path relative to the folder of MIDI files, however a system writes it."""
    return PurePosixPath(str(path).replace("\\", "/")).as_posix()


def _require_bars(row: Row, path: Path) -> None:
    match row.get("bars") or None:
        case None:
            return
        case [int() | float() as first, int() | float() as end] if 0 <= first < end:
            return
    raise InputError(
        f"{path}: bars must be null, for the whole song, or the first one, from 0, and the one after the last, such as "
        f"[8, 16], received {row['bars']!r} in {dumps(row)[:200]}"
    )


def _is_about(row: Row, first: int, end: int) -> bool:
    begins, ends = row.get("bars") or (first, end)
    if row.get("source") in EXCERPTS:
        return 2 * (min(end, ends) - max(first, begins)) >= ends - begins
    return begins <= first and end <= ends


class Corpus:
    """The songs of a log of tokenised songs, without duplicates, split.

    Attributes:
        heard: ids of the captions of the sources (the objects) that passages have.
        counts: of everything.

    Args:
        log: rows of `prepare.tokenise` by path.
        paths: which of them, in a fixed order.
        sources: what else is known about them.
        valid_share, test_share: see `splits.assign`.
    """

    def __init__(
        self, log: JsonlLog, paths: Sequence[str], sources: Sources, valid_share: float, test_share: float
    ) -> None:
        self._log = log
        self._sources = sources
        songs = [_keys(path, sources, log[path]["content"]) for path in paths]
        kept: dict[str, SongKeys] = {}
        for song in songs:
            # The one of which most is said: what is said of a copy need not be true of it, in another tempo or key.
            if song.content not in kept or sources.known(song.path) > sources.known(kept[song.content].path):
                kept[song.content] = song
        # Copies have a say: what MuseFormer was trained on must train, whichever is kept.
        splits = assign(songs, valid_share, test_share)
        self._splits = {split: [song.path for song in kept.values() if splits[song.path] == split] for split in SPLITS}
        self.heard: set[int] = set()
        self.counts: dict[str, Any] = {"duplicate_songs": len(songs) - len(kept)}

    def write(self, data: Path, describe: int, train_passages: int | None, seed: int) -> dict[str, Any]:
        """Write all splits; counts of everything.

        Args:
            data: folder to write to.
            describe: captions of measured attributes for every passage.
            train_passages: keep only so many passages to train on, rare music as often as common (see `balance`).
            seed: of captions and of that choice.

        Raises:
            InputError: if there is no passage to train on.
        """
        quantiles = self._quantiles(data)
        quantiles.save(data / "quantiles.json")
        captioner = Captioner(quantiles) if describe else None
        chosen = None if train_passages is None else self._balanced(quantiles, train_passages, seed)
        seen: set[str] = set()
        taken: set[str] = set()
        for split, paths in self._splits.items():
            counts = self.counts[split] = Counter(songs=len(paths))
            with tqdm(paths, desc=f"write {split}", mininterval=0.5 if sys.stderr.isatty() else 30.0) as bar:
                items = (item for path in bar for item in self._passages(path, split, seen, counts))
                if chosen is not None and split == "train":
                    items = (item for item in items if item[0]["id"] in chosen)
                placed = ((_placed(item, quantiles), tokens) for item, tokens in items)
                described = (self._described(item, captioner, describe, seed, taken) for item in placed)
                _write_aligned(data / f"{split}.tokens", data / f"{split}.items.jsonl", described, counts)
        return self.counts

    def _quantiles(self, data: Path) -> Quantiles:
        """What counts as fast or high here, from the passages of the training split as they were written."""
        rows = (window["attributes"] for path in self._splits["train"] for window in self._log[path]["windows"])
        first = next(rows, None)
        if first is None:
            raise InputError(f"{data} has no passage to train on: see {data / 'rejected.jsonl'} for what was refused")
        return Quantiles.fit(chain([first], rows))

    def _balanced(self, quantiles: Quantiles, count: int, seed: int) -> set[str]:
        items = (item for path in self._splits["train"] for item, _ in self._passages(path, "train", set(), Counter()))
        return draw(((item["id"], stratum(item["attributes"], quantiles)) for item in items), count, seed)

    def _passages(self, path: str, split: str, seen: set[str], counts: Counter[str]) -> Iterator[tuple[Row, str]]:
        """Descriptions and tokens of a song's passages whose notes no earlier passage has; variations only to train."""
        song = self._log[path]
        for window in song["windows"]:
            if window["content"] in seen:
                counts["duplicate_passages"] += 1
                continue
            seen.add(window["content"])
            first, end = window["bars"]
            said = self._sources.about(path, (first, end))
            self.heard.update(map(id, said))
            item = {
                "id": f"{path}:{first}-{end}",
                "path": path,
                "bars": [first, end],
                "captions": _captions(said, song["transposition"]),
                "attributes": window["attributes"],
                "transposition": song["transposition"],
                "title": self._sources.of(path, "title"),
                "licence": self._sources.of(path, "licence"),
            }
            yield item, window["tokens"]
            for number, variation in enumerate(window["variations"] if split == "train" else (), start=1):
                # What others wrote about the song need not be true of its variations.
                own = {name: variation[name] for name in ("attributes", "augmentation")}
                yield item | {"id": f"{item['id']}+{number}", "captions": []} | own, variation["tokens"]

    @staticmethod
    def _described(
        passage: tuple[Row, str], captioner: Captioner | None, count: int, seed: int, taken: set[str]
    ) -> tuple[Row, str]:
        item, tokens = passage
        # A passage of drums alone may have nothing that a caption could be about.
        if captioner is not None and any(axis in item["attributes"] for axis in AXES):
            written = captioner.captions(item["attributes"], item=f"{seed}/{item['id']}", count=count, taken=taken)
            item["captions"] += [caption.row() for caption in written]
        return item, tokens


def _keys(path: str, sources: Sources, content: str) -> SongKeys:
    given = sources.of(path, "split") or sources.of(path, "museformer_split")
    return SongKeys(path, sources.of(path, "title"), content, given)


def _captions(rows: Iterable[Row], transposition: int) -> list[Row]:
    """Captions as items have them, each text once; keys are named as transposed."""
    found: dict[str, Row] = {}
    for row in rows:
        text = transposed_text(row["text"], transposition)
        found.setdefault(
            text, {name: row.get(name, "") for name in ("text", "lang", "source", "licence")} | {"text": text}
        )
    return list(found.values())


def write_warnings(path: Path, log: JsonlLog, songs: Sequence[str]) -> None:
    """Write what was left out of these songs of a log, a line each: `path`, `what`, `where`."""
    rows = ({"path": song, **part} for song in songs for part in log[song]["left_out"])
    write_atomic(path, lambda file: file.writelines(f"{dumps(row)}\n".encode() for row in rows))


def _placed(item: Row, quantiles: Quantiles) -> Row:
    """An item with the places of its control axes in the corpus, -1..1: what a bridge can be told in numbers."""
    places = quantiles.positions(item["attributes"])
    return item | {"positions": {axis: round(places[axis], 3) for axis in AXES if axis in places}}


def _write_aligned(tokens: Path, items: Path, rows: Iterator[tuple[Row, str]], counts: Counter[str]) -> None:
    """Write token lines and item lines side by side; both files appear when both are whole."""

    def fill(token_file: BinaryIO, item_file: BinaryIO) -> None:
        for item, line in rows:
            token_file.write(f"{line}\n".encode())
            item_file.write(f"{dumps(item)}\n".encode())
            first, end = item["bars"]
            counts.update(passages=1, bars=end - first, tokens=1 + line.count(" "), captions=len(item["captions"]))

    write_atomic(tokens, lambda token_file: write_atomic(items, lambda item_file: fill(token_file, item_file)))
