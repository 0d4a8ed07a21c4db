from itertools import pairwise

import numpy as np
import pytest
from miditoolkit import Instrument, MidiFile, Note, TimeSignature

from fairseq_meloformer.render.score import bars_of, spelling


def bars(*notes, program=0, metre=(4, 4), drums=False):
    """Bars of an instrument from (start, end, pitch) in positions, 1/12 quarter."""
    midi = MidiFile()
    midi.time_signature_changes = [TimeSignature(*metre, 0)]
    midi.instruments = [Instrument(program, drums)]
    midi.instruments[0].notes = [Note(90, pitch, 40 * start, 40 * end) for start, end, pitch in notes]
    return bars_of(midi, midi.instruments[0])


def written(bar):
    """Length and pitches of the figures of each voice."""
    return [[(figure.end - figure.start, figure.pitches) for figure in voice] for voice in bar.voices]


def test_small_gaps_and_overlaps_are_how_one_plays_and_not_what_one_reads():
    (bar,) = bars((0, 10, 60), (12, 25, 62), (24, 29, 64), (37, 48, 65))
    assert written(bar) == [[(12, (60,)), (12, (62,)), (12, (64,)), (12, (65,))]]


def test_silence_is_written_as_rests():
    (bar,) = bars((0, 12, 60), (36, 48, 65))
    assert written(bar) == [[(12, (60,)), (12, ()), (12, ()), (12, (65,))]]


def test_triplets_are_found_beat_by_beat():
    (bar,) = bars((0, 4, 60), (4, 8, 62), (8, 12, 64), (12, 15, 65), (15, 18, 67), (18, 24, 69), (25, 48, 71))
    assert written(bar) == [[(4, (60,)), (4, (62,)), (4, (64,)), (3, (65,)), (3, (67,)), (6, (69,)), (24, (71,))]]


def test_a_note_over_the_bar_line_is_tied():
    first, second = bars((36, 60, 60), (60, 96, 62))
    assert written(first) == [[(24, ()), (12, ()), (12, (60,))]]
    assert written(second) == [[(12, (60,)), (36, (62,))]]
    assert (first.voices[0][-1].tied, second.voices[0][0].continues) == (True, True)
    assert not second.voices[0][1].continues


def test_a_held_note_under_a_line_has_a_voice_of_its_own_and_the_upper_voice_comes_first():
    (bar,) = bars((0, 48, 48), (0, 12, 60), (12, 24, 62), (24, 36, 64), (36, 48, 65))
    assert written(bar) == [[(12, (60,)), (12, (62,)), (12, (64,)), (12, (65,))], [(48, (48,))]]


def test_a_chord_is_one_figure():
    (bar,) = bars((0, 24, 60), (0, 26, 64), (0, 23, 67), (24, 48, 60))
    assert written(bar) == [[(24, (60, 64, 67)), (24, (60,))]]


def test_hands_and_feet_have_a_voice_each():
    (bar,) = bars((0, 1, 36), (0, 1, 42), (12, 13, 38), (12, 13, 42), (24, 25, 36), (36, 37, 38), drums=True)
    assert bar.clef == "percussion"
    assert written(bar) == [
        [(12, (42,)), (12, (38, 42)), (12, ()), (12, (38,))],
        [(12, (36,)), (12, ()), (12, (36,)), (12, ())],
    ]


@pytest.mark.parametrize(
    ("program", "pitch", "clef"),
    [(0, 72, "treble"), (0, 40, "bass"), (25, 50, "treble8vb"), (43, 36, "bass8vb"), (41, 60, "alto"),
     (72, 90, "treble8va")],
)  # fmt: skip
def test_clefs_are_those_of_the_instrument(program, pitch, clef):
    assert bars((0, 12, pitch), program=program)[0].clef == clef


def test_a_clef_changes_only_where_that_saves_many_ledger_lines():
    low, high = [(48 * bar + 12 * beat, 48 * bar + 12 * beat + 12, 45) for bar in range(4) for beat in range(4)], []
    high = [(start + 192, end + 192, 80) for start, end, _ in low]
    once = [(384, 396, 45)]
    clefs = [bar.clef for bar in bars(*low, *high, *once)]
    assert clefs == ["bass"] * 4 + ["treble"] * 5


@pytest.mark.parametrize("seed", range(6))
def test_every_voice_fills_every_bar_in_every_metre(seed):
    chance = np.random.default_rng(seed)
    metre = [(4, 4), (3, 4), (6, 8), (2, 4), (12, 8), (5, 4)][seed]
    starts = chance.integers(0, 400, 60)
    notes = [(int(s), int(s + chance.integers(1, 70)), int(chance.integers(30, 90))) for s in starts]
    made = bars(*notes, metre=metre)
    for bar, following in pairwise(made):
        assert bar.start + bar.length == following.start
    for bar in made:
        assert 1 <= len(bar.voices) <= 2
        for voice in bar.voices:
            ends = [0, *(figure.end for figure in voice)]
            assert [figure.start for figure in voice] == ends[:-1]
            assert ends[-1] == bar.length == 48 * metre[0] // metre[1]
    heard = {pitch for bar in made for voice in bar.voices for figure in voice for pitch in figure.pitches}
    assert heard == {pitch for _, _, pitch in notes}


@pytest.mark.parametrize(
    ("pitch", "sharps", "name"),
    [(60, 0, ("C", 0, 4)), (68, 0, ("G", 1, 4)), (70, 0, ("B", -1, 4)), (61, 0, ("C", 1, 4)), (66, -5, ("G", -1, 4)),
     (59, -6, ("C", -1, 4)), (60, 7, ("B", 1, 3)), (65, 6, ("E", 1, 4)), (63, 3, ("D", 1, 4)), (127, 0, ("G", 0, 9))],
)  # fmt: skip
def test_spelling_follows_the_key(pitch, sharps, name):
    assert spelling(pitch, sharps) == name
