"""What a frozen text encoder gives for a batch of texts, and its cache on disk."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic


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
    """An encoder that keeps what it has read, in half precision, one file per text.

    A file's name is a hash of the encoder's identity and the text, and it appears whole or not at all, so that any
    number of processes may share the directory. The first answer is rounded to half precision as well: it is the same
    before and after.
    """

    def __init__(self, encoder: TextEncoder, directory: str | Path, batch: int = 32) -> None:
        self.encoder = encoder
        self.identity = encoder.identity
        self.dim = encoder.dim
        self._directory = Path(directory)
        self._batch = batch

    def encode(self, texts: Sequence[str]) -> TextStates:
        """Token states of texts, in float32 on the CPU; what is not in the cache is encoded and put there."""
        self.fill(texts)
        return TextStates.pad([self._read(self._path(text)) for text in texts])

    def fill(self, texts: Sequence[str], part: int = 0, parts: int = 1) -> None:
        """Encode the texts that are not in the cache, of like length together.

        Processes that share the work begin at different places (`part` of `parts`) and leave out what they find done.
        """
        missing = sorted({text for text in texts if not self._path(text).is_file()}, key=lambda text: (len(text), text))
        batches = [missing[start : start + self._batch] for start in range(0, len(missing), self._batch)]
        first = len(batches) * part // parts
        for batch in batches[first:] + batches[:first]:
            chosen = [text for text in batch if not self._path(text).is_file()]
            if chosen:
                for text, encoded in zip(chosen, self.encoder.encode(chosen).to("cpu").texts(), strict=True):
                    self._write(self._path(text), encoded)

    def _path(self, text: str) -> Path:
        key = hashlib.sha256(f"{self.identity}\n{text}".encode()).hexdigest()
        return self._directory / key[:2] / f"{key}.safetensors"

    def _write(self, path: Path, encoded: TextStates) -> None:
        content = save({"states": encoded.states[0].half(), "pooled": encoded.pooled[0].half()})
        write_atomic(path, lambda file: file.write(content))

    def _read(self, path: Path) -> TextStates:
        try:
            kept = load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path} is damaged ({error}); remove it, and it will be made anew") from error
        states = kept["states"].float()[None]
        return TextStates(states, torch.ones(states.shape[:2], dtype=torch.bool), kept["pooled"].float()[None])
