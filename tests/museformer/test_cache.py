"""Incremental decoding is exact: logits equal the full forward's at every position."""

import random

import pytest
import torch
from golden import case, greedy, tiny
from operators import WAITING, calls_of

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection import inject
from fairseq_meloformer.museformer.cache import DecodingCache
from fairseq_meloformer.museformer.config import SCOPES
from fairseq_meloformer.museformer.sampling import Sampling, generate

CHUNKINGS = ("infer", "bosbar")


# In float64 too, since the activation is computed in fp32 as in fairseq: now and then its input rounds the other way.
FLOAT64 = 1e-7


def assert_exact(model, tokens, chunking, start=1, atol=FLOAT64):
    full = model(tokens, chunking=chunking)
    cache = DecodingCache(model, tokens[:, :start], chunking)
    torch.testing.assert_close(cache.logits, full[:, start - 1], atol=atol, rtol=0)
    for place in range(start, tokens.shape[1]):
        torch.testing.assert_close(cache.step(tokens[:, place]), full[:, place], atol=atol, rtol=0)
    return cache


def random_song(seed, bars, length):
    """Bars of few random tokens, so that many bars fit into a short test."""
    rng = random.Random(seed)
    tokens = [2]
    for _ in range(bars):
        tokens += [rng.randrange(492, 541), *(rng.randrange(6, 492) for _ in range(rng.randrange(4))), 5]
    return torch.tensor(tokens[:length])


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize("name", ["s40end", "dense6end"])
@torch.no_grad()
def test_golden_sequences(shared, chunking, name):
    tokens = case(shared, f"tiny4_infer_{name}")["tokens"][None].long()
    assert_exact(tiny(shared), tokens[:, :700], chunking, atol=2e-5)


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize("start", [1, 150])
@torch.no_grad()
def test_songs_at_different_bars_up_to_a_hundred(shared, chunking, start):
    batch = torch.stack([random_song(seed, 120, 360) for seed in range(3)])
    cache = assert_exact(tiny(shared, torch.float64), batch, chunking, start)
    assert max(cache.bar) >= 100
    assert len(set(cache.bar)) > 1


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("options", [{}, {"layers": [0, 2]}, {"bars": [1, 4, 5]}, {"strength": 0.5}, {"near": (1,)}])
@torch.no_grad()
def test_injection_in_every_scope(shared, scope, options):
    model = tiny(shared, torch.float64)
    batch = torch.stack([random_song(seed, 40, 48) for seed in range(2)])
    plan = torch.randn(2, 10, 4, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[1] = False  # the other half of a guided pair
    plain = model(batch)
    with inject(model, plan, scope=scope, mask=mask, **options):
        assert_exact(model, batch, "infer", start=25)
        assert_exact(model, batch, "infer")
        changed = model(batch) - plain
    assert changed[0].abs().max() > 0.1
    if "near" not in options:
        assert changed[1].abs().max() < FLOAT64


@torch.no_grad()
def test_rows_can_be_dropped_and_repeated(shared):
    model = tiny(shared, torch.float64)
    batch = torch.stack([random_song(seed, 60, 200) for seed in range(3)])
    plan = torch.randn(3, 30, 4, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = [2, 0, 0]
    with inject(model, plan, scope="plan"):
        full = model(batch)[rows]
        cache = DecodingCache(model, batch[:, :100])
        cache.select(rows)
        for place in range(100, 200):
            torch.testing.assert_close(cache.step(batch[rows, place]), full[:, place], atol=FLOAT64, rtol=0)


@torch.no_grad()
def test_old_bars_are_dropped(shared):
    tokens = random_song(0, 120, 360)[None]
    cache = DecodingCache(tiny(shared), tokens)
    for group in cache._groups:
        assert len(group.songs[0].bars) == 32
        assert group.songs[0].summaries.shape[3] == cache.bar[0]


@pytest.mark.parametrize("name", ["pre", "nopre"])
def test_greedy_output_equals_upstreams(shared, name):
    golden = greedy(shared, name)
    prefix = golden["prefix"]
    sampling = Sampling(top_k=1, max_tokens=golden["max_len_b"])
    songs = generate(tiny(shared), [prefix[1:]], sampling)
    assert songs[0] == golden["tokens"][: len(songs[0])]
    assert len(songs[0]) >= len(golden["tokens"]) - 1


def test_what_cannot_be_decoded_stepwise_is_refused(shared):
    model = tiny(shared)
    tokens = torch.tensor([[2]])
    with pytest.raises(InputError, match="reads the future"):
        DecodingCache(model, tokens, "train")
    with pytest.raises(InputError, match="eval"):
        DecodingCache(model.train(), tokens)


def test_a_step_within_a_bar_calls_as_much_for_many_songs_as_for_few(shared):
    model = tiny(shared)
    calls = []
    for songs in (2, 7):
        cache = DecodingCache(model, torch.tensor([[2, 500, 7]]).expand(songs, -1))
        cache.step(torch.full((songs,), 80))  # where pages lie is looked up once
        calls.append(calls_of(cache.step, torch.full((songs,), 200)))
    assert not WAITING & calls[0].keys()
    assert calls[0] == calls[1]
