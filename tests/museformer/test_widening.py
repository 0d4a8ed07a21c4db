"""A wider MuseFormer that begins as a narrower one."""

import pytest
import torch
from injection.models import museformer

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection import inject
from fairseq_meloformer.museformer.widening import widened

SONG = [[2, 500, 6, 70, 80, 340, 470, 5, 500, 6, 71, 82, 341, 471, 5, 500, 5]]


@pytest.mark.parametrize("times", [2, 3])
def test_it_computes_the_same(times):
    narrow, tokens = museformer().double(), torch.tensor(SONG)
    for name, parameter in narrow.named_parameters():  # fresh biases and norms are all alike
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.2)
    wide = widened(narrow, times).double()
    assert wide.config.dim == times * narrow.config.dim
    assert wide.config.heads == times * narrow.config.heads
    torch.testing.assert_close(wide(tokens), narrow(tokens), rtol=1e-6, atol=1e-6)
    (of_wide, _), (of_narrow, _) = wide.summaries(tokens), narrow.summaries(tokens)
    torch.testing.assert_close(of_wide, of_narrow.repeat(1, 1, 1, times), rtol=1e-6, atol=1e-6)
    with inject(wide, of_wide.flip(1), scope="plan"), inject(narrow, of_narrow.flip(1), scope="plan"):
        torch.testing.assert_close(wide(tokens), narrow(tokens), rtol=1e-6, atol=1e-6)


def test_copies_part_ways_in_training():
    wide = widened(museformer(), 2).train()
    wide(torch.tensor(SONG)).logsumexp(-1).square().sum().backward()
    for projection in (wide.layers[0].reg_fc1, wide.layers[0].self_attn.reg_value_proj):
        one, two = projection.weight.grad.chunk(2)
        assert (one - two).abs().max() > 0.01 * one.abs().max()


@pytest.mark.parametrize("times", [1, 0, 17])
def test_a_number_of_times_that_makes_no_wider_model_is_refused(times):
    with pytest.raises(InputError, match=f"2 to 16 times, received {times}"):
        widened(museformer(), times)
