"""Attributes against music so small that their values can be told by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import midi as midi_files
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import ATTRIBUTES, AXES, by_bar, measure, measure_passage
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.tokens import remi

TICKS = 480


def track(notes, program=0, *, drums=False):
    """Notes as (onset, duration, pitch[, velocity]) in quarters."""
    made = Instrument(program, is_drum=drums)
    for onset, duration, pitch, *velocity in notes:
        start, end = round(onset * TICKS), round((onset + duration) * TICKS)
        made.notes.append(Note(velocity[0] if velocity else 80, pitch, start, end))
    return made


def song(*tracks, tempo=((0, 120),), metre=((0, 4, 4),)):
    midi = MidiFile()
    midi.ticks_per_beat = TICKS
    midi.instruments = list(tracks)
    midi.tempo_changes = [TempoChange(qpm, round(at * TICKS)) for at, qpm in tempo]
    midi.time_signature_changes = [TimeSignature(upper, lower, round(at * TICKS)) for at, upper, lower in metre]
    return midi


SCALE = [(step, 1, pitch) for step, pitch in enumerate([60, 62, 64, 65, 67, 69, 71, 72])]
KIT = [(step, 0.1, 38) for step in range(8)]


def test_every_attribute_is_documented():
    for attribute in ATTRIBUTES.values():
        assert attribute.definition.endswith((".", ".\n    "))
        assert attribute.unit
        assert attribute.source
    assert set(AXES) <= set(ATTRIBUTES)


def test_values_are_ready_for_json():
    found = measure(song(track(SCALE), track(KIT, drums=True)))
    assert json.loads(json.dumps(found)) == found
    assert set(found) == set(ATTRIBUTES) - {"swing", "recurrence"}  # too few notes off the beat, and too few bars


def test_chords_count_every_note_for_density_and_one_moment_for_attacks():
    chords = [(step, 1, pitch) for step in range(4) for pitch in (60, 64, 67)]
    found = measure(song(track(chords)))
    assert found["density"] == 12
    assert found["attacks"] == 4
    assert found["density_per_second"] == pytest.approx(12 / 2)


def test_drums_are_heard_but_have_no_pitch():
    found = measure(song(track(SCALE), track(KIT, drums=True)))
    alone = measure(song(track(SCALE)))
    assert found["density"] == 2 * alone["density"]
    assert found["drums"] == 0.5
    assert alone["drums"] == 0
    for name in ("register", "pitch_range", "leaps", "sustain", "length", "mode", "polyphony", "syncopation"):
        assert found[name] == alone[name]


def test_register_range_and_leaps_of_a_line():
    found = measure(song(track(SCALE)))
    assert found["register"] == pytest.approx(np.mean([60, 62, 64, 65, 67, 69, 71, 72]))
    assert found["pitch_range"] == 12
    assert found["leaps"] == pytest.approx(12 / 7)


def test_notes_of_a_chord_are_no_leaps():
    chords = [(step + delay, 1, pitch) for step in range(4) for delay, pitch in ((0, 48), (0.01, 60), (0.02, 72))]
    assert measure(song(track(chords)))["leaps"] == 0


def test_accompaniment_under_a_held_note_is_not_the_top_line():
    melody, chords = [(0, 4, 76), (4, 4, 77)], [(step, 0.5, 48) for step in range(8)]
    assert measure(song(track(melody), track(chords, 25)))["leaps"] == 1


def test_a_legato_overlap_does_not_hide_the_next_lower_note():
    falling = [(step, 1.1, 72 - 2 * step) for step in range(8)]
    assert measure(song(track(falling)))["leaps"] == 2


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 1.5])
def test_sustain_is_length_against_the_gap(share):
    notes = [(step, share, 60 + step % 2) for step in range(8)]
    # The last note's gap ends with the passage.
    assert measure(song(track(notes)))["sustain"] == pytest.approx(share, abs=0.01)


def test_sustain_looks_at_each_track_for_itself():
    staccato, pad = [(step, 0.25, 72) for step in range(4)], [(0, 4, 48)]
    found = measure(song(track(staccato), track(pad, 48)))
    assert found["sustain"] == pytest.approx((4 * 0.25 + 1) / 5)


def test_a_long_rest_is_no_staccato():
    assert measure(song(track([(0, 2, 60), (12, 4, 60)])))["sustain"] == pytest.approx((0.5 + 1) / 2)


def test_tempo_is_quarters_per_minute_over_the_whole_passage():
    notes = track([(step, 1, 60 + step % 3) for step in range(8)])
    changing = song(notes, tempo=((0, 60), (4, 120)))
    assert measure(changing)["tempo"] == pytest.approx(80)
    assert measure(changing)["seconds"] == pytest.approx(6)
    assert measure(changing, 1, 2)["tempo"] == pytest.approx(120)


def test_without_tempo_and_metre_the_standard_ones_hold():
    found = measure(song(track(SCALE), tempo=(), metre=()))
    assert (found["tempo"], found["metre"], found["bars"]) == (120, "4/4", 2)


def test_metre_follows_its_changes():
    waltz = song(track([(step, 1, 60) for step in range(10)]), metre=((0, 4, 4), (4, 3, 4)))
    assert measure(waltz, 0, 1)["metre"] == "4/4"
    assert measure(waltz, 1, 3)["metre"] == "3/4"
    assert measure(waltz, 1, 3)["density"] == 3


def test_loudness_and_its_change():
    growing = track([(step, 1, 60, 40 + 10 * step) for step in range(8)])
    found = measure(song(growing))
    assert found["loudness"] == 75
    assert found["dynamics"] == pytest.approx(80)
    assert "dynamics" not in measure(song(growing), 0, 1)


def test_mode_and_key():
    major = measure(song(track([*SCALE, (0, 8, 48), (0, 8, 52), (0, 8, 55)])))
    minor = measure(song(track([(step, 1, pitch) for step, pitch in enumerate([57, 59, 60, 62, 64, 65, 68, 69])])))
    assert (major["key"], minor["key"]) == ("C major", "A minor")
    assert major["mode"] > 0 > minor["mode"]
    assert "mode" not in measure(song(track([(0, 1, 60), (1, 1, 67)])))


def test_polyphony_ignores_silence():
    assert measure(song(track([(0, 1, 60), (0, 1, 64), (3, 1, 60), (3, 1, 64)])))["polyphony"] == 2


def test_syncopation_is_a_note_held_over_the_beat():
    assert measure(song(track([(0, 1, 60), (1.5, 1, 60), (3, 1, 60), (3.5, 0.5, 60)])))["syncopation"] == 0.25


def test_syncopation_follows_the_beat_of_the_metre():
    eighths = [(0.5 * step, 0.5, 60) for step in range(12)]
    assert measure(song(track([*eighths, (1, 1, 64)]), metre=((0, 6, 8),)))["syncopation"] == pytest.approx(1 / 13)
    assert measure(song(track([*eighths, (1, 1, 64)]), metre=((0, 3, 4),)))["syncopation"] == 0
    assert measure(song(track([*eighths, (1.5, 1, 64)]), metre=((0, 6, 8),)))["syncopation"] == 0
    assert measure(song(track([*eighths, (1.5, 1, 64)]), metre=((0, 3, 4),)))["syncopation"] == pytest.approx(1 / 13)


@pytest.mark.parametrize(("metre", "quarters"), [("3/4", 3), ("6/8", 3), ("2/4", 2), ("4/4", 4)])
def test_tokens_have_the_bars_of_their_metre(metre, quarters):
    notes = [["i-0", "p-60", "d-12", "v-16"], ["i-0", "p-64", "d-12", "v-16", "p-62", "d-12", "v-16"]]
    bar = ["t-35", "o-0", *notes[0], "o-12", *notes[1], "b-1"]
    found = measure(bar * 4, metre=metre)
    assert found["metre"] == metre
    assert (found["bars"], found["density"]) == (4, 3)
    assert found["seconds"] == pytest.approx(4 * quarters * 60 / found["tempo"])
    assert measure(bar * 4, 1, 3, metre=metre)["bars"] == 2
    rows = by_bar(bar * 4, metre=metre)
    assert rows.shape == (4, len(AXES))
    # The last note of a bar fills it in 2/4; elsewhere there is a rest before the next one.
    assert rows[0, AXES.index("sustain")] == pytest.approx((1 + 2 / (quarters - 1)) / 3)


def test_instruments_come_with_the_busiest_first():
    found = measure(song(track(SCALE[:2], 40), track(SCALE, 0), track(KIT[:3], drums=True)))
    assert found["instruments"] == [0, 128, 40]


def test_proxies_stay_within_their_range_and_point_the_right_way():
    calm = measure(song(track([(step, 1, 60 + step, 30) for step in range(0, 8, 4)]), tempo=((0, 60),)))
    wild = measure(song(track([(step / 8, 0.1, 60 + step % 5, 120) for step in range(64)]), tempo=((0, 190),)))
    assert 0 <= calm["energy"] < 0.3
    assert 0.8 < wild["energy"] <= 1
    bright = measure(song(track([(onset, length, pitch + 12) for onset, length, pitch in SCALE]), tempo=((0, 180),)))
    low = track([(step, 1, pitch) for step, pitch in enumerate([45, 47, 48, 50, 52, 53, 56, 57])])
    dark = measure(song(low, tempo=((0, 60),)))
    assert 0 <= dark["valence"] < 0.4
    assert 0.8 < bright["valence"] <= 1


def test_what_cannot_be_measured_is_absent_not_zero():
    drums = measure(song(track(KIT, drums=True)))
    pitched = {"register", "pitch_range", "leaps", "sustain", "length", "mode", "key", "valence", "polyphony"}
    assert not pitched & set(drums)
    assert drums["drums"] == 1
    rest = measure(song(track([(0, 1, 60), (9, 1, 60)])), 1, 2)
    assert rest == {"bars": 1}
    assert measure(song(track([]))) == {"bars": 1}


def test_a_passage_holds_the_notes_that_begin_in_its_bars():
    midi = song(track([(0, 8, 60), (4, 1, 62), (8, 1, 64)]))
    assert measure(midi, 1, 2)["register"] == 62
    assert measure(midi, 1)["register"] == 63
    assert measure(midi, None, 1)["density"] == 1


@pytest.mark.parametrize("bars", [(0, 3), (2, 3), (1, 1), (-1, 1), (2, None)])
def test_bars_that_are_not_there(bars):
    with pytest.raises(InputError, match=r"first\.\.end with 0 <= first < end <= 2"):
        measure(song(track(SCALE)), *bars)


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(0, 127), st.integers(1, 127), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_whatever_the_notes_values_are_finite_and_shift_with_the_bars(rows):
    def made(shift):
        pitched, kit = (
            [(onset / 4 + shift, length / 4, *note) for onset, length, *note, drum in rows if drum == wanted]
            for wanted in (False, True)
        )
        return Song(song(track(pitched), track(kit, drums=True)))

    here, later = made(0), made(8)
    found = measure_passage(here.passage())
    assert all(math.isfinite(value) for value in found.values() if isinstance(value, float))
    moved = measure_passage(later.passage(2))
    assert moved.keys() == found.keys()
    for name, value in found.items():
        assert moved[name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)


def test_tokens_are_decoded_first(real_music):
    path = next(real_music.rglob("001.mid"))
    tokens = remi.encode(midi_files.read(path), "REMIGEN2")
    assert measure(tokens) == measure(remi.decode(tokens))


BARS = [
    *("t-30", "o-0", "i-0", "p-60", "d-12", "v-20", "b-1"),
    *("t-30", "b-1"),
    *("t-30", "o-0", "i-0", "p-72", "d-12", "v-20", "p-64", "d-12", "v-20", "b-1"),
]


def test_bars_are_measured_one_by_one_or_with_those_before_them():
    register, density = AXES.index("register"), AXES.index("density")
    one, three = by_bar(BARS), by_bar(BARS, span=3)
    assert one.shape == three.shape == (3, len(AXES))
    assert np.isnan(one[1]).all()
    assert one[:, register].tolist()[::2] == [60, 68]
    assert three[:, register].tolist() == [60, 60, pytest.approx(196 / 3)]
    assert three[:, density].tolist() == [1, 0.5, 1]


def test_bars_that_are_not_finished_are_not_measured():
    for more in range(1, 6):
        np.testing.assert_array_equal(by_bar([*BARS, *BARS[:more]]), by_bar(BARS))
    assert by_bar([]).shape == by_bar(BARS[:5]).shape == (0, len(AXES))


def test_bars_measured_one_by_one_are_what_passages_are(real_music):
    tokens = remi.encode(midi_files.read(next(real_music.rglob("001.mid"))), "REMIGEN2")
    read = Song(tokens)
    for bar, row in enumerate(by_bar(tokens, span=2)):
        found = measure(read, max(0, bar - 1), bar + 1)
        np.testing.assert_array_equal(row, [found.get(axis, np.nan) for axis in AXES])


def test_passages_of_a_song_hold_all_its_notes(real_music):
    for path in sorted(real_music.rglob("*.mid"))[:5]:
        read = Song(midi_files.read(path))
        cut = [read.passage(first, first + 1) for first in range(read.bars)]
        assert sum(map(len, cut)) == len(read.passage()) == len(read.notes)
        assert sum(passage.seconds for passage in cut) == pytest.approx(read.passage().seconds)


def test_swing_is_where_notes_off_the_beat_begin():
    straight = [(beat + part, 0.2, 60) for beat in range(16) for part in (0, 0.5)]
    swung = [(beat + part, 0.2, 60) for beat in range(16) for part in (0, 2 / 3)]
    assert measure(song(track(straight)))["swing"] == 0
    assert measure(song(track(swung)))["swing"] == 1
    assert measure(song(track(straight), track(swung, drums=True)))["swing"] == 0.5
    assert "swing" not in measure(song(track(swung[:20])))
    assert "swing" not in measure(song(track(straight), metre=((0, 6, 8),)))


def test_pentatonic_is_the_time_on_the_best_five_notes():
    five = [(step, 1, pitch) for step, pitch in enumerate([62, 64, 66, 69, 71])]  # D major pentatonic
    assert measure(song(track(five)))["pentatonic"] == pytest.approx(1)
    assert measure(song(track([*five, (5, 2.5, 65), (8, 2.5, 68)])))["pentatonic"] == pytest.approx(0.55)  # E major
    assert "pentatonic" not in measure(song(track([(0, 1, 60), (1, 1, 62)])))


def test_recurrence_is_how_like_earlier_bars_later_ones_are():
    bar = [60, 64, 67, 72]
    same = [(4 * index + step, 1, pitch) for index in range(6) for step, pitch in enumerate(bar)]
    assert measure(song(track(same)))["recurrence"] == 1
    half = [(at, long, pitch + (at // 4 if at % 4 > 1 else 0)) for at, long, pitch in same]
    assert measure(song(track(half)))["recurrence"] == pytest.approx(1 / 3)
    assert "recurrence" not in measure(song(track(same[:16])))
