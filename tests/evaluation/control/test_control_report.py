"""Numbers of the control report, from pieces that were measured elsewhere."""

import pytest

from fairseq_meloformer.evaluation.control import report
from fairseq_meloformer.evaluation.control.measure import Condition, WantedPiece
from fairseq_meloformer.words.directions import LabelledPrompt

WINDOWS = [f"{bar}-{bar + 1}" for bar in range(1, 17, 2)]


def piece(**spans):
    return {
        "tokens": 800,
        "attributes": {"tempo": 100.0, "bars": 16},
        "spans": {name: {"tempo": tempo} for name, tempo in spans.items()},
    }


def test_late_bars_are_held_against_early_ones_as_passages_and_in_windows_of_equal_length():
    prompt = LabelledPrompt("quick", "en", "stated", {"tempo": 1})
    condition, none = Condition("text", 16), Condition("none", 16)
    fast = dict.fromkeys(WINDOWS, 120.0) | {"1-4": 80.0, "9-16": 120.0, "1-2": 80.0, "15-16": 80.0}
    pieces = {
        (condition, "p", 0): piece(**fast),
        (none, "none", 0): piece(**dict.fromkeys([*WINDOWS, "1-4", "9-16", "1-16"], 100.0)),
    }
    found = report.results(
        pieces,
        {"p": prompt},
        {condition: [WantedPiece("p", "quick", 0)]},
        condition,
        storms={},
        exact={},
        songs={},
        timelines={},
    )
    bars = found["systems"]["bridge"]["bars"]
    assert (bars["1-4"]["value"], bars["9-16"]["value"], bars["difference"]["value"]) == (0, 1, 1)
    assert bars["by_windows"]["value"] == pytest.approx(3 / 4 - 1 / 2)
