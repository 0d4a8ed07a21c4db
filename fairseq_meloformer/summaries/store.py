"""The store of summaries: what every bar of every song looks like to a frozen MuseFormer.

A store is a directory. `store.json` says which model, vocabulary and code made it. Every subset (train, valid, ...) is
a folder of shards `r<rank>-<number>.safetensors`: one tensor (bars, layers, dim) per item, named by the item's id, and
in the file's header one JSON text per item (path, bars, captions, attributes, ...), a hash of what the subset is made
of and a checksum over all of it. A shard appears complete or not at all, so there is no state beside the shards: what
is in them is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import weakref
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fairseq_meloformer import __version__
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import dumps, sole_writer, write_atomic, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMAT = 1
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Metadata = dict[str, Any]

_CHECKSUM = "sha256"
_SOURCE = "source"
_ITEM = "item:"


@dataclass(frozen=True)
class StoreHeader:
    """What made a store; two makers whose headers differ must not write to one store.

    Attributes:
        model_sha256: `extraction.fingerprint` of the frozen model's parameters.
        vocabulary_sha256: `Vocabulary.sha256` of the dictionary its tokens are counted in.
        layers: summaries per bar.
        dim: width of a summary.
        chunking: how songs were cut into bars ("infer", "train" or "bosbar").
        dtype: how summaries are kept: float32, float16 or bfloat16.
        code_version: version of this package.
        format: version of the layout described at the top of this file.
    """

    model_sha256: str
    vocabulary_sha256: str
    layers: int
    dim: int
    chunking: str = "infer"
    dtype: str = "float32"
    code_version: str = __version__
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"summaries are kept as one of {', '.join(DTYPES)}, received {self.dtype!r}")

    @classmethod
    def read(cls, directory: Path) -> StoreHeader:
        """Read `store.json`.

        Raises:
            InputError: if there is none, or it was written by another version of the format.
        """
        path = directory / "store.json"
        if not path.is_file():
            raise InputError(f"{directory} is no store of summaries: {path.name} is missing; make one with extract.sh")
        try:
            fields = json.loads(path.read_text("utf-8"))
            made = fields.get("format")
            if made == FORMAT:
                return cls(**fields)
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} must hold the fields of a store's header: {error}") from error
        raise InputError(f"{path} has format {made!r}; this version reads and writes {FORMAT}: extract the store again")

    def claim(self, directory: Path) -> None:
        """Put this header into `directory`, or check that it is the one that is there.

        Raises:
            InputError: if another maker's header is there.
        """
        with sole_writer(directory, wait=True):  # the other ranks come now, too
            if (directory / "store.json").exists():
                self._require_same(directory)
            else:
                write_json(directory / "store.json", dataclasses.asdict(self))

    def _require_same(self, directory: Path) -> None:
        there, here = (dataclasses.asdict(header) for header in (StoreHeader.read(directory), self))
        if differences := [f"{name} {there[name]!r}, not {here[name]!r}" for name in here if there[name] != here[name]]:
            raise InputError(
                f"the store {directory} was made with {'; '.join(differences)}: summaries of different makers must not"
                " be mixed, so give another --summary-store or remove this one"
            )


@dataclass(frozen=True)
class StoreItem:
    """One item of a store: `summaries` (bars, layers, dim) and the metadata that came with them."""

    id: str
    summaries: Tensor
    metadata: Metadata


def shard_paths(directory: Path, rank: int | None = None) -> list[Path]:
    """Finished shards of a subset's folder, of one rank or of all, by rank and number."""
    found = []
    for path in directory.iterdir():
        match = re.fullmatch(r"r(\d+)-(\d+)\.safetensors", path.name)
        if match and (rank is None or rank == int(match[1])):
            found.append((int(match[1]), int(match[2]), path))
    return [path for _, _, path in sorted(found)]


def write_shard(path: Path, items: Sequence[StoreItem], source: str = "") -> None:
    """Write one shard of a subset that is made of `source`, flushed to disk and then renamed."""
    tensors = {item.id: item.summaries for item in items}
    texts = {_ITEM + item.id: dumps(item.metadata) for item in items} | ({_SOURCE: source} if source else {})
    content = save(tensors, texts | {_CHECKSUM: _checksum(tensors, texts)})
    write_atomic(path, lambda file: file.write(content))


def shard_metadata(path: Path) -> dict[str, str]:
    """Per item id its metadata as JSON text; checks that the file is as long as its header says.

    Raises:
        InputError: if the shard is damaged.
    """
    with _opened(path) as shard:
        texts = shard.metadata() or {}
    # Sorted, because the order of a safetensors header's entries is left to chance.
    return {key.removeprefix(_ITEM): text for key, text in sorted(texts.items()) if key.startswith(_ITEM)}


def source_of(directory: Path) -> str:
    """Hash of what a subset's folder is made of; empty where no shard says it, which earlier versions did not let them.

    Raises:
        InputError: if a shard is damaged.
    """
    for path in shard_paths(directory):
        with _opened(path) as shard:
            if source := (shard.metadata() or {}).get(_SOURCE, ""):
                return str(source)
    return ""


def shard_is_sound(path: Path) -> bool:
    """Whether the shard's content has the checksum that was computed when it was written."""
    try:
        with _opened(path) as shard:
            texts = dict(shard.metadata() or {})
            tensors = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118  not a dict
    except InputError:
        return False
    stored: str | None = texts.pop(_CHECKSUM, None)
    return stored == _checksum(tensors, texts)


@cache
def _check_sum(path: Path, _size: int, _time: int) -> None:
    """Check a shard, once a process and as long as it stays the same file."""
    if not shard_is_sound(path):
        raise InputError(
            f"{path} is damaged (another checksum); remove it and extract again: only its items are redone"
        )


def _opened(path: Path) -> Any:  # noqa: ANN401  safetensors' handle has no public type
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is damaged ({error}); remove it and extract again: only its items are redone"
        ) from error


def _checksum(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for key, text in sorted(texts.items()):
        digest.update(f"{key}\n{text}\n".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class SummaryStore:
    """A store to read from. Nothing is loaded before it is asked for, and then it is mapped, not copied.

    Raises:
        InputError: if the directory is no store, or one of another format.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.header = StoreHeader.read(self.directory)

    @cached_property
    def subsets(self) -> tuple[str, ...]:
        """Names of the subsets that have at least one shard."""
        folders = sorted(path for path in self.directory.iterdir() if path.is_dir())
        return tuple(folder.name for folder in folders if shard_paths(folder))

    def subset(self, name: str) -> Subset:
        """One subset.

        Raises:
            InputError: if the store has no such subset, a shard is damaged or an id comes twice.
        """
        if name not in self.subsets:
            raise InputError(f"the store {self.directory} has the subsets {list(self.subsets)}, not {name!r}")
        return Subset(self.directory / name)

    def items(self, subset: str) -> Iterator[StoreItem]:
        """All items of a subset, one at a time."""
        return iter(self.subset(subset))

    @staticmethod
    def finished(directory: Path, subset: str) -> set[str]:
        """Ids of all items of a subset that are on disk, none while there is no such store."""
        folder = directory / subset
        return {name for path in shard_paths(folder) for name in shard_metadata(path)} if folder.is_dir() else set()


class Subset:
    """A sequence of items with at least one bar, by index or by id."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._shards = shard_paths(directory)
        self._open = lru_cache(maxsize=64)(_opened)
        # Per item its shard, and where its metadata begin and end in a file without a name: memory holds the numbers.
        self._places: dict[str, tuple[int, int, int]] = {}
        self._texts = TemporaryFile(buffering=0)  # noqa: SIM115  closed with this object
        weakref.finalize(self, self._texts.close)
        for number, path in enumerate(self._shards):
            start = self._texts.tell()
            found = {name: text.encode() for name, text in shard_metadata(path).items()}
            for name, text in found.items():
                if name in self._places:
                    other = self._shards[self._places[name][0]]
                    raise InputError(f"item {name!r} is in {other.name} and in {path.name} of {directory}; remove one")
                self._places[name] = (number, start, start + len(text))
                start += len(text)
            self._texts.write(b"".join(found.values()))
        self.ids = [name for name in self._places if self._shape(name)[0]]

    def _shape(self, name: str) -> list[int]:
        shape: list[int] = self._open(self._shards[self._places[name][0]]).get_slice(name).get_shape()
        return shape

    @cached_property
    def bars(self) -> list[int]:
        """Number of bars of each item."""
        return [self._shape(name)[0] for name in self.ids]

    def metadata(self, key: int | str) -> Metadata:
        """An item's metadata without its summaries."""
        name = self.ids[key] if isinstance(key, int) else key
        _, start, end = self._places[name]
        metadata: Metadata = json.loads(os.pread(self._texts.fileno(), end - start, start))
        return metadata

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | str) -> StoreItem:
        name = self.ids[key] if isinstance(key, int) else key
        path = self._shards[self._places[name][0]]
        status = path.stat()
        _check_sum(path, status.st_size, status.st_mtime_ns)
        summaries = self._open(path).get_tensor(name)
        return StoreItem(name, summaries, self.metadata(name))

    def __iter__(self) -> Iterator[StoreItem]:
        return (self[name] for name in self.ids)
