import pytest

from fairseq_meloformer.midi.metre import index_of
from fairseq_meloformer.render.note_values import Frame, values


def cut(start, end, metre="4/4", triplets=(), *, rest=False):
    """Lengths of the values of what lasts from start to end of the second bar, in positions."""
    length = {"4/4": 48, "3/4": 36, "6/8": 36, "2/4": 24}[metre]
    frame = Frame(length, 2 * length, index_of(metre))
    beats = {length + beat: length + beat + 12 for beat in triplets}
    pieces = list(values(frame, length + start, length + end, beats, rest=rest))
    assert [first for first, _ in pieces[1:]] == [last for _, last in pieces[:-1]]
    return [last - first for first, last in pieces]


@pytest.mark.parametrize(
    ("start", "end", "metre", "pieces"),
    [
        (0, 48, "4/4", [48]),
        (0, 36, "4/4", [36]),
        (0, 18, "4/4", [18]),
        (6, 18, "4/4", [12]),  # a quarter off the beat
        (12, 36, "4/4", [24]),
        (18, 30, "4/4", [6, 6]),  # but not over the middle of the bar
        (18, 36, "4/4", [6, 12]),
        (9, 15, "4/4", [3, 3]),
        (3, 9, "4/4", [6]),
        (0, 42, "4/4", [24, 18]),
        (0, 15, "4/4", [12, 3]),
        (12, 36, "3/4", [24]),
        (0, 36, "6/8", [36]),
        (0, 18, "6/8", [18]),
        (6, 30, "6/8", [12, 12]),
        (0, 24, "2/4", [24]),
    ],
)
def test_values_show_the_beats(start, end, metre, pieces):
    assert cut(start, end, metre) == pieces


@pytest.mark.parametrize(
    ("start", "end", "metre", "pieces"),
    [(0, 48, "4/4", [48]), (0, 36, "3/4", [36]), (12, 48, "4/4", [12, 24]), (12, 36, "4/4", [12, 12]),
     (6, 18, "4/4", [6, 6]), (0, 9, "4/4", [6, 3]), (18, 36, "6/8", [18]), (20, 20, "4/4", [])],
)  # fmt: skip
def test_rests_show_them_more_strictly(start, end, metre, pieces):
    assert cut(start, end, metre, rest=True) == pieces


@pytest.mark.parametrize(
    ("start", "end", "pieces"),
    [(12, 16, [4]), (16, 24, [8]), (12, 24, [12]), (9, 16, [3, 4]), (20, 36, [4, 12]), (12, 22, [4, 6]), (14, 16, [2])],
)
def test_triplets_stay_within_their_beat(start, end, pieces):
    assert cut(start, end, triplets=[12]) == pieces


def test_everything_in_a_bar_has_a_value():
    simple = {2, 3, 4, 6, 8, 9, 12, 18, 24, 36, 48}
    for start in range(0, 48, 3):
        for end in range(start + 3, 49, 3):
            for rest in (False, True):
                pieces = cut(start, end, rest=rest)
                assert sum(pieces) == end - start
                assert set(pieces) <= simple
