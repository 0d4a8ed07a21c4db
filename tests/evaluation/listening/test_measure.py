"""Agreement against published values, and intervals against what they must do."""

import numpy as np
import pytest

from fairseq_meloformer.evaluation.listening.measure import alpha, mean

_ = np.nan


def test_alpha_is_the_published_one():
    # K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), University of Pennsylvania ScholarlyCommons:
    # A, two observers and binary data: 0.095; C with E, four observers, missing data, ordinal metric: 0.815.
    binary = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]
    assert alpha(np.array(binary, dtype=float)) == pytest.approx(0.095, abs=5e-4)
    ordinal = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
    assert alpha(np.array(ordinal)) == pytest.approx(0.815, abs=5e-4)


def test_alpha_at_its_ends():
    assert alpha(np.array([[1.0, 4, 7], [1, 4, 7]])) == 1
    assert alpha(np.array([[1.0, 7, 1, 7], [7, 1, 7, 1]])) < 0
    assert alpha(np.array([[1.0, _], [_, 2]])) is None
    assert alpha(np.array([[3.0, 3], [3, 3]])) is None


def test_an_interval_knows_that_answers_of_one_listener_resemble_each_other():
    drawn = np.random.default_rng(1)
    answers = [
        (f"l{listener}", f"p{prompt}", 4 + own + 0.1 * drawn.standard_normal())
        for listener, own in enumerate(drawn.standard_normal(10))
        for prompt in range(20)
    ]
    found = mean(answers)
    assert found["answers"] == 200
    assert found["low"] < found["mean"] < found["high"]
    assert found["high"] - found["low"] > 0.6  # 200 independent answers would have 0.28
    alike = mean([(f"l{number % 10}", f"p{number}", value) for number, (*_names, value) in enumerate(answers)])
    assert alike["mean"] == pytest.approx(found["mean"])


def test_there_is_no_mean_of_nothing():
    assert mean([]) is None
    assert mean([("a", "b", 3.0)]) == {"mean": 3, "low": 3, "high": 3, "answers": 1}
