"""What can be said of listeners' answers: means with intervals over listeners and prompts, and their agreement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Answer = tuple[str, str, float]
    """Listener, prompt, value."""

_RESAMPLES: Final = 2000


def mean(answers: Sequence[Answer]) -> dict[str, float] | None:
    """The mean of answers, and its 95 % interval (`low`, `high`) over other listeners and other prompts.

    Both are drawn anew with replacement, independently of each other (Owen's pigeonhole bootstrap, Annals of Applied
    Statistics 1(2), 2007), since answers of one listener, as those to one prompt, resemble each other. None of no
    answers.
    """
    if not answers:
        return None
    listeners, who = np.unique([listener for listener, _, _ in answers], return_inverse=True)
    prompts, what = np.unique([prompt for _, prompt, _ in answers], return_inverse=True)
    values = np.array([value for _, _, value in answers])
    drawn = np.random.default_rng(0)
    weights = (
        drawn.multinomial(len(listeners), np.full(len(listeners), 1 / len(listeners)), _RESAMPLES)[:, who]
        * drawn.multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), _RESAMPLES)[:, what]
    )
    weights = weights[weights.sum(axis=1) > 0]
    low, high = np.quantile((weights @ values) / weights.sum(axis=1), [0.025, 0.975]).tolist()
    return {"mean": float(values.mean()), "low": low, "high": high, "answers": len(answers)}


def alpha(ratings: NDArray[np.float64]) -> float | None:
    """Krippendorff's alpha of ordinal ratings (listeners, items), NaN where one gave none; 1 is perfect agreement.

    K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section E. None where no item has two ratings,
    or all are the same.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == values).sum(axis=0)  # (items, values)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        return None
    given = counts.sum(axis=1, keepdims=True)
    pairs = counts[:, :, None] * (counts[:, None, :] - np.eye(len(values)))
    observed = (pairs / (given - 1)[:, :, None]).sum(axis=0)  # coincidences, (values, values)
    totals = observed.sum(axis=0)
    ranks = np.cumsum(totals) - totals / 2
    distance = (ranks[:, None] - ranks) ** 2
    expected = (np.outer(totals, totals) * distance).sum() / (totals.sum() - 1)
    return float(1 - (observed * distance).sum() / expected) if expected else None
