"""Plan training: what is drawn, what learns from it, and what it leaves alone."""

import pytest
import torch
from injection.models import museformer
from torch.nn import functional

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection.plan_training import PlanTraining, own_summaries, spread


def songs(batch, seed):
    """Songs of eight bars, each of one onset, repeated three times; the onsets are random."""
    generator = torch.Generator().manual_seed(seed)
    onsets = torch.randint(6, 38, (batch, 8), generator=generator)
    bars = torch.stack([torch.full_like(onsets, 500), onsets, onsets, onsets, torch.full_like(onsets, 5)], dim=-1)
    return torch.cat([torch.full((batch, 1), 2), bars.flatten(1)], dim=1)


def test_the_first_bar_learns_from_what_it_reads_ahead():
    model, tokens = museformer(), songs(2, seed=0)
    projections = [layer.self_attn.sum_key2_proj.weight for layer in model.layers]
    functional.cross_entropy(model(tokens)[:, :4].flatten(0, 1), tokens[:, 1:5].flatten()).backward()
    assert not any(projection.grad is not None and projection.grad.any() for projection in projections)
    recipe = PlanTraining(single_layer=0.0, dropped=(0.0,), scopes=("plan",))
    with recipe.injected(model, *recipe.plan(model, tokens)):
        functional.cross_entropy(model(tokens)[:, :4].flatten(0, 1), tokens[:, 1:5].flatten()).backward()
    assert all(projection.grad.any() for projection in projections)
    assert model.reading is None


def test_torchs_random_numbers_decide_alone():
    model, tokens = museformer(), songs(2, seed=0)

    def logits(seed):
        torch.manual_seed(seed)
        recipe = PlanTraining()
        with recipe.injected(model, *recipe.plan(model, tokens)), torch.no_grad():
            return model(tokens)

    assert torch.equal(logits(1), logits(1))
    assert len({float(logits(seed).sum()) for seed in range(6)}) > 3


@pytest.mark.parametrize("through", [False, True])
def test_only_on_request_the_loss_trains_the_summaries_that_are_injected(through):
    model, tokens = museformer(), songs(2, seed=0)
    recipe = PlanTraining(single_layer=0.0, dropped=(0.0,), noise=(0.5,), scopes=("plan",), through=through)
    with recipe.injected(model, *recipe.plan(model, tokens)):
        functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    # All summaries that are read are injected ones, so that what begins one is reached through them or not at all.
    reached = model.embed_summary_tokens.weight.grad
    assert (reached is not None and bool(reached.any())) == through
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_summaries_are_taken_without_dropout_and_the_mode_is_kept():
    model = museformer(dropout=0.5).train()
    tokens = songs(2, seed=0)
    plan, mask = own_summaries(model, tokens)
    assert model.training
    again, _ = own_summaries(model, tokens)
    assert torch.equal(plan, again)
    assert mask.all()


def test_noise_is_measured_in_the_summaries_own_deviations():
    plan = torch.randn(3, 40, 2, 5) * 7
    mask = torch.ones(3, 40, dtype=torch.bool)
    mask[1, 20:] = False
    torch.testing.assert_close(spread(plan, mask), plan[mask].std(0))
    assert not spread(plan[:1, :1], mask[:1, :1]).any()


def test_a_batch_without_a_finished_bar_can_be_injected():
    model = museformer()
    tokens = torch.tensor([[2, 500, 6]])
    recipe = PlanTraining()
    for _ in range(8):
        with recipe.injected(model, *recipe.plan(model, tokens)):
            assert model(tokens).isfinite().all()


def test_what_cannot_be_drawn_is_refused_together():
    with pytest.raises(InputError, match=r"probability.*dropped.*entry"):
        PlanTraining(probability=2, dropped=(1.0,), near=())
