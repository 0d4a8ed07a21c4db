"""Drawing tokens: settings, distributions, and songs that do not depend on their batch."""

import pytest
import torch
from golden import tiny

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection import inject
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


def test_guidance_goes_from_the_logits_without_a_plan_beyond_those_under_it(shared):
    model, songs = tiny(shared), 32
    plan = torch.randn(songs, 4, 4, 64, generator=torch.Generator().manual_seed(0))
    begun = torch.full((songs, 1), vocabulary.BOS)
    with torch.no_grad():
        without = model(begun)[:, 0]
        with inject(model, plan, scope="plan"):
            under = model(begun)[:, 0]
    expected = (without + 1.5 * (under - without)).argmax(1)
    assert not any(torch.equal(expected, other.argmax(1)) for other in (without, under))
    halves = torch.tensor([[True], [False]]).repeat_interleave(songs, 0).expand(-1, 4)
    with inject(model, plan.repeat(2, 1, 1, 1), scope="plan", mask=halves):
        drawn = generate(model, [[]] * songs, Sampling(top_k=1, max_tokens=1, logit_guidance=1.5))
    assert drawn == expected[:, None].tolist()


def test_a_song_is_cut_off_and_a_prompt_that_is_long_enough_stays_as_it_is(shared):
    prompts = [[], [530, 15, 74, 143] * 10, [530] * 41]
    for sampling in (Sampling(top_k=0, max_tokens=40), Sampling(top_k=0, max_tokens=40, logit_guidance=2)):
        free, *rest = generate(tiny(shared), prompts, sampling)
        assert len(free) == 40
        assert rest == prompts[1:]


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
