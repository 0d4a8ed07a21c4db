"""The cache of embeddings on disk."""

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fairseq_meloformer.encoders.embeddings import EmbeddingCache, TextStates
from fairseq_meloformer.encoders.registry import DummyEncoder
from fairseq_meloformer.errors import InputError

TEXTS = ["a storm over the sea", "暴风雨 来了", "quiet piano", "流星雨 的 夜晚, with fast drums and bass"]


class Counting:
    """An encoder that remembers what it was asked."""

    def __init__(self, identity: str = "counting") -> None:
        self.inner = DummyEncoder(8)
        self.identity, self.dim = identity, 8
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> TextStates:
        self.asked += texts
        return self.inner.encode(texts)


def test_the_cache_asks_once_and_answers_alike(tmp_path: Path) -> None:
    encoder = Counting()
    cache = EmbeddingCache(encoder, tmp_path, batch=2)
    first = cache.encode([*TEXTS, TEXTS[0]])
    assert sorted(encoder.asked) == sorted(TEXTS)
    again = EmbeddingCache(encoder, tmp_path).encode([*TEXTS, TEXTS[0]])
    assert len(encoder.asked) == len(TEXTS)
    for old, new, exact in zip(first, again, encoder.inner.encode([*TEXTS, TEXTS[0]]), strict=True):
        assert torch.equal(old, new)
        torch.testing.assert_close(new, exact, rtol=1e-3, atol=1e-3)

    other = Counting("another")
    EmbeddingCache(other, tmp_path).encode(TEXTS)
    assert len(other.asked) == len(TEXTS)


def test_processes_that_share_the_work_begin_apart_and_leave_out_what_is_done(tmp_path: Path) -> None:
    texts = sorted((f"{index}" * (index + 1) for index in range(8)), key=len)
    second = Counting()
    EmbeddingCache(second, tmp_path, batch=2).fill(texts[:6], part=1, parts=3)
    assert second.asked == texts[2:6] + texts[:2]
    EmbeddingCache(second, tmp_path, batch=2).fill(texts)
    assert second.asked[6:] == texts[6:]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    cache = EmbeddingCache(Counting(), tmp_path)
    cache.fill(["storm"])
    cache.path.write_bytes(cache.path.read_bytes()[:20])
    with pytest.raises(InputError, match=f"{cache.path} cannot be used .* remove it"):
        cache.encode(["storm"])


def _fill(directory: Path) -> None:
    EmbeddingCache(DummyEncoder(8), directory, batch=1).fill([f"text {index}" for index in range(40)])


def test_processes_share_a_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fairseq_meloformer.encoders.embeddings"])
    workers = [context.Process(target=_fill, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    encoder = Counting(DummyEncoder(8).identity)
    EmbeddingCache(encoder, tmp_path).encode([f"text {index}" for index in range(40)])
    assert encoder.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["texts.sqlite"]


def test_padding_joins_texts() -> None:
    def text(tokens: int) -> TextStates:
        states = torch.randn(1, tokens, 3)
        return TextStates(states, torch.ones(1, tokens, dtype=torch.bool), states.mean(1))

    parts = [text(2), text(5)]
    joined = TextStates.pad(parts)
    assert joined.mask.sum(1).tolist() == [2, 5]

    def same(left: Tensor, right: Tensor) -> None:
        torch.testing.assert_close(left, right)

    for part, whole in zip(parts, joined.texts(), strict=True):
        for left, right in zip(part, whole, strict=True):
            same(left, right)
