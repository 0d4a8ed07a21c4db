import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import midi
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.metre import LENGTHS, METRES, to_positions
from fairseq_meloformer.midi.notes import note_table
from fairseq_meloformer.midi.writing import playable
from fairseq_meloformer.tokens import remi, vocabulary
from fairseq_meloformer.tokens.codes import SHORTEST, WHOLE_TEMPI, duration_code, tempo_code

FORMS = {
    "remigen": {"method": "REMIGEN"},
    "remigen2": {"method": "REMIGEN2"},
    "remigen2_normalised_no_ts": {"method": "REMIGEN2", "normalise_pitch": True, "ignore_time_signature": True},
}

HELD_OVER = {"lmd_museformer/train/ceff4a888912ebe7eda71d806906f124.mid": ("i-5", "i-30")}
"""One note is held over a change of program: the reference gives it the program at its end, not at its beginning."""


def words(tokens):
    return tokens.split()


def song(*notes, program=0, ticks=480, metres=((4, 4, 0),), tempi=((120.0, 0),), drums=False):
    """A song of one track from (start, end, pitch, velocity) in ticks."""
    made = MidiFile(ticks_per_beat=ticks)
    made.time_signature_changes = [TimeSignature(*metre) for metre in metres]
    made.tempo_changes = [TempoChange(*tempo) for tempo in tempi]
    made.instruments = [Instrument(program, drums)]
    made.instruments[0].notes = [Note(velocity, pitch, start, end) for start, end, pitch, velocity in notes]
    return made


def test_sixteen_real_songs_encode_as_the_reference_does(shared, real_music):
    lines = (shared / "museformer" / "golden" / "midiprocessor_tokens.jsonl").read_text().splitlines()
    assert len(lines) == 16
    for line in lines:
        row = json.loads(line)
        read = midi.read(real_music / row["path"], [])
        for form, options in FORMS.items():
            tokens = remi.encode(read, **options)
            if row["path"] in HELD_OVER:
                ours, theirs = HELD_OVER[row["path"]]
                tokens[tokens.index(ours)] = theirs
            assert " ".join(tokens) == row[form], (row["path"], form)


def test_six_track_sample_encodes_as_the_reference_does(shared):
    folder = shared / "museformer" / "golden"
    read = midi.read(folder / "six_track_sample.mid")
    tokens = remi.encode(read, normalise_pitch=True, ignore_time_signature=True, instrument_order="six_tracks")
    assert tokens == (folder / "six_track_sample.remigen2.txt").read_text().split()
    assert len(vocabulary.published().ids(tokens)) == 9952


def test_real_songs_survive_tokens_and_the_file(shared, tmp_path):
    lines = (shared / "museformer" / "golden" / "midiprocessor_tokens.jsonl").read_text().splitlines()
    for line in lines[::4]:
        row = json.loads(line)
        for form in ("remigen", "remigen2"):
            tokens = row[form].split()
            decoded = remi.decode(tokens)
            assert remi.encode(decoded, **FORMS[form]) == tokens
            midi.write(decoded, tmp_path / "song.mid")
            assert remi.encode(midi.read(tmp_path / "song.mid"), **FORMS[form]) == remi.encode(
                playable(decoded), **FORMS[form]
            )


def test_a_file_differs_from_its_tokens_only_where_equal_pitches_overlap(tmp_path):
    apart = words("t-35 o-0 i-0 p-60 d-12 v-16 o-12 i-0 p-62 d-12 v-16 p-60 d-12 v-16 b-1")
    overlapping = words("t-35 o-0 i-0 p-60 d-24 v-16 o-12 i-0 p-62 d-12 v-16 p-60 d-12 v-16 b-1")
    for tokens in (apart, overlapping):
        midi.write(remi.decode(tokens), tmp_path / "song.mid")
        assert remi.encode(midi.read(tmp_path / "song.mid"), ignore_time_signature=True) == apart


def test_rounding_of_times_durations_velocities_and_tempi():
    # 480 ticks a quarter: 40 a position. 20 is half a position and goes to the even one, 60 likewise.
    made = song((20, 100, 60, 127), (60, 61, 62, 0), (60, 60 + 13 * 40 + 25, 64, 3), tempi=((15.0, 0), (300.0, 1920)))
    assert remi.encode(made) == (
        words("s-9 t-0 o-0 i-0 p-60 d-2 v-31 o-2 i-0 p-64 d-12 v-0 p-62 d-0 v-0 b-1")
    )  # fmt: skip
    assert remi.encode(song((1920, 1960, 60, 64), tempi=((15.0, 0), (300.0, 1920)))) == words(
        "s-9 t-48 o-0 i-0 p-60 d-1 v-16 b-1"
    )


def test_duration_codes_are_floors_of_their_spans():
    assert duration_code(np.array([0, 11, 12, 13, 14, 35, 36, 39, 40, 3058, 3059, 99999])).tolist() == [
        0, 11, 12, 12, 13, 23, 24, 24, 25, 95, 95, 95,
    ]  # fmt: skip
    assert (duration_code(SHORTEST) == np.arange(96)).all()


def test_tempi_are_decoded_to_whole_numbers_of_the_same_code():
    assert (tempo_code(WHOLE_TEMPI) == np.arange(49)).all()
    (change,) = remi.decode(words("t-35 o-0 i-0 p-60 d-12 v-16 b-1")).tempo_changes
    assert change.tempo == 121


def test_tempo_stands_at_bars_or_at_onsets():
    made = song((0, 480, 60, 64), (960, 1440, 62, 64), (3840, 4320, 64, 64), tempi=((120.0, 0), (60.0, 900)))
    bars = [
        "s-9 t-35 o-0 i-0 p-60 d-12 v-16 o-24 i-0 p-62 d-12 v-16 b-1",
        "s-9 t-23 b-1",
        "s-9 t-23 o-0 i-0 p-64 d-12 v-16 b-1",
    ]
    assert " ".join(remi.encode(made)) == " ".join(bars)
    general = (
        "s-9 o-0 t-35 i-0 p-60 d-12 v-16 o-24 t-23 i-0 p-62 d-12 v-16 b-1 s-9 b-1 s-9 o-0 t-23 i-0 p-64 d-12 v-16 b-1"
    )
    assert " ".join(remi.encode(made, method="REMIGEN")) == general


def test_metres_change_at_bar_lines_and_inside_bars():
    def signatures(*metres, last):
        tokens = remi.encode(song((0, 40, 60, 64), (last, last + 40, 60, 64), metres=metres))
        return [METRES[int(token[2:])] for token in tokens if token.startswith("s-")]

    assert signatures((3, 4, 0), (6, 8, 1440), last=2880) == [(3, 4), (6, 8), (6, 8)]
    # A bar cut after two quarters is a bar of 2/4 ...
    assert signatures((4, 4, 0), (3, 4, 2880), last=2880) == [(4, 4), (2, 4), (3, 4)]
    # ... one cut after five positions has no metre: it is completed, and the change comes late.
    assert signatures((4, 4, 0), (3, 4, 1920 + 200), last=3840) == [(4, 4), (4, 4), (3, 4)]
    # A few ticks beside the bar line is the bar line, and a repeated time signature changes nothing.
    assert signatures((4, 4, 0), (3, 4, 1925), last=1920) == [(4, 4), (3, 4)]
    assert signatures((4, 4, 0), (4, 4, 480), last=1920) == [(4, 4), (4, 4)]
    with pytest.raises(InputError, match="at quarter 2 it is 9/4"):
        signatures((4, 4, 0), (9, 4, 960), last=1920)


@pytest.mark.parametrize(
    ("classes", "semitones"),
    [
        ([0, 2, 4, 5, 7, 9, 11, 0], 0),  # C major
        ([9, 11, 0, 2, 4, 5, 7, 9], 0),  # A minor
        ([7, 9, 11, 0, 2, 4, 6, 7], -7),  # G major goes down ...
        ([0, 2, 3, 5, 7, 8, 10, 0], 9),  # ... C minor goes up to A minor
        ([10, 0, 2, 3, 5, 7, 9, 10], -10),  # B flat major
    ],
)
def test_key_is_found_from_the_scale_and_its_tonic(classes, semitones):
    made = song(*((240 * place, 240 * place + 200, 60 + pitch, 64) for place, pitch in enumerate(classes)))
    assert remi.transposition(made) == semitones
    plain, normalised = remi.encode(made), remi.encode(made, normalise_pitch=True)
    assert remi.transpose(plain, semitones) == normalised
    assert remi.transpose(normalised, -semitones) == plain


def test_drums_are_neither_transposed_nor_asked_for_the_key():
    made = song((0, 40, 36, 64), (480, 520, 42, 64), drums=True)
    assert remi.transposition(made) == 0
    tokens = remi.encode(made)
    assert tokens == words("s-9 t-35 o-0 i-128 p-164 d-1 v-16 o-12 i-128 p-170 d-1 v-16 b-1")
    assert remi.transpose(tokens, 5) == tokens


def test_transposing_folds_octaves_at_the_edges_and_keeps_the_order():
    chord = words("t-35 o-0 i-0 p-126 d-1 v-1 p-120 d-2 v-2 p-3 d-3 v-3 b-1")
    assert remi.transpose(chord, 5) == words("t-35 o-0 i-0 p-125 d-2 v-2 p-119 d-1 v-1 p-8 d-3 v-3 b-1")
    assert remi.transpose(chord, -5) == words("t-35 o-0 i-0 p-121 d-1 v-1 p-115 d-2 v-2 p-10 d-3 v-3 b-1")
    assert remi.transpose(chord[:4], 1) == words("t-35 o-0 i-0 p-127")
    with pytest.raises(InputError, match="token 1 is 'x-1'"):
        remi.transpose(words("t-1 x-1"), 1)


def test_instruments_follow_the_chosen_order():
    made = song((0, 480, 60, 64))
    for program in (48, 25, 43, 32, 80, 127, 1):
        made.instruments += song((0, 480, 60, 64), program=program).instruments
    made.instruments += song((0, 480, 60, 64), drums=True).instruments

    def order(name):
        return [int(token[2:]) for token in remi.encode(made, instrument_order=name) if token.startswith("i-")]

    assert order("id") == [0, 1, 25, 32, 43, 48, 80, 127, 128]
    assert order("six_tracks") == [80, 128, 32, 43, 25, 0, 48, 1, 127]


def test_bars_are_cut_after_their_ends():
    assert remi.bars(words("t-1 b-1 t-2 o-0")) == [words("t-1 b-1"), words("t-2 o-0")]
    assert remi.bars(words("t-1 b-1")) == [words("t-1 b-1")]
    assert remi.bars([]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "REMI"}, "REMIGEN or REMIGEN2, but is 'REMI'"),
        ({"instrument_order": "pitch"}, "id or six_tracks, but is 'pitch'"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        remi.encode(song((0, 1, 60, 64)), **options)


def test_songs_that_cannot_be_encoded_are_refused():
    with pytest.raises(InputError, match="at least one note"):
        remi.encode(song())
    with pytest.raises(InputError, match="one metre, but begins in 3/4 and has a bar of 4/4 at quarter 3"):
        remi.encode(
            song((0, 40, 60, 64), (1440, 1480, 60, 64), metres=((3, 4, 0), (4, 4, 1440))), ignore_time_signature=True
        )
    with pytest.raises(InputError, match=r"pitch of every note must be in 0\.\.127, but one is 128"):
        remi.encode(song((0, 40, 128, 64)))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("", "must end with b-1, but ends with 'nothing'"),
        ("t-1 o-0", "must end with b-1, but ends with 'o-0'"),
        ("t-1 </s> b-1", "token 1 is '</s>'"),
        ("t-1 o-200 b-1", "token 1 is 'o-200'"),
        ("t-1 o-٣ b-1", "token 1 is 'o-٣'"),
        ("t-49 b-1", "token 0 is 't-49'"),
        ("t-1 b-0 b-1", r"Token 1 \(b-0, in bar 0\) must be o-\* or b-1 after t-1"),
        ("t-1 b-1 i-0 b-1", r"Token 2 \(i-0, in bar 1\) must be s-\* or t-\* or o-\* or b-1 at the beginning of a bar"),
        ("t-1 o-3 i-0 p-60 v-2 d-2 b-1", r"Token 4 \(v-2, in bar 0\) must be d-\* after p-60"),
        ("t-1 o-3 b-1", r"Token 2 \(b-1, in bar 0\) must be t-\* or i-\* after o-3"),
        ("t-1 o-48 i-0 p-60 d-2 v-2 b-1", r"Token 1 \(o-48, in bar 0\).*a bar of 4/4 must have onsets below 48"),
        ("s-8 t-1 o-36 i-0 p-60 d-2 v-2 b-1", "a bar of 3/4 must have onsets below 36"),
        ("t-1 o-3 i-128 p-60 d-2 v-2 b-1", r"instrument 128 must have pitches in 128\.\.255"),
        ("t-1 o-3 i-0 p-160 d-2 v-2 b-1", r"instrument 0 must have pitches in 0\.\.127"),
    ],
)
def test_bad_tokens_are_named(tokens, message):
    with pytest.raises(InputError, match=message):
        remi.decode(tokens.split())


def test_decoded_song_is_ready_for_players():
    decoded = remi.decode(words("s-8 t-23 o-12 i-128 p-164 d-0 v-10 i-80 p-60 d-27 v-0 b-1 t-35 b-1"))
    assert decoded.ticks_per_beat == 480
    assert [(change.numerator, change.denominator, change.time) for change in decoded.time_signature_changes] == [
        (3, 4, 0)
    ]
    assert [(round(change.tempo), change.time) for change in decoded.tempo_changes] == [(60, 0), (121, 1440)]
    assert [(track.program, track.is_drum, track.name) for track in decoded.instruments] == [
        (80, False, "Lead"), (0, True, "Drums"),
    ]  # fmt: skip
    assert decoded.instruments[0].notes == [Note(2, 60, 480, 480 + 1920)]
    assert decoded.instruments[1].notes == [Note(42, 36, 480, 490)]
    assert decoded.max_tick > 2880


@pytest.mark.parametrize(("metre", "positions"), [("3/4", 36), ("6/8", 36), ("2/4", 24), ("2/2", 48), ("5/4", 60)])
def test_bars_of_the_song_s_metre_end_where_it_says(metre, positions):
    bar = positions * 40
    signature = tuple(map(int, metre.split("/")))
    made = song(*((bar * place, bar * place + bar, 60, 64) for place in range(3)), metres=((*signature, 0),))
    tokens = remi.encode(made, ignore_time_signature=True)
    assert tokens == 3 * words(f"t-35 o-0 i-0 p-60 d-{duration_code(np.array([positions]))[0]} v-16 b-1")
    decoded = remi.decode(tokens, metre)
    assert midi.bar_lines(decoded).tolist() == [positions / 12 * place for place in range(4)]
    assert [(change.numerator, change.denominator) for change in decoded.time_signature_changes] == [signature]
    assert remi.encode(decoded, ignore_time_signature=True) == tokens
    with pytest.raises(InputError, match=f"a bar of {metre} must have onsets below {positions}"):
        remi.decode(words(f"t-1 o-{positions} i-0 p-60 d-1 v-1 b-1"), metre)


def test_metres_that_are_none_are_refused():
    for metre in ("waltz", "3", "3/5", "33/4", "-3/4"):
        with pytest.raises(InputError, match=f"n/d .* but is '{metre}'"):
            remi.decode(words("t-1 b-1"), metre)


@st.composite
def canonical(draw, method, signatures):
    """Tokens as `encode` makes them: ascending positions and programs, notes from high to low, no empty ends."""
    bars = draw(st.integers(1, 4))
    tokens = []
    for bar in range(bars):
        metre = draw(st.sampled_from([9, 8, 7, 18, 2, 13, 35])) if signatures else 9
        length = int(LENGTHS[metre])
        tokens += [f"s-{metre}"] if signatures else []
        tempo = draw(st.integers(0, 48))
        tokens += [f"t-{tempo}"] if method == "REMIGEN2" else []
        least = 1 if bar in {0, bars - 1} else 0
        for position in sorted(draw(st.sets(st.integers(0, length - 1), min_size=least, max_size=4))):
            tokens += [f"o-{position}"]
            tokens += [f"t-{draw(st.integers(0, 48))}"] if method == "REMIGEN" else []
            for program in sorted(draw(st.sets(st.sampled_from([0, 25, 43, 128, 7]), min_size=1, max_size=3))):
                low = 128 if program == 128 else 0
                note = st.tuples(st.integers(low, low + 127), st.integers(0, 95), st.integers(0, 31))
                tokens += [f"i-{program}"]
                for pitch, duration, velocity in sorted(draw(st.lists(note, min_size=1, max_size=3)), reverse=True):
                    tokens += [f"p-{pitch}", f"d-{duration}", f"v-{velocity}"]
        tokens += ["b-1"]
    return tokens


@pytest.mark.parametrize("method", ["REMIGEN", "REMIGEN2"])
@pytest.mark.parametrize("signatures", [True, False])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_canonical_tokens_round_trip(method, signatures, data):
    tokens = data.draw(canonical(method, signatures))
    assert remi.encode(remi.decode(tokens), method=method, ignore_time_signature=not signatures) == tokens


@given(metres=st.lists(st.integers(0, 253), min_size=1, max_size=6), last=st.data())
@settings(max_examples=100, deadline=None)
def test_bars_of_every_metre_round_trip(metres, last):
    tokens: list[str] = []
    begin = 0.0
    for metre in metres:
        places = int(LENGTHS[metre]) - (begin % 1 > 0)  # a bar that begins between two places of the grid has one fewer
        note = [f"o-{last.draw(st.integers(0, places - 1))}", "i-0", "p-60", "d-1", "v-9"] if places > 0 else []
        begin += LENGTHS[metre]
        tokens += [f"s-{metre}", "t-35", *note, "b-1"]
    bars = remi.bars(tokens)
    while bars and len(bars[0]) == 3:
        bars.pop(0)
    while bars and len(bars[-1]) == 3:
        bars.pop()
    if bars:
        assert remi.bars(remi.encode(remi.decode(tokens))) == bars


@given(
    notes=st.lists(
        st.tuples(st.integers(0, 20_000), st.integers(0, 4_000), st.integers(0, 127), st.integers(1, 127)),
        min_size=1, max_size=30,
    ),
    ticks=st.sampled_from([24, 96, 120, 192, 384, 480, 1024]),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_every_note_is_kept_up_to_the_grid(notes, ticks):
    made = song(*((start, start + length, pitch, velocity) for start, length, pitch, velocity in notes), ticks=ticks)
    kept, there = (_on_the_grid(one) for one in (remi.decode(remi.encode(made)), made))
    shift = min(there)[0] // 48 * 48  # the empty bars before the first note go
    assert kept == sorted((onset - shift, pitch, velocity) for onset, pitch, velocity in there)


def _on_the_grid(made):
    start, _, pitch, velocity, *_ = note_table(made)
    return sorted(zip(to_positions(start, made.ticks_per_beat).tolist(), pitch, velocity // 4, strict=True))


@given(st.lists(st.sampled_from([*vocabulary.general().symbols, "", "p60", "b-2"]), max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_tokens_decode_or_are_refused(tokens):
    with contextlib.suppress(InputError):
        assert remi.decode(tokens).instruments is not None
