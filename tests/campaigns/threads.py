"""Threads: one model called from four at once, each with its own plan, gives what it gives alone, bit for bit.

python -m tests.campaigns.threads --cases 1000
"""

import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from threading import Barrier

import torch
from torch import Tensor

from fairseq_meloformer.injection import inject
from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS
from tests.campaigns import campaign
from tests.injection import models

_THREADS = 4
_BARS = 6  # the nearest are seen as tokens, whatever their plan is


@cache
def _model() -> tuple[MuseFormer, Tensor]:
    tokens = [BOS, *[6, 500, 100, 200, 300, BAR_END] * _BARS]
    return models.museformer().requires_grad_(requires_grad=False), torch.tensor([tokens])


def _plans(rng: random.Random) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    return [torch.randn(1, _BARS, models.LAYERS, models.DIM, generator=generator) for _ in range(_THREADS)]


def _logits(start: Barrier | None, arm: partial) -> Tensor:
    model, tokens = _model()
    if start is not None:
        start.wait()
    with torch.no_grad(), arm():
        logits: Tensor = model(tokens)
    return logits


def _left_in_any_order(arms: list[partial], rng: random.Random) -> bool:
    """Whether contexts that are left in another order than they were entered leave what those that stay would give."""
    model, tokens = _model()
    before = model(tokens)
    entered = [arm() for arm in rng.sample(arms, 3)]
    for context in entered:
        context.__enter__()
    for context in rng.sample(entered, 3):
        context.__exit__(None, None, None)
    return torch.equal(model(tokens), before)


def case(rng: random.Random) -> str:
    scopes = ("past", "history", "plan")
    arms = [partial(inject, _model()[0], plan, scope=rng.choice(scopes)) for plan in _plans(rng)]
    alone = [_logits(None, arm) for arm in arms]
    start = Barrier(_THREADS)
    with ThreadPoolExecutor(_THREADS) as pool:
        together = list(pool.map(partial(_logits, start), arms))
    if torch.equal(alone[0], alone[1]):
        raise AssertionError("plans that do nothing show nothing")
    if not all(map(torch.equal, alone, together)):
        raise AssertionError("another thread's plan was heard")
    with torch.no_grad():
        if not _left_in_any_order(arms, rng):
            raise AssertionError("a context stayed")
    return "four forwards, bit for bit those made alone"


if __name__ == "__main__":
    campaign.main(case, 10)
