"""Weights in fewer bits: close to float32, in the full pass and in decoding alike."""

import pytest
import torch
from golden import tiny
from torch.nn import functional

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection import inject
from fairseq_meloformer.museformer.cache import DecodingCache
from fairseq_meloformer.museformer.precision import Int8Linear, convert

TOKENS = torch.tensor([[2, 530, 15, 74, 143, 5, 530, 20, 74], [2, 540, 5, 530, 5, 530, 5, 530, 5]])


def divergence(logits, other):
    """Mean Kullback-Leibler divergence in nats."""
    first, second = (x.float().log_softmax(-1).flatten(0, -2) for x in (logits, other))
    return float(functional.kl_div(second, first, log_target=True, reduction="batchmean"))


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@torch.no_grad()
def test_fewer_bits_change_little_with_and_without_cache(shared, precision):
    plan = torch.randn(2, 6, 4, 64, generator=torch.Generator().manual_seed(1))
    logits = []
    for name in ("float32", precision):
        model = convert(tiny(shared), name)
        with inject(model, plan, scope="plan"):
            cache = DecodingCache(model, TOKENS[:, :1])
            steps = [cache.step(column) for column in TOKENS.T[1:]]
            logits.append((model(TOKENS)[:, 1:], torch.stack(steps, dim=1)))
    (full, cached), (fewer, fewer_cached) = logits
    torch.testing.assert_close(full, cached, atol=2e-5, rtol=0)
    for changed in (fewer, fewer_cached):
        assert 0 < divergence(full, changed) < 0.05


def test_int8_keeps_the_names_and_values_of_weights(shared):
    plain, quantised = tiny(shared), convert(tiny(shared), "int8")
    assert isinstance(quantised.layers[0].self_attn.sum_out_proj, Int8Linear)
    state = quantised.state_dict()
    assert all(value.equal(state[name]) for name, value in plain.state_dict().items())
    assert len(state) == len(plain.state_dict())


def test_an_unknown_precision_is_refused(shared):
    with pytest.raises(InputError, match="float32, bfloat16, int8"):
        convert(tiny(shared), "int4")
