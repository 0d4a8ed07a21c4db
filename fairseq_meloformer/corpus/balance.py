"""Drawing passages so that rare music (sparse, high and quiet, say) is as frequent in training as common music."""

from __future__ import annotations

from collections import Counter
from heapq import nlargest
from math import log
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fairseq_meloformer.measures.attributes import Attributes
    from fairseq_meloformer.measures.quantiles import Quantiles

AXES = ("tempo", "density", "register", "sustain", "loudness")
"""The axes that span the corners; a third of the corpus is low, medium and high on each."""

Stratum = tuple[int, ...]


def stratum(attributes: Attributes, quantiles: Quantiles) -> Stratum:
    """Which third of the corpus a passage lies in on every axis: -1, 0 or 1; 0 also where nothing was measured."""
    positions = quantiles.positions(attributes)
    return tuple(round(1.5 * max(-0.99, min(0.99, positions.get(axis, 0.0)))) for axis in AXES)


def draw(passages: Iterable[tuple[str, Stratum]], count: int, seed: int) -> set[str]:
    """Names of `count` passages, each with a chance in inverse proportion to how many share its stratum.

    Drawn without replacement (Efraimidis and Spirakis 2006: the largest log(u) / w); a passage's number u depends on
    its name alone, so that further passages disturb the draw as little as can be.
    """
    named = list(passages)
    sizes = Counter(where for _, where in named)
    keyed = ((log(1 - Random(f"{seed}/{name}").random()) * sizes[where], name) for name, where in named)
    return {name for _, name in nlargest(count, keyed)}
