"""What is asked for, in numbers: how it joins the text, and that a bridge learns from it."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from bridge.small import TEXT_DIM, close, small_bridge, songs

from fairseq_meloformer.bridge.conditioning import AttributeConditioning, withheld
from fairseq_meloformer.bridge.objective import Weights, loss
from fairseq_meloformer.encoders.registry import DummyEncoder
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import ALL_AXES, AXES, MANNERS
from fairseq_meloformer.words.probe import Probe, ProbeConfig


def told(*numbers):
    return torch.tensor(numbers).expand(1, -1) if len(numbers) == len(AXES) else torch.full((1, len(AXES)), *numbers)


def test_a_text_gets_one_more_token_whose_mask_is_set():
    text = DummyEncoder(TEXT_DIM).encode(["a", "a much longer text"])
    complete = AttributeConditioning(TEXT_DIM, len(AXES))(text, torch.zeros(2, len(AXES)))
    assert complete.states.shape == (2, text.states.shape[1] + 1, TEXT_DIM)
    assert complete.mask[:, 0].all()
    assert torch.equal(complete.states[:, 1:], text.states)
    assert torch.equal(complete.mask[:, 1:], text.mask)


def test_not_asked_is_not_the_same_as_asked_for_the_middle():
    text = DummyEncoder(TEXT_DIM).encode(["a"])
    asked = AttributeConditioning(TEXT_DIM, len(AXES))
    assert not torch.allclose(asked(text, told(0.0)).pooled, asked(text, told(torch.nan)).pooled)


def test_every_share_of_the_values_is_withheld_and_by_the_seed_alone():
    values = torch.rand(400, len(AXES))
    kept = withheld(values, range(400))
    assert torch.equal(kept.nan_to_num(-1), withheld(values, range(400)).nan_to_num(-1))
    assert torch.equal(kept[7:8].nan_to_num(-1), withheld(values[7:8], [7]).nan_to_num(-1))
    counts = kept.isfinite().sum(1)
    assert set(counts.tolist()) == set(range(len(AXES) + 1))
    assert abs(kept.isfinite().float().mean() - 0.5) < 0.05
    assert torch.equal(kept[kept.isfinite()], values[kept.isfinite()])


def test_a_bridge_learns_what_only_the_numbers_say():
    bridge = small_bridge(attributes=True, components=0).train()
    batch = songs(bridge, ["the same"] * 8, [2] * 8)
    values = torch.full((8, len(AXES)), torch.nan)
    values[:, 0] = torch.tensor([1.0, -1.0] * 4)
    batch = dataclasses.replace(batch, summaries=values[:, 0, None, None, None].expand_as(batch.summaries))
    optimiser = torch.optim.Adam(bridge.parameters(), 0.02)

    for step in range(60):
        now = dataclasses.replace(batch, seeds=range(8 * step, 8 * step + 8), attributes=values)
        optimiser.zero_grad()
        loss(bridge, now, Weights(text_dropout=0)).total.backward()
        optimiser.step()
    mask = torch.ones(8, 2, dtype=torch.bool)
    with torch.no_grad():
        ends, _ = bridge.ends(bridge.told(batch.text, values), mask)
        silent, _ = bridge.ends(bridge.told(batch.text, torch.full_like(values, torch.nan)), mask)
    assert (ends * values[:, 0, None, None] > 0.5).all()
    assert silent.abs().mean() < 0.3


def test_a_bridge_that_is_told_nothing_says_so():
    bridge = small_bridge(attributes=True)
    with pytest.raises(InputError, match="received none"):
        loss(bridge, songs(bridge, ["a"], [2]), Weights())


def plan_for(bridge, value, monkeypatch):
    """The plan of a text in which every axis is read as this value."""
    reader = SimpleNamespace(read=lambda texts: torch.full((len(texts), len(AXES)), value))
    monkeypatch.setitem(bridge.__dict__, "reader", reader)
    return bridge.plan(["night"], 3)[0]


def test_composing_reads_the_numbers_in_the_prompt(monkeypatch):
    bridge = small_bridge(attributes=True, stirred=True)
    plans = [plan_for(bridge, value, monkeypatch) for value in (0.8, -0.8, 0.05, -0.05)]
    assert not torch.allclose(plans[0], plans[1])
    close(plans[2], plans[3])  # both are silence


@pytest.mark.parametrize("value", [0.25, -0.25])
def test_a_faint_reading_is_told_as_more_than_a_little(value, monkeypatch):
    bridge = small_bridge(attributes=True, stirred=True)
    plan_for(bridge, value, monkeypatch)  # whose reader stays
    expected = bridge.told(bridge.encoder.encode(["night"]), told(2 * value))
    close(bridge.read(["night"]).states, expected.states)


def test_a_bridge_reads_with_the_probe_that_it_is_given_which_is_no_part_of_its_weights():
    bridge = small_bridge(attributes=True, stirred=True)
    weights = set(bridge.state_dict())
    probe = Probe(ProbeConfig(encoder="dummy:12", text_dim=12), DummyEncoder(12))
    bridge.read_with(probe)
    assert bridge.reader is probe
    assert set(bridge.state_dict()) == weights


def test_a_bridge_may_be_told_how_music_moves_too():
    few, many = (small_bridge(attributes=True, stirred=True, axes=axes) for axes in (len(AXES), len(ALL_AXES)))
    silent = SimpleNamespace(read=lambda texts: torch.zeros(len(texts), len(AXES)))
    for bridge in (few, many):
        vars(bridge)["reader"] = silent
    swung = torch.full((1, len(ALL_AXES)), torch.nan)
    swung[:, ALL_AXES.index("swing")] = 0.8**0.5
    text = many.encoder.encode(["swung eighths"])
    close(many.read(["swung eighths"]).states, many.told(text, swung).states)
    close(few.read(["swung eighths"]).states, few.told(text, torch.full_like(swung, torch.nan)).states)
    assert not torch.allclose(many.told(text, swung).states, many.told(text, torch.full_like(swung, torch.nan)).states)


def test_axes_that_there_are_not_are_refused():
    with pytest.raises(InputError, match=f"axes must be 1 to {len(AXES) + len(MANNERS)}, received 15"):
        small_bridge(attributes=True, axes=15)
