import pytest
from miditoolkit import TimeSignature
from render.tracks import PIANO, bars, piece

from fairseq_meloformer.render.roll import FAMILIES, SPARES, RollLayout


def test_two_instruments_of_a_family_differ():
    score = RollLayout.of(piece((40, [(0, 4, 60, 100)] * 2), (42, [(0, 4, 67, 100)])))
    assert score.colours == {"violin": FAMILIES[5], "cello": SPARES[0]}


def test_more_instruments_than_colours_can_be_drawn():
    score = RollLayout.of(piece(*((program, [(0, 1, 60, 100)]) for program in range(128))))
    assert len(set(score.colours.values())) == len(FAMILIES) + len(SPARES)


def test_the_kits_lanes_are_those_that_are_played_and_drums_do_not_stretch_the_pitch_axis():
    score = RollLayout.of(
        piece((PIANO, [(0, 1, 60, 100)]), ("drums", [(0, 1, 36, 100), (1, 2, 38, 100), (2, 3, 81, 100)]))
    )
    assert score.kit == ("kick", "snare", "percussion")
    assert score.lanes.tolist() == [-1, 0, 1, 2]
    assert (score.low, score.high) == (48, 72)


@pytest.mark.parametrize(
    ("count", "systems"),
    [(1, [(0, 1)]), (16, [(0, 16)]), (24, [(0, 12), (12, 24)]), (34, [(0, 12), (12, 24), (24, 34)])],
)
def test_systems_are_even_and_go_by_fours(count, systems):
    assert RollLayout.of(bars(count)).systems() == systems


def test_every_bar_is_in_one_system():
    for count in range(1, 140):
        systems = RollLayout.of(bars(count)).systems()
        assert [bar for first, last in systems for bar in range(first, last)] == list(range(count))


def test_the_subtitle_counts_and_names():
    midi = bars(1)
    midi.time_signature_changes = [TimeSignature(3, 4, 0)]
    assert RollLayout.of(midi).subtitle == "1 bar  ·  120 qpm  ·  3/4"
