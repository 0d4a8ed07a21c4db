"""Injection does what the golden files say, in any scope and at any strength, and leaves nothing behind."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from threading import Barrier

import pytest
import torch
from golden import case, tiny
from torch import nn

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection import inject
from fairseq_meloformer.museformer.cache import DecodingCache

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-6}
VARIANTS = {
    "none": None,
    "replace_all": {},
    "zero_all": {},
    "replace_layers_1_3": {"layers": [1, 3]},
    "replace_bars_0_2": {"bars": [0, 1, 2]},
}


@pytest.fixture(scope="module")
def model(shared):
    return tiny(shared, torch.float64).requires_grad_(requires_grad=False)


def song_and_plan(shared, name, dtype=torch.float64):
    golden = case(shared, f"tiny4_inject_{name}")
    return golden, golden["tokens"][None].long(), golden["injected"].transpose(0, 1)[None].to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["s3end", "s12mid"])
def test_logits_equal_upstream_under_the_same_hooks(shared, name, variant, dtype):
    golden, tokens, plan = song_and_plan(shared, name, dtype)
    model = tiny(shared, dtype).requires_grad_(requires_grad=False)
    # The reference run of s12mid still had the hooks of the s3end run in place, with bars 0..3 of that run's vectors:
    # its `none` differs from the plain golden logits of that song from bar 3 on, and equals them under this injection.
    _, _, leftover = song_and_plan(shared, "s3end", dtype)
    stale = inject(model, leftover[:, :4]) if name == "s12mid" else nullcontext()
    options = VARIANTS[variant]
    plan = torch.zeros_like(plan) if variant == "zero_all" else plan
    with stale, inject(model, plan, **options) if options is not None else nullcontext():
        logits = model(tokens)[0, golden["logit_rows"].long()]
    torch.testing.assert_close(logits, golden[variant].to(dtype), atol=TOLERANCE[dtype], rtol=0)


def test_own_summaries_change_nothing_bit_for_bit(shared):
    model = tiny(shared)
    tokens = case(shared, "tiny4_infer_s40end")["tokens"][None].long()
    with torch.no_grad():
        plain = model(tokens)
        summaries, mask = model.summaries(tokens)
        for strength in (1.0, 0.3):
            with inject(model, summaries, strength=strength, mask=mask):
                assert torch.equal(model(tokens), plain)


def test_strength_nought_and_no_layers_change_nothing(shared, model):
    _, tokens, plan = song_and_plan(shared, "s12mid")
    plain = model(tokens)
    for options in ({"strength": 0.0}, {"layers": []}, {"bars": []}):
        with inject(model, plan, **options):
            assert torch.equal(model(tokens), plain)


def test_scopes_reach_from_where_the_design_says(shared, model):
    golden, tokens, plan = song_and_plan(shared, "s12mid")
    bar_3 = golden["chunk_points"][3]
    plain = model(tokens)[0]

    def first_change(scope):
        with inject(model, plan, scope=scope):
            return int((model(tokens)[0] - plain).abs().amax(1).nonzero()[0])

    assert first_change("past") == bar_3
    # The begin-of-song token foretells the first tempo, so that it reads a plan too.
    assert first_change("history") == first_change("plan") == 0


def test_a_plan_ahead_is_read_only_as_far_as_allowed(shared, model):
    golden, tokens, plan = song_and_plan(shared, "s12mid")
    points = golden["chunk_points"].tolist()

    def logits(changed_bar, ahead):
        other = plan.clone()
        other[:, changed_bar] += 1
        with inject(model, other, scope="plan", ahead=ahead):
            return model(tokens)[0]

    with inject(model, plan, scope="plan", ahead=2):
        plain = model(tokens)[0]
    first = int((logits(6, 2) - plain).abs().amax(1).nonzero()[0])
    assert first == points[4]  # bar 4 is the first for which bar 6 is at most two ahead


def test_nothing_is_left_even_after_an_error(shared, model):
    _, tokens, plan = song_and_plan(shared, "s12mid")
    plain = model(tokens)
    with pytest.raises(ZeroDivisionError), inject(model, plan, scope="plan"):
        _ = 1 / 0
    assert model.reading is None
    assert torch.equal(model(tokens), plain)


def test_contexts_may_be_left_in_any_order(shared, model):
    _, tokens, plan = song_and_plan(shared, "s12mid")
    plain = model(tokens)
    first, second = inject(model, plan, scope="plan"), inject(model, plan + 1, [0], scope="history", strength=0.5)
    with inject(model, plan + 1, [0], scope="history", strength=0.5):
        alone = model(tokens)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.equal(model(tokens), alone)
    second.__exit__(None, None, None)
    assert torch.equal(model(tokens), plain)


def test_a_copy_of_a_model_is_injected_once_and_by_itself(shared, model):
    _, tokens, plan = song_and_plan(shared, "s12mid")
    plain = model(tokens)
    with inject(model, plan, strength=0.5):
        injected = model(tokens)
        copy = deepcopy(model)
        assert torch.equal(copy(tokens), plain)
        with inject(copy, plan, strength=0.5):
            assert torch.equal(copy(tokens), injected)


def test_threads_inject_into_one_model_as_if_alone(shared, model):
    _, tokens, plan = song_and_plan(shared, "s12mid")
    arms = [
        nullcontext,
        partial(inject, model, plan),
        partial(inject, model, plan + 1, layers=[0, 2], scope="plan", strength=0.7),
        partial(inject, model, plan - 1, scope="history", near=[1]),
    ]

    def logits(arm):
        with torch.no_grad(), arm():
            return model(tokens)

    alone = [logits(arm) for arm in arms]
    start = Barrier(len(arms))

    def wrong(number):
        start.wait()
        return sum(not torch.equal(logits(arms[number]), alone[number]) for _ in range(25))

    with ThreadPoolExecutor(len(arms)) as pool:
        assert list(pool.map(wrong, range(len(arms)))) == [0] * len(arms)
    assert torch.equal(logits(nullcontext), alone[0])


@torch.no_grad()
def test_a_decoding_keeps_its_plan_beside_others_that_are_begun_and_ended(shared, model):
    _, tokens, plan = song_and_plan(shared, "s12mid")
    prompt, rest = tokens[:, :40], tokens[0, 40:120]

    def steps(plan):
        with inject(model, plan, scope="plan"):
            cache = DecodingCache(model, prompt)
        for token in rest:
            yield cache.step(token[None])

    alone = [list(steps(plan)), list(steps(plan + 1))]
    assert not torch.equal(alone[0][-1], alone[1][-1])
    for one, other, first, second in zip(steps(plan), steps(plan + 1), *alone, strict=True):
        assert torch.equal(one, first)
        assert torch.equal(other, second)


def test_each_song_of_a_batch_gets_its_own_plan(shared, model):
    _, tokens, plan = song_and_plan(shared, "s12mid")
    plans = torch.cat([plan, torch.zeros_like(plan), plan])
    mask = torch.ones(plans.shape[:2], dtype=torch.bool)
    mask[2] = False
    with inject(model, plans, mask=mask, scope="plan"):
        together = model(tokens.repeat(3, 1))
    with inject(model, plan, scope="plan"):
        torch.testing.assert_close(together[:1], model(tokens), atol=1e-12, rtol=0)
    with inject(model, torch.zeros_like(plan), scope="plan"):
        torch.testing.assert_close(together[1:2], model(tokens), atol=1e-12, rtol=0)
    torch.testing.assert_close(together[2:], model(tokens), atol=1e-12, rtol=0)


class Upstream(nn.Module):
    """A stand-in for foreign code: the same module names, one song, summaries as (bars, 1, dim)."""

    def __init__(self):
        super().__init__()
        layer = nn.Module()
        layer.self_attn = nn.Module()
        layer.self_attn.sum_key2_proj = nn.Linear(8, 8, bias=False)
        layer.self_attn.sum_value2_proj = nn.Linear(8, 8, bias=False)
        self.decoder = nn.Module()
        self.decoder.layers = nn.ModuleList([layer])

    def forward(self, summaries):
        return self.decoder.layers[0].self_attn.sum_key2_proj(summaries)


def test_foreign_code_with_the_same_names_is_injected_too():
    model, own, plan = Upstream(), torch.randn(5, 1, 8), torch.randn(1, 3, 1, 8)
    with torch.no_grad(), inject(model, plan):
        mixed = model(own)
        expected = model.decoder.layers[0].self_attn.sum_key2_proj.weight
        torch.testing.assert_close(mixed[:3, 0], plan[0, :, 0] @ expected.T)
        torch.testing.assert_close(mixed[3:, 0], own[3:, 0] @ expected.T)
    for option, reason in (({"scope": "plan"}, "past"), ({"near": (1,)}, "near must be None")):
        with pytest.raises(InputError, match=reason), inject(model, plan, **option):
            pass


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (lambda plan: plan[0], {}, "batch, bars, 4, 64"),
        (lambda plan: plan[..., :32], {}, "batch, bars, 4, 64"),
        (lambda plan: plan * torch.nan, {}, "finite"),
        (lambda plan: plan, {"layers": [4]}, "layers must be in 0..3"),
        (lambda plan: plan, {"bars": [99]}, "bars must be in"),
        (lambda plan: plan, {"strength": -1}, "strength"),
        (lambda plan: plan, {"scope": "future"}, "scope"),
        (lambda plan: plan, {"mask": torch.ones(1, 2)}, "mask"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(shared, model, change, options, reason):
    _, _, plan = song_and_plan(shared, "s12mid")
    with pytest.raises(InputError, match=reason), inject(model, change(plan), **options):
        pass


def test_a_plan_for_fewer_songs_is_refused(shared, model):
    _, tokens, plan = song_and_plan(shared, "s12mid")
    with pytest.raises(InputError, match="one song for each"), inject(model, plan):
        model(tokens.repeat(2, 1))


def test_a_model_without_summaries_is_refused():
    with pytest.raises(InputError, match="is it a MuseFormer"), inject(nn.Linear(2, 2), torch.zeros(1, 1, 1, 2)):
        pass
