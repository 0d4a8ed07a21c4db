"""Long jobs that can be killed at any moment: atomic files, append-only logs and a pool that survives its workers.

Preparation, annotation and evaluation go through `run`: one row per finished item in a log, one line per refused item
in a second log, a progress bar, and a restart that takes up where the last run was stopped.
`sole_writer` keeps a second run out of the folder that a first one writes to.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from tqdm import tqdm

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.stamps import Stamp, glance, stamp, unchanged
from fairseq_meloformer.workers import Failure, attempt, in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, KeysView, Mapping
    from types import TracebackType
    from typing import Self

    from fairseq_meloformer.workers import Result

Row = dict[str, Any]
T = TypeVar("T")


@contextlib.contextmanager
def sole_writer(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Keep every other run out of a folder, before any work is done for it; one that is made and stays empty goes.

    Raises:
        InputError: another run writes to it, and we do not want to wait for it.
    """
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    refusal = f"{folder} is being written to by another run: wait for it, stop it, or give another folder"
    with locked(folder / ".lock", None if wait else refusal):
        try:
            yield
        finally:
            (folder / ".lock").unlink(missing_ok=True)
            if made:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def locked(path: Path, refusal: str | None = None) -> BinaryIO:
    """An empty file, made if it is not there, that is locked until it is closed; without a refusal, waits for the lock.

    Raises:
        InputError: with this refusal, if another has the lock.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "wb")
        try:
            _lock(file, refusal)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                return file
        except FileNotFoundError:
            pass  # whoever held it has removed or renamed it meanwhile
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: BinaryIO, refusal: str | None) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX if refusal is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(refusal) from None
    except OSError:
        pass  # some network file systems have no locks


def write_atomic(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it and rename it; a reader sees all of it or nothing.

    The temporary file always has the same name, so that a killed run's is taken over by the next.

    Raises:
        OSError: it cannot be written, say because the disk is full; what was there before is there still.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with locked(draft) as file:
            try:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                draft.replace(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno and error.filename in {None, str(draft)}:
            error.filename = str(path)
        raise
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
    text = _readable(json.dumps(obj, ensure_ascii=False, indent=2)) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


def dumps(row: Row) -> str:
    """One JSON line without its newline; characters are kept as they are, so that Chinese stays readable."""
    return _readable(json.dumps(row, ensure_ascii=False, separators=(",", ":")))


def _readable(text: str) -> str:
    """JSON with escapes for halves of characters, which names of files have that are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


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
    except (ValueError, RecursionError):
        return False


def _parse(line: bytes, path: Path, number: int) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {number}: must be one JSON object per line; {error}") from error
    if not isinstance(row, dict):
        raise InputError(f"{path}, line {number}: must be a JSON object, received {type(row).__name__}")
    return row


class JsonlLog:
    """An append-only JSONL file whose rows are found again by a key after any kind of stop.

    Every append is on disk when it returns. Opening only reads; a line torn by a kill is passed over, and cut off
    before the first append. This, or `claim` before it, takes a lock, so that two runs cannot write to one log.
    """

    def __init__(self, path: str | Path, key: str = "id") -> None:
        self.path = Path(path)
        self._key = key
        self._file: BinaryIO | None = None
        self._offsets: dict[str, int] = {}
        self._stamps: dict[str, Stamp | None] = {}
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
            self._note(row, offset)

    def _note(self, row: Row, offset: int) -> None:
        key = str(row[self._key])
        self._offsets[key] = offset
        self._stamps[key] = row.get("file")

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

    def claim(self) -> BinaryIO:
        """Open the file for writing, so that no other run can, and give it.

        Raises:
            InputError: another run has it, or has written to it since it was read.
        """
        if self._file is None:
            self._file = self._open()
        return self._file

    def append(self, row: Row) -> None:
        """Add a row and flush it to disk.

        Raises:
            InputError: see `claim`.
            ValueError: if a row with this key is there already.
        """
        key = str(row[self._key])
        if key in self._offsets:
            raise ValueError(f"{self.path} has a row with {self._key} {key!r} already")
        file = self.claim()
        line = dumps(row).encode() + b"\n"
        rest = line
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(self.path)
            self.close()  # the next append cuts off what was written
            raise
        self._note(row, self._end)
        self._end += len(line)

    def rewrite(self, changes: Mapping[str, Row | None]) -> None:
        """Put other rows in the place of those with these keys, or none; either all of it is on disk or nothing."""
        if not changes:
            return
        rows = (changes.get(str(row[self._key]), row) for row in self.rows())
        lines = [dumps(row).encode() + b"\n" for row in rows if row is not None]
        self.claim()
        write_atomic(self.path, lambda file: file.writelines(lines))
        self.close()
        self._offsets, self._stamps = {}, {}
        self._load()

    def outdated(self, files: Mapping[str, Path]) -> list[str]:
        """Keys of rows whose file, of those given by key, has another content than when its row was made."""
        return [key for key, path in files.items() if key in self._stamps and not unchanged(path, self._stamps[key])]

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab", buffering=0)  # or closing it would try again what was refused
        try:
            _lock(file, f"{self.path} is being written by another run; wait for it or stop it")
        except InputError:
            file.close()
            raise
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
    source: Callable[[T], Path] | None = None,
) -> Counts:
    """Work through `items`, appending `{"id": key(item), **work(item)}` to `log`; both logs must use the key `id`.

    An item for which `work` raises, whose worker process dies or (with more than one worker) which takes longer than
    `time_limit` seconds costs one line `{"id", "reason"}` in `rejected`. Items in either log are skipped, so that the
    same call after a kill finishes the job. If each item is made from a file, its `source`, what is known of a file
    counts only while its content stays the same. What a dead worker held (`"settled": false`) is tried again. With
    workers > 1 rows arrive in the order in which they are finished, and `work` must be picklable (a module's function
    or a `functools.partial` of one).

    Raises:
        OSError: nothing more can be written, say because the disk is full.
        RuntimeError: if worker processes cannot be started at all.
    """
    items = list(items)
    log.claim()  # before any work is done in vain
    _forget(items, key, log, rejected, source)
    todo, skipped = _unsettled(items, key, log, rejected)
    glances = {} if source is None else {key(item): glance(source(item)) for item in todo}
    done = refused = 0
    results = in_processes(todo, work, workers, time_limit) if workers > 1 else _in_turn(todo, work)
    with (
        log,
        rejected,
        contextlib.closing(results),
        tqdm(results, total=len(todo), desc=title, mininterval=0.5 if sys.stderr.isatty() else 30.0) as bar,
    ):
        for item, result in bar:
            if isinstance(result, OSError):
                raise result
            of: Row = {"id": key(item)}
            if source is not None:
                of["file"] = stamp(source(item), glances[key(item)])
            if isinstance(result, Failure):
                rejected.append({**of, "reason": result.reason, **({} if result.settled else {"settled": False})})
                refused += 1
                bar.set_postfix(rejected=refused, refresh=False)
            else:
                log.append({**of, **result})
                done += 1
    return Counts(done, refused, skipped)


def _forget(
    items: list[T], key: Callable[[T], str], log: JsonlLog, rejected: JsonlLog, source: Callable[[T], Path] | None
) -> None:
    """Drop what is no longer true, and what was never settled."""
    rejected.rewrite({str(row["id"]): None for row in rejected.rows() if row.get("settled") is False})
    if source is not None:
        files = {key(item): source(item) for item in items}
        for each in (log, rejected):
            each.rewrite(dict.fromkeys(each.outdated(files)))


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
