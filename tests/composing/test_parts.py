"""What a request is understood to ask for, and what of it is not kept."""

import pytest

from fairseq_meloformer.composing.command import _reading
from fairseq_meloformer.composing.parts import Part
from fairseq_meloformer.words import wishes


@pytest.mark.parametrize(
    ("text", "unkept"),
    [
        ("calm piano, 120 bpm", []),
        ("a waltz for piano", ["3/4 (pieces are written in 4/4)"]),
        ("gentle piano, about 30 seconds", ["30 seconds (a length is kept in bars: say how many)"]),
        ("piano, chords C Am F G", ["the chords (harmony is the model's own)"]),
    ],
)
def test_what_is_read_and_not_kept_is_said(text, unkept):
    part = Part(0, None, {}, wishes.read(text))
    row = part.as_row()
    assert row["not_honoured"] == unkept
    line = _reading({"piece": "a-0", "full_system": {"understood": [row]}})
    assert line.startswith("a-0: understood: ")
    assert all(one in line for one in unkept)


def test_a_piece_whose_text_was_not_read_has_no_line():
    assert _reading({"piece": "a-0", "full_system": {"written": ["lead"]}}) == _reading({"piece": "a-0"}) == ""
