"""What a frozen text encoder gives for a batch of texts, and its cache on disk."""

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from fairseq_meloformer.errors import InputError

logger = logging.getLogger(__name__)
_PATIENCE = 600  # seconds to wait for another process that writes
_SILENT = 30  # seconds without a word on how far the encoding is


class TextStates(NamedTuple):
    """Token states (batch, tokens, dim), mask (batch, tokens) True at tokens, and one pooled vector (batch, dim)."""

    states: Tensor
    mask: Tensor
    pooled: Tensor

    def to(self, device: torch.device | str) -> Self:
        """Return the same on another device."""
        return self._replace(states=self.states.to(device), mask=self.mask.to(device), pooled=self.pooled.to(device))

    def texts(self) -> list["TextStates"]:
        """One unpadded batch of one for each text; tokens may be anywhere in the mask."""
        return [
            TextStates(states[mask][None], mask[mask][None], pooled[None])
            for states, mask, pooled in zip(self.states, self.mask, self.pooled, strict=True)
        ]

    @classmethod
    def pad(cls, texts: Sequence["TextStates"]) -> Self:
        """Join batches of one, with padding after the tokens of the shorter ones."""
        states = torch.nn.utils.rnn.pad_sequence([text.states[0] for text in texts], batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([text.mask[0] for text in texts], batch_first=True)
        return cls(states, mask, torch.cat([text.pooled for text in texts]))


class TextEncoder(Protocol):
    """A frozen text encoder."""

    @property
    def identity(self) -> str:
        """Hash of everything that decides its output: weights, tokenizer, prefix."""

    @property
    def dim(self) -> int:
        """Width of its states."""

    def encode(self, texts: Sequence[str]) -> TextStates:
        """Token states of at least one text, in float32, at least one token each."""


def identity(**facts: str) -> str:
    """Hash of the facts that decide an encoder's output."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def pool(states: Tensor, content: Tensor) -> Tensor:
    """Mean (batch, dim) of the states (batch, tokens, dim) where content (batch, tokens) is True."""
    weights = content.to(states)[..., None]
    return (states * weights).sum(1) / weights.sum(1)


class EmbeddingCache:
    """An encoder that keeps what it has read, in half precision, in one SQLite file that processes may share.

    A key is a hash of the encoder's identity and the text. The first answer is rounded to half precision as well: it is
    the same before and after.

    Args:
        encoder: what encodes the texts that are not in the cache, on its own device.
        directory: of the file; made if it is not there.
        batch: texts to encode at once.
    """

    def __init__(self, encoder: TextEncoder, directory: str | Path, batch: int = 32) -> None:
        self.encoder = encoder
        self.identity = encoder.identity
        self.dim = encoder.dim
        self.path = Path(directory) / "texts.sqlite"
        self._batch = batch

    def encode(self, texts: Sequence[str]) -> TextStates:
        """Token states of texts, in float32 on the CPU; what is not in the cache is encoded and put there."""
        self.fill(texts)
        with self._table() as table:
            return TextStates.pad([self._read(table, text) for text in texts])

    def fill(self, texts: Iterable[str], part: int = 0, parts: int = 1) -> None:
        """Encode the texts that are not in the cache, of like length together.

        Processes that share the work begin at different places (`part` of `parts`) and leave out what they find done.
        """
        with self._table() as table:
            missing = sorted({text for text in texts if not self._has(table, text)}, key=lambda text: (len(text), text))
            batches = [missing[start : start + self._batch] for start in range(0, len(missing), self._batch)]
            first, said = len(batches) * part // parts, time.monotonic()
            for number, batch in enumerate(batches[first:] + batches[:first], start=1):
                if chosen := [text for text in batch if not self._has(table, text)]:
                    encoded = self.encoder.encode(chosen).to("cpu").texts()
                    rows = [(self._key(text), _packed(states)) for text, states in zip(chosen, encoded, strict=True)]
                    with table:
                        table.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", rows)
                if time.monotonic() - said > _SILENT:
                    logger.info("texts: %d of %d batches", number, len(batches))
                    said = time.monotonic()

    @contextmanager
    def _table(self) -> Iterator[sqlite3.Connection]:
        """The file, opened for this call alone, since processes must not inherit it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as table:
                table.execute("CREATE TABLE IF NOT EXISTS texts (key BLOB PRIMARY KEY, states BLOB) WITHOUT ROWID")
                yield table
        except sqlite3.Error as error:
            raise InputError(
                f"{self.path} cannot be used ({error}); if it is damaged, remove it, and it will be made anew"
            ) from error

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.identity}\n{text}".encode()).digest()

    def _has(self, table: sqlite3.Connection, text: str) -> bool:
        return table.execute("SELECT 1 FROM texts WHERE key = ?", (self._key(text),)).fetchone() is not None

    def _read(self, table: sqlite3.Connection, text: str) -> TextStates:
        (content,) = table.execute("SELECT states FROM texts WHERE key = ?", (self._key(text),)).fetchone()
        rows = torch.from_numpy(np.frombuffer(content, np.float16).reshape(-1, self.dim).astype(np.float32))
        return TextStates(rows[None, 1:], torch.ones(1, len(rows) - 1, dtype=torch.bool), rows[:1])


def _packed(text: TextStates) -> bytes:
    """The pooled vector, and then the states of a text, in half precision."""
    return torch.cat([text.pooled, text.states[0]]).half().numpy().tobytes()
