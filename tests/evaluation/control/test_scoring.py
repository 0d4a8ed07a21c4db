"""Accuracy and its intervals against what can be worked out by hand."""

import numpy as np
import pytest

from fairseq_meloformer.evaluation.control.scoring import Bootstrap, DirectionScore, is_right, medians
from fairseq_meloformer.measures.attributes import AXES


def test_medians_leave_out_what_no_piece_has():
    pieces = [{"tempo": 100.0, "key": "C major"}, {"tempo": 120.0, "mode": 0.1}, {"tempo": 90.0}]
    assert medians(pieces) == {"tempo": 100.0, "mode": 0.1}


@pytest.mark.parametrize(
    ("axis", "sign", "value", "median", "right"),
    [
        ("tempo", 1, 121.0, 120.0, True),
        ("tempo", 1, 119.0, 120.0, False),
        ("tempo", -1, 119.0, 120.0, True),
        ("tempo", 1, 120.0, 120.0, False),
        ("tempo", -1, 120.0, 120.0, False),
        ("mode", 1, None, 0.0, False),
        ("mode", 1, 0.3, None, False),
        ("drums", -1, 0.0, 0.0, True),
        ("drums", 1, 0.0, 0.0, False),
        ("drums", 1, 0.1, 0.0, True),
        ("drums", -1, 0.1, 0.0, False),
    ],
)
def test_a_piece_is_right_on_the_asked_side_and_wrong_if_it_fails_or_ties(axis, sign, value, median, right):
    assert is_right(axis, sign, value, median) is right


def scored():
    score = DirectionScore(["a", "b", "c"])
    middle = {"tempo": 100.0, "loudness": 80.0}
    score.add("a", {"tempo": 1, "loudness": 1}, {"tempo": 120.0, "loudness": 70.0}, middle)
    score.add("a", {"tempo": 1, "loudness": 1}, {"tempo": 130.0, "loudness": 90.0}, middle)
    score.add("b", {"tempo": -1}, {"tempo": 130.0}, middle)
    score.add("c", {"tempo": -1}, None, middle)
    return score


def test_the_mean_is_over_axes_and_failures_count():
    score, boot = scored(), Bootstrap(3)
    shares = boot.axes(score)
    assert shares["tempo"]["value"] == 0.5
    assert shares["loudness"]["value"] == 0.5
    assert shares["mode"]["value"] is None
    assert boot.mean(score)["value"] == 0.5
    only = score.only(lambda name: name == "a")
    assert boot.axes(only)["tempo"]["value"] == 1.0
    assert boot.mean(only)["value"] == 0.75


def test_intervals_cover_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        score = DirectionScore([str(number) for number in range(80)])
        for name in score.prompts:
            score.add(name, {"tempo": 1}, {"tempo": float(generator.random() < 0.7)}, {"tempo": 0.5})
        interval = Bootstrap(80).mean(score)
        hits += interval["low"] <= 0.7 <= interval["high"]
    assert hits >= 51  # 57 expected; fewer than 51 of 60 has a chance of 0.2 % at 95 %


def test_differences_resample_both_sides_together():
    first = scored()
    boot = Bootstrap(3)
    assert boot.difference(first, first) == {"value": 0.0, "low": 0.0, "high": 0.0}
    low, high = DirectionScore(["a", "b"]), DirectionScore(["a", "b"])
    text = DirectionScore(["a", "b"])
    for name in ("a", "b"):
        for score, values in ((low, (1, 0)), (text, (1, 1)), (high, (1, 1))):
            for value in values:
                score.add(name, {AXES[0]: 1}, {AXES[0]: float(value)}, {AXES[0]: 0.5})
    assert Bootstrap(2).gap_closed(text, low, high)["value"] == 1.0
    assert Bootstrap(2).gap_closed(text, low, low)["value"] is None
