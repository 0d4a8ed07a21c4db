from collections import Counter

import pytest

from fairseq_meloformer.corpus.balance import AXES, draw, stratum
from fairseq_meloformer.measures.attributes import ATTRIBUTES
from fairseq_meloformer.measures.quantiles import Quantiles

QUANTILES = Quantiles({name: [float(value) for value in range(101)] for name in ATTRIBUTES}, 101)


@pytest.mark.parametrize(
    ("value", "third"), [(0, -1), (30, -1), (36, 0), (50, 0), (64, 0), (70, 1), (100, 1), (1e9, 1)]
)
def test_thirds(value: float, third: int) -> None:
    assert stratum(dict.fromkeys(AXES, value), QUANTILES) == (third,) * len(AXES)


def test_what_was_not_measured_is_in_the_middle() -> None:
    assert stratum({}, QUANTILES) == (0,) * len(AXES)


def test_rare_passages_become_as_frequent_as_common_ones() -> None:
    passages = [(f"common {n}", (0,)) for n in range(9000)] + [(f"rare {n}", (1,)) for n in range(1000)]
    chosen = draw(passages, 500, seed=1)
    assert len(chosen) == 500
    assert Counter(name.split()[0] for name in chosen)["rare"] == pytest.approx(250, rel=0.2)
    assert chosen == draw(reversed(passages), 500, seed=1)
    assert chosen != draw(passages, 500, seed=2)


def test_nothing_is_drawn_twice() -> None:
    assert draw([("a", (0,)), ("b", (0,)), ("c", (1,))], 10, seed=0) == {"a", "b", "c"}
