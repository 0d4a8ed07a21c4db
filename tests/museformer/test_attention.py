"""Attention by bar against a plain formulation: numbers, gradients, dropout, and bfloat16."""

from contextlib import nullcontext

import pytest
import torch
from injection.models import museformer
from operators import calls_of

from benchmarks.by_segment import by_segment
from fairseq_meloformer.injection import inject
from fairseq_meloformer.injection.plan_training import PlanTraining
from fairseq_meloformer.museformer import model as model_module
from fairseq_meloformer.museformer.attention import AttentionByBar, Read
from fairseq_meloformer.museformer.pattern import BarPattern

CPU = torch.device("cpu")


def batch(bars=(14, 0, 9, 1), seed=0):
    """Songs of so many finished bars; every second one ends within a bar, and the second is its beginning alone."""
    generator = torch.Generator().manual_seed(seed)
    songs = []
    for number, count in enumerate(bars):
        song = [2]
        for length in torch.randint(0, 9, (count,), generator=generator).tolist():
            song += [500, *torch.randint(6, 460, (length,), generator=generator).tolist(), 5]
        songs.append(torch.tensor(song + [501, 7, 80] * (number % 2 == 0)))
    return torch.nn.utils.rnn.pad_sequence(songs, batch_first=True, padding_value=1)


def outcome(model, tokens, chunking, injecting=nullcontext):
    """Logits, summaries and all gradients."""
    with torch.no_grad():
        own, mask = model.summaries(tokens, chunking)
    torch.manual_seed(1)
    plan = (own + torch.randn_like(own)).requires_grad_()
    kept = mask & (torch.rand(mask.shape) > 0.2)
    model.zero_grad()
    with injecting(model, plan, mask=kept):
        logits = model(tokens, chunking)
        summaries, _ = model.summaries(tokens, chunking)
    (logits.square().sum() + summaries.square().sum()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"logits": logits.detach(), "summaries": summaries.detach(), "plan": plan.grad, **gradients}


def injecting(**options):
    return lambda model, plan, mask: inject(model, plan, mask=mask, **options)


CASES = {
    "none": lambda *_, **__: nullcontext(),
    "past": injecting(scope="past", strength=0.7),
    "history": injecting(scope="history"),
    "plan": injecting(scope="plan", ahead=2),
    "plan, all ahead": injecting(scope="plan", ahead=1 << 20),
    "plan, nothing near": injecting(scope="plan", near=()),
    "history, bar -1 near": injecting(scope="history", near=(1,)),
    "plan in one layer": injecting(scope="plan", layers=[1]),
}


@pytest.mark.parametrize("chunking", ["infer", "train", "bosbar"])
@pytest.mark.parametrize("case", CASES)
def test_numbers_and_gradients_are_those_of_the_reference(case, chunking, monkeypatch):
    model = museformer(patterns=(BarPattern(), BarPattern(near=((-1, 0), -5), far=((None, -5), (-5, -2))))).double()
    with by_segment():
        expected = outcome(model, batch(), chunking, CASES[case])
    by_bar = outcome(model, batch(), chunking, CASES[case])
    monkeypatch.setattr(model_module, "pads", lambda _: True)
    padded = outcome(model, batch(), chunking, CASES[case])
    assert (by_bar["plan"] is None) == (case == "none")
    for name, value in expected.items():
        for form, found in (("by bar", by_bar), ("padded", padded)):
            where = f"{form}, {name}: "
            torch.testing.assert_close(found[name], value, atol=1e-10, rtol=1e-10, msg=lambda text, at=where: at + text)


def small(dropout):
    """A function of query, key and value in float64: five queries, two summaries and five tokens."""
    reads = [Read(range(2), [1], [range(2)], causal=True), Read(range(2, 5), [], [range(1), range(2, 5)], causal=True)]
    attention = AttentionByBar(reads, 2, CPU)

    def attend(query, key, value):
        torch.manual_seed(0)
        return attention(query, key, value, dropout)

    return attend, [torch.randn(rows, 2, 3, dtype=torch.float64, requires_grad=True) for rows in (5, 7, 7)]


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_gradient_that_is_written_out_is_that_of_the_function(dropout):
    attend, inputs = small(dropout)
    assert torch.autograd.gradcheck(attend, inputs)


def test_dropout_falls_on_attention_in_training_alone():
    model, tokens = museformer(attention_dropout=0.5), batch()
    expected = model(tokens)
    torch.manual_seed(0)
    drawn = torch.stack([model.train()(tokens) for _ in range(2)])
    assert not torch.equal(*drawn)
    assert torch.equal(model.eval()(tokens), expected)
    attend, (query, key, value) = small(0.4)
    plain = small(0.0)[0](query, key, torch.ones_like(value))
    assert plain.allclose(torch.ones_like(plain))
    shares = attend(query, key, torch.ones_like(value))
    assert not shares.allclose(plain)
    assert float(shares.mean().detach()) == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("scope", ["past", "plan"])
def test_bfloat16_by_autocast_is_near_float32(scope):
    model, tokens = museformer(), batch()
    expected = outcome(model, tokens, "infer", injecting(scope=scope))
    with torch.autocast("cpu", torch.bfloat16):
        found = outcome(model, tokens, "infer", injecting(scope=scope))
    for name, value in expected.items():
        assert (found[name].float() - value).norm() < 0.1 * value.norm() + 1e-6, name
    assert found["reg_proj_embeddings.weight"].dtype == torch.float32


@pytest.mark.parametrize("scope", ["past", "history", "plan"])
def test_a_padded_step_asks_for_no_number_and_calls_as_much_whatever_the_songs_are(scope, monkeypatch):
    monkeypatch.setattr(model_module, "pads", lambda _: True)
    model, recipe = museformer(layers=4).train(), PlanTraining(scopes=(scope,), through=True)

    def step(tokens, bars):
        torch.manual_seed(0)
        with recipe.injected(model, *recipe.plan(model, tokens, bars)):
            model(tokens, bars=bars).sum().backward()

    calls = []
    for bars in ((14, 9), (28, 19, 20)):
        tokens = batch(bars)
        step(tokens, max(bars))  # tables of the pattern are made once
        calls.append(calls_of(step, tokens, max(bars)))
    drawn = calls_of(lambda: recipe.injected(model, torch.zeros(1, 1, 4, 32), torch.ones(1, 1, dtype=torch.bool)))
    assert not {"aten::nonzero", "aten::masked_select"} & calls[0].keys()
    assert calls[0]["aten::item"] == drawn["aten::item"]  # what is drawn is drawn on the CPU
    assert calls[0]["aten::scaled_dot_product_attention"] == 4 * 2 + 4 + 3
    assert calls[0].total() == pytest.approx(calls[1].total(), rel=0.01)


@pytest.mark.parametrize("scope", ["past", "history", "plan"])
def test_a_training_step_needs_no_number_of_the_device(scope):
    model = museformer(layers=3, dropout=0.1).train().to("meta")  # which has shapes alone, and mixes with no other
    tokens = torch.zeros(2, 50, dtype=torch.long, device="meta")
    recipe = PlanTraining(noise=(0.5,), scopes=(scope,), through=True)
    plan, mask = recipe.plan(model, tokens, 7)
    with recipe.injected(model, plan, mask):
        logits = model(tokens, bars=7)
    logits.sum().backward()
    assert plan.shape == (2, 7, 3, 32)
    assert model.typed_layers[0].reg_fc1.weight.grad.device.type == "meta"
