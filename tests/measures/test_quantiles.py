"""Where values lie in a corpus."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.quantiles import Quantiles

ROW = {"tempo": 120.0, "density": 8.0, "register": 60.0, "leaps": 3.0, "sustain": 1.0, "loudness": 80.0}


def corpus(**columns):
    """Rows that differ in the given columns only."""
    count = len(next(iter(columns.values())))
    defaults = {**ROW, "mode": 0.1, "drums": 0.2}
    return [{**defaults, **{name: float(values[index]) for name, values in columns.items()}} for index in range(count)]


def test_positions_are_signed_ranks():
    quantiles = Quantiles.fit(corpus(tempo=range(101)))
    assert quantiles.position("tempo", 50) == pytest.approx(0)
    assert quantiles.position("tempo", 75) == pytest.approx(0.5)
    assert quantiles.position("tempo", -10) == -1
    assert quantiles.position("tempo", 1000) == 1


@given(st.lists(st.floats(20, 300), min_size=2, max_size=60), st.floats(0, 400), st.floats(0, 400))
def test_positions_never_fall_when_values_rise(tempi, one, other):
    quantiles = Quantiles.fit(corpus(tempo=tempi))
    low, high = sorted((one, other))
    assert -1 <= quantiles.position("tempo", low) <= quantiles.position("tempo", high) <= 1


def test_half_of_a_corpus_lies_on_either_side():
    values = np.random.default_rng(0).lognormal(3, 1, 5000)
    quantiles = Quantiles.fit(corpus(density=values))
    places = [quantiles.position("density", value) for value in values]
    assert np.mean(places) == pytest.approx(0, abs=0.01)
    assert np.mean(np.array(places) > 0.5) == pytest.approx(0.25, abs=0.01)


def test_the_sign_of_the_mode_is_its_own_however_common():
    quantiles = Quantiles.fit(corpus(mode=[0.1, 0.2, 0.3, 0.4, -0.1]))
    assert quantiles.position("mode", 0.05) > 0 > quantiles.position("mode", -0.05)
    assert quantiles.position("mode", 0.4) == 1
    assert Quantiles.fit(corpus(mode=[0.1, 0.2])).position("mode", -0.01) == -1
    assert Quantiles.fit(corpus(mode=[0.1, 0.2])).position("mode", 0.0) == 0


def test_no_drums_is_no_drums_however_common():
    mostly_without = Quantiles.fit(corpus(drums=[0, 0, 0, 0, 0, 0, 0.2, 0.3, 0.4, 0.5]))
    assert mostly_without.position("drums", 0) == -1
    assert 0 <= mostly_without.position("drums", 0.2) < mostly_without.position("drums", 0.45) <= 1
    assert Quantiles.fit(corpus(drums=[0, 0])).position("drums", 0.1) == 1
    assert Quantiles.fit(corpus(drums=[0.2, 0.3])).position("drums", 0.0) == -1


def test_equal_values_lie_in_the_middle_of_their_ranks():
    assert Quantiles.fit(corpus(tempo=[120] * 5)).position("tempo", 120) == pytest.approx(0)


def test_positions_pass_over_what_was_not_measured_and_what_is_no_number():
    quantiles = Quantiles.fit(corpus(tempo=range(10)))
    assert quantiles.positions({"tempo": 4.5, "key": "C major", "instruments": [0]}) == {"tempo": pytest.approx(0)}


def test_quantiles_are_kept_as_json(tmp_path):
    quantiles = Quantiles.fit(corpus(tempo=range(30), mode=np.linspace(-1, 1, 30)))
    quantiles.save(tmp_path / "quantiles.json")
    again = Quantiles.load(tmp_path / "quantiles.json")
    assert again.values == quantiles.values
    assert again.count == 30


@pytest.mark.parametrize("content", [None, "{", "[]", '{"count": 3}', '{"count": 3, "quantiles": {"tempo": ["fast"]}}'])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / "quantiles.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"quantiles\.json must hold a corpus's quantiles"):
        Quantiles.load(path)


def test_a_corpus_must_have_every_axis():
    rows = [{name: value for name, value in row.items() if name != "mode"} for row in corpus(tempo=[1, 2])]
    with pytest.raises(InputError, match="2 passages without mode"):
        Quantiles.fit(rows)
    with pytest.raises(InputError, match="0 passages"):
        Quantiles.fit([])
