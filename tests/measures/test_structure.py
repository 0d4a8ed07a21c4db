"""Fitness of segments against the formula and against every family of paths, and structureness of made-up pieces."""

import tracemalloc

import numpy as np
import pytest
from measures.pieces import passage, together

from fairseq_meloformer.measures.structure import fitness, self_similarity, structureness


def test_a_segment_that_comes_back_explains_all_but_itself():
    """A piece of k equal segments: score and coverage are both (k - 1) / k."""
    length, times = 4, 3
    place = np.arange(length * times)
    likeness = np.where((place[:, None] - place) % length == 0, 1.0, -2.0)
    found = fitness(likeness)
    assert found[length - 1, [0, 4, 8]] == pytest.approx(1 - 1 / times)
    assert found[length - 1, 1] < 1 - 1 / times  # it begins elsewhere: its last return is cut off
    assert found[-1, 0] == 0  # the whole piece explains nothing but itself
    assert (found[length - 1, 9:] == 0).all()  # no such segment ends in time


def test_nothing_comes_back_where_nothing_is_alike():
    assert not fitness(np.where(np.eye(8) > 0, 1.0, -2.0)).any()


@pytest.mark.parametrize("seed", range(8))
def test_paths_are_the_best_of_all_families(seed):
    drawn, count = np.random.default_rng(seed), 6
    likeness = np.where(drawn.random((count, count)) < 0.5, drawn.random((count, count)), -2.0)
    np.fill_diagonal(likeness, 1)
    found = fitness(likeness)
    for length in range(1, count + 1):
        for start in range(count - length + 1):
            assert found[length - 1, start] == pytest.approx(best_of_all(likeness[:, start : start + length]), abs=1e-9)


def test_memory_grows_as_the_pairs_of_quarters():
    likeness = np.where(np.random.default_rng(0).random((48, 48)) < 0.5, 0.5, -2.0)
    tracemalloc.start()
    fitness(likeness)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def best_of_all(columns):
    """Fitness of a segment by trying every family of paths through its columns (rows, length)."""
    rows, length = columns.shape
    paths = [path for row in range(rows) for path in paths_from((row, 0), rows, length)]
    families = {}

    def extend(first, score, cells, covered):
        families[round(score, 9)] = cells, covered
        for path in paths:
            if path[0][0] >= first:
                rows_of = path[-1][0] - path[0][0] + 1
                extend(
                    path[-1][0] + 1, score + sum(columns[cell] for cell in path), cells + len(path), covered + rows_of
                )

    extend(0, 0.0, 0, 0)
    score = max(families)
    cells, covered = families[score]
    normalised, coverage = max(0, score - length) / max(1, cells), max(0, covered - length) / rows
    return 2 * normalised * coverage / (normalised + coverage) if normalised + coverage else 0


def paths_from(cell, rows, length):
    """Every path from a cell to the last column, in steps (1, 1), (1, 2) and (2, 1)."""
    if cell[1] == length - 1:
        return [[cell]]
    steps = [(cell[0] + down, cell[1] + right) for down, right in ((1, 1), (1, 2), (2, 1))]
    return [
        [cell, *path]
        for step in steps
        if step[0] < rows and step[1] < length and step[1] > 0
        for path in paths_from(step, rows, length)
    ]


def test_likeness_does_not_mind_a_transposition():
    drawn = np.random.default_rng(0).random((40, 12))
    moved = np.concatenate([drawn, np.roll(drawn, 5, axis=1)])
    again = self_similarity(np.concatenate([drawn, drawn]))
    diagonal = np.diagonal(self_similarity(moved), 40)
    assert (diagonal[4:-4] > 0).all()
    np.testing.assert_allclose(diagonal[4:-4], np.diagonal(again, 40)[4:-4])


def bars(*chords):
    return passage(*(together(*pitches, length=48) for pitches in chords))


def test_a_piece_in_two_equal_halves_has_more_structure_than_one_without():
    drawn = np.random.default_rng(1)
    first, second = (drawn.choice(np.arange(48, 80), (8, 3)).tolist() for _ in range(2))
    again, other = structureness(bars(*first, *first)), structureness(bars(*first, *second))
    assert list(again) == ["3 to 8 s", "8 to 15 s", "15 s and more"]  # a bar takes 2.1 s, a half 17 s
    assert again["15 s and more"] > 0.3 > other["15 s and more"]
    assert structureness(passage([(0, "i-128 p-164 d-1 v-20")])) == {}
