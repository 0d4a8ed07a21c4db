"""Frozen text encoders by specification: ``e5-small``, ``hf:<id or directory>``, ``dummy:<dim>``."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from fairseq_meloformer.encoders import e5
from fairseq_meloformer.encoders.embeddings import TextEncoder, TextStates, identity, pool
from fairseq_meloformer.errors import InputError

# e5's retrieval prefix, and a sentence around the prompt: bare words are read better in one, and one in both languages
# brings Chinese and English closer. It is the same in training and in use, since it is part of the identity.
CARRIER = "query: a piece of music, 一首音乐: "


def load(spec: str, device: torch.device | str = "cpu") -> TextEncoder:
    """Load the encoder that ``spec`` names.

    Raises:
        InputError: the specification is unknown, or its files are missing or unfit.
    """
    kind, _, name = spec.partition(":")
    if spec == "e5-small":
        return E5Encoder(device)
    if kind == "hf" and name:
        # Imported here: transformers takes seconds, which composing with the default encoder need not spend.
        from fairseq_meloformer.encoders.huggingface import HuggingFaceEncoder  # noqa: PLC0415

        return HuggingFaceEncoder(name, device)
    if kind == "dummy" and name.isdecimal() and int(name) > 0:
        return DummyEncoder(int(name), device)
    raise InputError(f"a text encoder must be e5-small, hf:<id or directory> or dummy:<dim>; received {spec!r}")


class E5Encoder:
    """multilingual-e5-small: states of the prompt's own tokens, read in a carrier sentence, and their mean."""

    dim = 384

    def __init__(self, device: torch.device | str = "cpu") -> None:
        packed = e5.PackedFile(e5.find())
        self._tokenizer = e5.E5Tokenizer(packed)
        self._model = e5.E5Small(packed).to(device).eval()
        self._device = device
        self.identity = identity(weights=e5.SHA256, carrier=CARRIER, pooling="mean of the prompt's tokens")

    def encode(self, texts: Sequence[str]) -> TextStates:
        """Token states of texts; an empty text is represented by the carrier."""
        ids, mask, content = (
            tensor.to(self._device) for tensor in self._tokenizer([" ".join(text.split()) for text in texts], CARRIER)
        )
        content = torch.where(content.any(1, keepdim=True), content, mask)
        states = self._model(ids, mask)
        return TextStates(states, content, pool(states, content))


class DummyEncoder:
    """For tests: each word (each character of Chinese) is a fixed random vector. No files, no context."""

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.dim = dim
        self.identity = f"dummy:{dim}"
        self._device = device

    def encode(self, texts: Sequence[str]) -> TextStates:
        """Token states of texts; an empty text is one fixed token."""
        batch = []
        for text in texts:
            words = re.findall(r"[一-鿿]|[^\s一-鿿]+", unicodedata.normalize("NFKC", text).lower()) or [""]
            states = torch.stack([self._vector(word) for word in words])[None]
            batch.append(TextStates(states, torch.ones(states.shape[:2], dtype=torch.bool), states.mean(1)))
        return TextStates.pad(batch).to(self._device)

    def _vector(self, word: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little", signed=True)
        return torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))
