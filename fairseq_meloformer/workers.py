"""A process pool in which the death of a worker costs exactly the item it held.

`concurrent.futures` gives up the whole pool when one process dies and cannot tell which item killed it. Here every
process holds one item at a time, so that a segmentation fault, a kill for lack of memory or a hang is blamed on the
right one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections import deque
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from fairseq_meloformer.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from multiprocessing.connection import Connection

T = TypeVar("T")


class Failure(NamedTuple):
    """Why an item has no row, and whether that is settled: what a machine did not get done, it may do another time."""

    reason: str
    settled: bool = True


Result = dict[str, Any] | Failure | OSError
"""An item's row, why there is none, or what no other item would fare better with, such as a full disk."""

_POLL_SECONDS = 0.5
_OF_THE_MACHINE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


def cores() -> int:
    """Cores that this process may use; where the system does not tell (macOS), those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def attempt(work: Callable[[T], dict[str, Any]], item: T) -> Result:
    """Do one item's work; whatever it raises becomes the reason."""
    try:
        return work(item)
    except InputError as error:
        return Failure(str(error))
    except MemoryError:
        return Failure("there was not enough memory", settled=False)
    except Exception as error:  # noqa: BLE001  one bad item costs one line, not the run
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            return error
        return Failure(f"{type(error).__name__}: {error}")


def in_processes(
    items: Sequence[T], work: Callable[[T], dict[str, Any]], workers: int, time_limit: float | None = None
) -> Generator[tuple[T, Result]]:
    """Work through `items` in `workers` processes; results come in the order in which they are finished.

    `work`, the items and the rows must be picklable. An item that takes longer than `time_limit` seconds is given up.

    Raises:
        RuntimeError: if worker processes cannot be started at all.
    """
    queue = deque(items)
    pool: list[_Worker[T]] = []
    try:
        while queue and len(pool) < workers:
            pool.append(_Worker(work, queue.popleft()))
        while pool:
            for worker in _with_news(pool, time_limit):
                result = worker.receive(time_limit)
                if result is None:
                    continue
                item = worker.item
                pool.remove(worker)
                if queue:
                    pool.append(worker.go_on(queue.popleft()))
                else:
                    worker.stop()
                yield item, result
    finally:
        for worker in pool:
            worker.stop()


class _Worker(Generic[T]):
    """One process and the item it is at."""

    def __init__(self, work: Callable[[T], dict[str, Any]], item: T) -> None:
        # Spawned, not forked: no inherited locks, and nobody else holds the pipe, so that its end is noticed.
        context = get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self._work = work
        self._process = context.Process(target=_serve, args=(far_end, work), daemon=True)
        self._process.start()
        far_end.close()
        self._greeted = False
        self._epitaph = ""
        self._hand_over(item)

    def _hand_over(self, item: T) -> None:
        self.item = item
        self._since = time.monotonic()
        # A process that has died meanwhile is noticed by the next `receive`.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(item)

    def overdue(self, time_limit: float | None) -> bool:
        return time_limit is not None and self._greeted and time.monotonic() - self._since > time_limit

    def receive(self, time_limit: float | None) -> Result | None:
        """The item's result; None for the greeting, which says that the process could be started."""
        try:
            if not self.pipe.poll():
                self.stop()
                return Failure(f"took longer than {time_limit} seconds", settled=False)
            message: Result | None = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            epitaph = self.stop()
            if not self._greeted:
                raise RuntimeError(f"worker processes cannot be started: {epitaph}") from None
            return Failure(epitaph, settled=False)
        if message is None:
            self._greeted = True
            self._since = time.monotonic()
        return message

    def go_on(self, item: T) -> _Worker[T]:
        """This worker, or its successor if it has died, with the next item."""
        if self._epitaph:
            return _Worker(self._work, item)
        self._hand_over(item)
        return self

    def stop(self) -> str:
        """End the process if it lives; how it ended, in words. Stopping twice is the same as once."""
        if not self._epitaph:
            self.pipe.close()
            self._process.join(0.2)
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
            code = self._process.exitcode or 0
            self._process.close()
            ending = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            self._epitaph = f"the worker process died ({ending})"
        return self._epitaph


def _with_news(pool: Sequence[_Worker[T]], time_limit: float | None) -> list[_Worker[T]]:
    """Workers that have sent something, have died or are overdue; waits until there is one or for a moment."""
    ready = connection.wait([worker.pipe for worker in pool], timeout=_POLL_SECONDS)
    return [worker for worker in pool if worker.pipe in ready or worker.overdue(time_limit)]


def _serve(pipe: Connection, work: Callable[[T], dict[str, Any]]) -> None:
    """A worker's life: greet, then answer each item, until the parent closes the pipe or is gone."""
    # Ctrl-C reaches the whole group of processes; the parent alone decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(None)
        while True:
            pipe.send(attempt(work, pipe.recv()))
