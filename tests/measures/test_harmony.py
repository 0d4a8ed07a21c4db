"""Measures of harmony, on music of which the answer is known, and against MusPy and music21."""

import math
from itertools import product

import numpy as np
import pytest
from measures.pieces import line, passage, together

from fairseq_meloformer import midi
from fairseq_meloformer.measures import harmony
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.tokens import remi

DRUM = [(0, "i-128 p-164 d-1 v-20")]


def test_entropy_counts_notes_and_no_drums():
    music = passage(line(0, 60, 72, 64, 67), DRUM)
    assert harmony.pitch_class_entropy(music) == pytest.approx(1.5)  # C twice, E and G once
    assert harmony.pitch_class_entropy(passage(line(0, 60, 72))) == 0
    assert harmony.pitch_class_entropy(passage(DRUM)) is None


def test_the_best_scale_of_all_is_taken():
    assert harmony.scale_consistency(passage(line(0, 62, 64, 66, 67, 69, 71, 73))) == 1  # D major
    assert harmony.scale_consistency(passage(line(0, 60, 62, 64, 65, 67, 69, 71, 61))) == pytest.approx(7 / 8)
    assert harmony.scale_consistency(passage(DRUM)) is None


def test_windows_slide_over_the_bars_and_silent_ones_do_not_count():
    one, two = line(0, 60, 60), line(0, 60, 62)
    assert harmony.window_entropy(passage(one, two, DRUM), 1) == pytest.approx((0 + 1) / 2)
    quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert harmony.window_entropy(passage(one, two, DRUM), 2) == pytest.approx((quarter + 1) / 2)
    assert harmony.window_entropy(passage(one, two), 4) == pytest.approx(quarter)  # shorter than the window


def test_chords_are_the_triads_that_sound_longest():
    music = passage(
        [*together(60, 64, 67, length=24), *together(57, 60, 64, length=24, position=24)],
        [*together(67, 71, 74, length=48), (0, "i-128 p-164 d-1 v-20")],
        [],
        together(62, 65, 69, length=12),
    )
    assert harmony.chords(music).tolist() == [0, 12 + 9, 7, 7, -1, -1, 12 + 2, -1]


def test_a_chord_is_kept_from_bar_to_bar():
    c, f = (together(*(root + step for step in (0, 4, 7)), length=48) for root in (60, 65))
    assert harmony.chord_kept(passage(c, c, f, c)) == pytest.approx(1 / 3)
    assert harmony.chord_kept(passage(c, c, [], c, c)) == 1  # a silent bar neither keeps a chord nor changes it
    assert harmony.chord_kept(passage(c, [], c)) is None


def test_irregularity_is_the_share_of_unlike_successions_of_three_chords():
    c, f, g = (together(*(root + step for step in (0, 4, 7)), length=48) for root in (60, 65, 67))
    assert harmony.chord_irregularity(passage(c, f, c, f, c, f)) == pytest.approx(2 / 4)
    assert harmony.chord_irregularity(passage(c, c, f, f, g)) == 1  # held chords count once
    assert harmony.chord_irregularity(passage(c, f)) is None


@pytest.mark.parametrize(
    ("interval", "clashes"), [(0, False), (1, True), (2, False), (11, True), (12, False), (13, True)]
)
def test_which_intervals_clash(interval, clashes):
    found = harmony.semitone_clashes(passage(together(60, 60 + interval)))
    assert found == (None if interval == 0 else float(clashes))


def test_clashes_are_counted_by_sixteenths_in_which_two_pitches_sound():
    # C4 for a quarter; C#4 begins in its last sixteenth; then E4 and G4 for an eighth, and a drum.
    music = passage(
        [*together(60), *together(61, position=9, length=3), *together(64, 67, position=12, length=6), *DRUM]
    )
    assert harmony.semitone_clashes(music) == pytest.approx(1 / 3)


def random_music(seed, bars=6):
    """Tokens of bars of two instruments and drums, with notes anywhere; it ends before its last bar line."""
    drawn = np.random.default_rng(seed)
    music = []
    for _ in range(bars):
        places = sorted(drawn.choice(44, 12, replace=False).tolist())
        pitches, programs = drawn.integers(40, 80, 12), drawn.choice([0, 25, 128], 12)
        music += ["t-30"]
        for place, pitch, program in zip(places, pitches, programs, strict=True):
            music += [f"o-{place}", f"i-{program}", f"p-{pitch + (program == 128) * 128}", "d-3", "v-20"]
        music += ["b-1"]
    return music


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_muspy(seed, tmp_path):
    muspy = pytest.importorskip("muspy", reason="the cross-check needs muspy")
    tokens = random_music(seed)
    midi.write(remi.decode(tokens), tmp_path / "piece.mid")
    theirs, ours = muspy.read_midi(tmp_path / "piece.mid"), Song(tokens).passage()
    assert harmony.pitch_class_entropy(ours) == pytest.approx(muspy.pitch_class_entropy(theirs))
    assert harmony.scale_consistency(ours) == pytest.approx(muspy.scale_consistency(theirs))


def test_names_triads_as_music21_does():
    music21 = pytest.importorskip("music21", reason="the cross-check needs music21")
    for root, third, inversion in product(range(12), (3, 4), range(3)):
        pitches = [root + 48, root + 48 + third, root + 55]
        voiced = pitches[inversion:] + [pitch + 12 for pitch in pitches[:inversion]]
        theirs = music21.chord.Chord(voiced)
        (ours,) = harmony.chords(passage(together(*voiced, length=48)), per_bar=1)
        assert (ours % 12, ("major", "minor")[ours // 12]) == (theirs.root().pitchClass, theirs.quality)


def test_hears_clashes_where_music21_does():
    music21 = pytest.importorskip("music21", reason="the cross-check needs music21")
    drawn = np.random.default_rng(0)
    for _ in range(100):
        pitches = drawn.choice(np.arange(50, 80), 3, replace=False).tolist()
        notes = [music21.pitch.Pitch(pitch) for pitch in sorted(pitches)]
        semitones = {music21.interval.Interval(notes[i], notes[j]).semitones for i, j in ((0, 1), (0, 2), (1, 2))}
        assert harmony.semitone_clashes(passage(together(*pitches))) == float(bool(semitones & {1, 11, 13}))
