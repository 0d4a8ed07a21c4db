"""Decoding without a cache gives what the cache gives."""

import pytest
import torch
from golden import tiny
from torch import nn

from fairseq_meloformer.injection import inject
from fairseq_meloformer.museformer.cache import DecodingCache
from fairseq_meloformer.museformer.sampling import Sampling, generate
from fairseq_meloformer.museformer.uncached import UncachedDecoding

PROMPTS = torch.tensor([[2, 530, 15, 74, 143, 5, 530], [2, 540, 5, 1, 1, 1, 1], [2, 1, 1, 1, 1, 1, 1]])


@pytest.mark.parametrize("chunking", ["infer", "bosbar"])
def test_logits_are_those_of_the_cache(shared, chunking):
    model = tiny(shared, torch.float64)
    plan = torch.randn(3, 6, 4, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with inject(model, plan, scope="plan"):
        both = [decoding(model, PROMPTS, chunking) for decoding in (UncachedDecoding, DecodingCache)]
        for tokens in ([20, 530, 530], [5, 5, 30]):
            logits = [decoding.step(torch.tensor(tokens)) for decoding in both]
            torch.testing.assert_close(*logits, atol=1e-7, rtol=0)
        for decoding in both:
            decoding.select([2, 0])
        assert both[0].songs == both[1].songs == [2, 0]
        torch.testing.assert_close(both[0].logits, both[1].logits, atol=1e-7, rtol=0)
        logits = [decoding.step(torch.tensor([5, 5])) for decoding in both]
        torch.testing.assert_close(*logits, atol=1e-7, rtol=0)


class Foreign(nn.Module):
    """A model with fairseq's interface and nothing else of ours."""

    def __init__(self, model):
        super().__init__()
        self._model = model

    def forward(self, tokens):
        assert len(tokens) == 1
        return self._model(tokens), None


def test_songs_of_a_foreign_model_are_the_same(shared):
    model = tiny(shared)
    sampling, prompts = Sampling(max_tokens=12), [[530, 15], []]
    expected = generate(model, prompts, sampling)
    found = generate(Foreign(model), prompts, sampling, chunking="infer")
    assert found == expected
