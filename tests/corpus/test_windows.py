from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_meloformer.corpus.windows import Windows
from fairseq_meloformer.errors import InputError


@pytest.mark.parametrize(
    ("bars", "hop", "song", "expected"),
    [
        (None, None, 37, [(0, 37)]),
        ("16", None, 48, [(0, 16), (16, 32), (32, 48)]),
        ("16", None, 40, [(0, 16), (16, 32), (32, 40)]),
        ("16", None, 39, [(0, 16), (16, 32)]),
        ("16", None, 5, [(0, 5)]),
        ("16", 8, 32, [(0, 16), (8, 24), (16, 32)]),
        ("16", 8, 36, [(0, 16), (8, 24), (16, 32), (24, 36)]),
        ("16", 32, 64, [(0, 16), (32, 48)]),
    ],
)
def test_songs_are_cut(bars: str | None, hop: int | None, song: int, expected: list[tuple[int, int]]) -> None:
    assert Windows.parse(bars, hop).cut(song, Random(0)) == expected


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 20), st.integers(0, 20), st.integers(0, 9))
def test_drawn_windows_touch_and_keep_to_the_range(song: int, shortest: int, more: int, seed: int) -> None:
    rule = Windows.parse(f"{shortest}-{shortest + more}", None)
    windows = rule.cut(song, Random(seed))
    assert windows == rule.cut(song, Random(seed))
    assert windows[0][0] == 0
    assert all(end == first for (_, end), (first, _) in pairwise(windows))
    least = shortest if more else (shortest + 1) // 2
    if song >= least:
        assert all(least <= end - first <= shortest + more for first, end in windows)
        assert song - windows[-1][1] < least
    else:
        assert windows == [(0, song)]


@pytest.mark.parametrize(("bars", "hop"), [("0", None), ("9-8", None), ("many", None), ("16", 0), (None, 4)])
def test_senseless_windows_are_refused(bars: str | None, hop: int | None) -> None:
    with pytest.raises(InputError):
        Windows.parse(bars, hop)
