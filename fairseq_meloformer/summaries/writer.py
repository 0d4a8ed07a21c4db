"""Writing a store in the background, so that the model never waits for the disk."""

from __future__ import annotations

import time
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import locked
from fairseq_meloformer.summaries.store import (
    DTYPES,
    StoreHeader,
    StoreItem,
    SummaryStore,
    shard_paths,
    source_of,
    write_shard,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from torch import Tensor

    from fairseq_meloformer.summaries.store import Metadata


class StoreWriter:
    """Adds one rank's items to one subset of a store.

    Items that any rank has finished are in `done` and need not be computed again. Several ranks may write at the same
    time, as long as their items are disjoint. What was put is on disk when a shard is full, with the first item that
    comes a minute after the shard's first, or when the writer is closed; a kill loses what was put since and nothing
    else.

    Args:
        directory: the store; made if it is not there.
        subset: name of the subset, for example "train".
        header: what makes the summaries.
        rank: number of this process among those that write to the store.
        shard_bytes: a shard is written when its summaries reach this size.
        shard_seconds: or when its first item is this old and another comes.
        source: hash of all that the subset's items are made of, if that is known.

    Raises:
        InputError: if the store was made by another model, vocabulary or version, the subset of another source, or
            another process has this rank.
    """

    def __init__(
        self,
        directory: str | Path,
        subset: str,
        header: StoreHeader,
        rank: int = 0,
        shard_bytes: int = 1 << 25,
        shard_seconds: float = 60.0,
        *,
        source: str = "",
    ) -> None:
        header.claim(Path(directory))
        self._directory = Path(directory) / subset
        self._directory.mkdir(exist_ok=True)
        if source and source_of(self._directory) not in {"", source}:
            raise InputError(
                f"{self._directory} was extracted from other songs or descriptions than are to be extracted now: old "
                "and new must not be mixed, so give another --summary-store or remove this one"
            )
        self._header, self._rank, self._source = header, rank, source
        self._shard_bytes, self._shard_seconds = shard_bytes, shard_seconds
        self._lock = locked(
            self._directory / f".r{rank}.lock",
            f"{self._directory} is being written by another process of rank {rank}; "
            "wait for it, or give each process its own --distributed-rank",
        )
        for leftover in self._directory.glob(f".r{rank}-*.tmp"):
            leftover.unlink()
        self.done = SummaryStore.finished(Path(directory), subset)
        mine = shard_paths(self._directory, rank)
        self._number = int(mine[-1].stem.split("-")[1]) + 1 if mine else 0
        self._failure: BaseException | None = None
        self._queue: Queue[StoreItem | None] = Queue(maxsize=64)
        self._thread = Thread(target=self._write_all, name="store writer", daemon=True)
        self._thread.start()

    def put(self, name: str, summaries: Tensor, metadata: Metadata) -> None:
        """Hand over one item; waits only if the disk is far behind.

        Args:
            name: the item's id.
            summaries: (bars, layers, dim) on any device.
            metadata: what is to be kept with it; anything that JSON can hold.

        Raises:
            ValueError: if the id is in the store already, or the shape is not that of the store's header.
        """
        self._raise_failure()
        if name in self.done:
            raise ValueError(f"item {name!r} is in the store already")
        if summaries.shape[1:] != (self._header.layers, self._header.dim):
            raise ValueError(
                f"summaries of {name!r} must be (bars, {self._header.layers}, {self._header.dim}), "
                f"received {tuple(summaries.shape)}"
            )
        self.done.add(name)
        # A copy of its own: a slice would keep the whole batch in memory.
        kept = summaries.detach().to("cpu", DTYPES[self._header.dtype], copy=True).contiguous()
        self._queue.put(StoreItem(name, kept, metadata))

    def close(self) -> None:
        """Write what is left and wait until it is on disk."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._lock.close()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _write_all(self) -> None:
        shard: list[StoreItem] = []
        size, since = 0, 0.0
        while (item := self._queue.get()) is not None:
            if self._failure is not None:
                continue  # keep taking, so that `put` does not wait for ever; it raises the failure
            since = since if shard else time.monotonic()
            shard.append(item)
            size += item.summaries.nbytes
            if size >= self._shard_bytes or time.monotonic() - since >= self._shard_seconds:
                self._write(shard)
                shard, size = [], 0
        if shard and self._failure is None:
            self._write(shard)

    def _write(self, shard: list[StoreItem]) -> None:
        try:
            write_shard(self._directory / f"r{self._rank}-{self._number:05d}.safetensors", shard, self._source)
        except Exception as error:  # noqa: BLE001  handed to the thread that puts
            self._failure = error
        self._number += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
