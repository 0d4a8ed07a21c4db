"""Long jobs that can be killed at any moment: atomic files, append-only logs and a pool that survives its workers.

Preparation, extraction, annotation and evaluation all go through `run`: one row per finished item in a log, one line
per refused item in a second log, a progress bar, and a restart that takes up where the last run was stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from tqdm import tqdm

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.workers import attempt, in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, KeysView
    from types import TracebackType
    from typing import Self

    from fairseq_meloformer.workers import Result

Row = dict[str, Any]
T = TypeVar("T")


def write_atomic(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it and rename it; a reader sees all of it or nothing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the renames and new names in `directory` survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented UTF-8 JSON, atomically."""
    text = json.dumps(obj, ensure_ascii=False, indent=2) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dumps(row: Row) -> str:
    """One JSON line without its newline; characters are kept as they are, so that Chinese stays readable."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def read_jsonl(path: str | Path) -> Iterator[Row]:
    """Rows of a JSONL file; blank lines and a last line torn by a kill are passed over.

    Raises:
        InputError: if the file is missing or another line is not a JSON object.
    """
    for _, row in _read_with_offsets(Path(path)):
        yield row


def _read_with_offsets(path: Path) -> Iterator[tuple[int, Row]]:
    if not path.is_file():
        raise InputError(f"a JSONL file must be at {path}; there is none")
    with path.open("rb") as file:
        offset = 0
        for number, line in enumerate(file, start=1):
            if line.strip() and (line.endswith(b"\n") or _is_row(line)):
                yield offset, _parse(line, path, number)
            offset += len(line)


def _is_row(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _parse(line: bytes, path: Path, number: int) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}, line {number}: must be one JSON object per line; {error}") from error
    if not isinstance(row, dict):
        raise InputError(f"{path}, line {number}: must be a JSON object, received {type(row).__name__}")
    return row


class JsonlLog:
    """An append-only JSONL file whose rows are found again by a key after any kind of stop.

    Every append is on disk when it returns. Opening only reads; a line torn by a kill is passed over, and cut off
    before the first append, which also takes a lock, so that two runs cannot write to one log.
    """

    def __init__(self, path: str | Path, key: str = "id") -> None:
        self.path = Path(path)
        self._key = key
        self._file: BinaryIO | None = None
        self._offsets: dict[str, int] = {}
        self._end = 0
        if self.path.exists():
            self._load()

    def _load(self) -> None:
        self._end = _whole_lines(self.path)
        for offset, row in _read_with_offsets(self.path):
            if offset >= self._end:
                break
            if self._key not in row:
                raise InputError(f"{self.path}, byte {offset}: every row must have {self._key!r}; it has {sorted(row)}")
            self._offsets[str(row[self._key])] = offset

    @property
    def done(self) -> KeysView[str]:
        """Keys of all rows, to be used like a set."""
        return self._offsets.keys()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, key: str) -> Row:
        """The row with this key, read from disk."""
        with self.path.open("rb") as file:
            file.seek(self._offsets[key])
            row: Row = json.loads(file.readline())
            return row

    def rows(self) -> Iterator[Row]:
        """All rows in the order in which they were appended."""
        if self._end:
            yield from (row for offset, row in _read_with_offsets(self.path) if offset < self._end)

    def append(self, row: Row) -> None:
        """Add a row and flush it to disk.

        Raises:
            ValueError: if a row with this key is there already.
        """
        key = str(row[self._key])
        if key in self._offsets:
            raise ValueError(f"{self.path} has a row with {self._key} {key!r} already")
        if self._file is None:
            self._file = self._open()
        line = dumps(row).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._offsets[key] = self._end
        self._end += len(line)

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise InputError(f"{self.path} is being written by another run; wait for it or stop it") from error
        if _whole_lines(self.path) != self._end:
            file.close()
            raise InputError(f"{self.path} has grown since it was read: another run has written to it; start again")
        file.truncate(self._end)
        file.seek(self._end)
        return file

    def close(self) -> None:
        """Release the file; a later append opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _whole_lines(path: Path) -> int:
    """Bytes up to and including the last newline."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


@dataclass(frozen=True)
class Counts:
    """What a run did: items finished and refused now, and items that an earlier run had settled."""

    done: int
    rejected: int
    skipped: int


def run(
    title: str,
    items: Iterable[T],
    work: Callable[[T], Row],
    *,
    key: Callable[[T], str],
    log: JsonlLog,
    rejected: JsonlLog,
    workers: int,
    time_limit: float | None = None,
) -> Counts:
    """Work through `items`, appending `{"id": key(item), **work(item)}` to `log`; both logs must use the key `id`.

    An item for which `work` raises, whose worker process dies or (with more than one worker) which takes longer than
    `time_limit` seconds costs one line `{"id", "reason"}` in `rejected`. Items in either log are skipped, so that the
    same call after a kill finishes the job. With workers > 1 rows arrive in the order in which they are finished, and
    `work` must be picklable (a module's function or a `functools.partial` of one).

    Raises:
        RuntimeError: if worker processes cannot be started at all.
    """
    todo, skipped = _unsettled(items, key, log, rejected)
    done = refused = 0
    results = in_processes(todo, work, workers, time_limit) if workers > 1 else _in_turn(todo, work)
    with (
        log,
        rejected,
        contextlib.closing(results),
        tqdm(results, total=len(todo), desc=title, mininterval=0.5 if sys.stderr.isatty() else 30.0) as bar,
    ):
        for item, (row, reason) in bar:
            if row is None:
                rejected.append({"id": key(item), "reason": reason})
                refused += 1
                bar.set_postfix(rejected=refused, refresh=False)
            else:
                log.append({"id": key(item), **row})
                done += 1
    return Counts(done, refused, skipped)


def _unsettled(items: Iterable[T], key: Callable[[T], str], *logs: JsonlLog) -> tuple[list[T], int]:
    """Items that no log knows, each key once, and the number of the others."""
    todo: dict[str, T] = {}
    skipped = 0
    for item in items:
        name = key(item)
        if name in todo or any(name in log.done for log in logs):
            skipped += 1
        else:
            todo[name] = item
    return list(todo.values()), skipped


def _in_turn(items: list[T], work: Callable[[T], Row]) -> Generator[tuple[T, Result]]:
    for item in items:
        yield item, attempt(work, item)
