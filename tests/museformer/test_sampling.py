"""Drawing tokens: settings, distributions, and songs that do not depend on their batch."""

import pytest
import torch
from golden import tiny

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.museformer.sampling import Sampling, choose, generate
from fairseq_meloformer.tokens import remi, vocabulary
from fairseq_meloformer.tokens.grammar import Grammar, Limits


def test_sampling_settings_are_checked_together():
    with pytest.raises(InputError, match=r"temperature.*top_p"):
        Sampling(temperature=0, top_p=2)


def test_draws_follow_the_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -torch.inf]]).expand(4000, -1)
    uniform = (torch.arange(4000) + 0.5) / 4000
    shares = torch.bincount(choose(logits, uniform, Sampling(top_k=0)), minlength=4) / 4000
    torch.testing.assert_close(shares, logits[0].softmax(-1), atol=1e-3, rtol=0)
    two = torch.bincount(choose(logits, uniform, Sampling(top_k=2)), minlength=4) / 4000
    torch.testing.assert_close(two[:2], logits[0, :2].softmax(-1), atol=1e-3, rtol=0)
    assert set(choose(logits, uniform, Sampling(top_k=0, top_p=0.5)).tolist()) == {0}
    assert set(choose(logits, uniform, Sampling(top_k=1)).tolist()) == {0}


def test_a_song_does_not_depend_on_its_batch_or_on_those_that_end_early(shared):
    model = tiny(shared)
    sampling = Sampling(top_k=0, max_tokens=60)
    prompts, seeds = [[], [530, 15], [], [530, 15, 74, 143] * 10], [3, 4, 5, 6]  # the last one ends first
    together = generate(model, prompts, sampling, seeds=seeds)
    for prompt, seed, song in zip(prompts, seeds, together, strict=True):
        assert generate(model, [prompt], sampling, seeds=[seed]) == [song]
        assert song[: len(prompt)] == prompt


def test_guidance_by_one_is_none_and_guided_songs_need_two_rows(shared):
    model = tiny(shared)
    plain = generate(model, [[]], Sampling(top_k=1, max_tokens=20))
    doubled = generate(model, [[]], Sampling(top_k=1, max_tokens=20, logit_guidance=3))
    assert plain == doubled  # without an injection both halves agree, whatever the weight


def test_no_song_ends_before_it_may(shared):
    songs = generate(tiny(shared), [[], []], Sampling(top_k=0, min_tokens=30, max_tokens=40), seeds=[1, 2])
    assert all(30 <= len(song) <= 40 for song in songs)


def test_a_bias_holds_for_its_song_and_its_bar():
    torch.manual_seed(0)
    config = MuseFormerConfig(layers=1, dim=16, ffn_dim=16, heads=2, token_dim=16, bar_dim=4, beat_dim=4)
    model = MuseFormer(config).eval()
    book = vocabulary.published()
    grammar = Grammar(book, empty_bars=False)
    grammar.start(2, limits=Limits(bars=[3, 3], bar_tokens=[30, 30]))
    added = torch.zeros(2, 2, len(book))
    added[0, 0, book.ids(["v-1"])] = 50.0
    added[0, 1, book.ids(["v-9"])] = 50.0
    bias = Bias(book, added, torch.zeros(2, 2))
    songs = generate(model, [[], []], Sampling(), seeds=[1, 2], grammar=grammar, bias=bias)
    first, second = (
        [{token for token in bar if token.startswith("v-")} for bar in remi.bars(book.tokens(song))] for song in songs
    )
    assert first == [{"v-1"}, {"v-9"}, {"v-9"}]
    assert len(set.union(*second)) > 2
