"""The full system keeps what is asked exactly, tilts the rest, and chooses; a piece does not depend on its batch."""

import dataclasses

import pytest
import torch
from injection.models import bridge, museformer

from fairseq_meloformer.composing.choosing import drone, extremes, nearest, shortfall, unlike
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.full_system import DecodingControl, _in_key, quantiles_of, shift_to
from fairseq_meloformer.composing.parts import Part, understand
from fairseq_meloformer.composing.piece import Piece, Settings
from fairseq_meloformer.composing.tilt import tilt
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES, measure
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.midi.general_midi import can_play, move_into_reach
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import PIANO, STRINGS
from fairseq_meloformer.tokens import remi, vocabulary
from fairseq_meloformer.words.chords import progression
from fairseq_meloformer.words.probe import Probe, ProbeConfig
from fairseq_meloformer.words.prompts import Request
from fairseq_meloformer.words.timeline import read_timeline
from fairseq_meloformer.words.wishes import Wishes, read

SETTINGS = Settings(nfe=2, bar_tokens=40)
QUANTILES = Quantiles.fit([dict.fromkeys(AXES, float(place)) for place in (-1, 0, 1)])


WORDS = {
    "loud": ("loudness", 1),
    "quiet": ("loudness", -1),
    "low": ("register", -1),
    "drumless": ("drums", -1),
    "fast": ("tempo", 0.5),
}


class Reader(Probe):
    """Reads "loud" and "low" and the like as they stand there."""

    def __init__(self):
        super().__init__(ProbeConfig(encoder="dummy:12", text_dim=12))

    def read(self, texts):
        values = torch.zeros(len(texts), len(AXES))
        for row, text in enumerate(texts):
            for word, (axis, value) in WORDS.items():
                if word in text:
                    values[row, AXES.index(axis)] = value
        return values


@pytest.fixture(scope="module")
def composer():
    return Composer(museformer(scope="plan"), bridge())


def system(composer, **means):
    return Composer(
        composer.model, composer.bridge, DecodingControl(Reader(), **{"quantiles": QUANTILES, "best_of": 1, **means})
    )


def test_tempo_key_and_instruments_are_kept_exactly(composer):
    requests = [
        Request("strings and piano at 92 bpm in F# minor", seed=1, bars=3),
        Request("每分钟150拍，drumless", seed=2, bars=3),
    ]
    first, second = system(composer).compose(requests, SETTINGS)
    assert measure(first.midi)["tempo"] == pytest.approx(92)
    assert measure(second.midi)["tempo"] == pytest.approx(150)
    assert [change.key_name for change in first.midi.key_signature_changes] == ["F#m"]
    assert set(measure(first.midi)["instruments"]) <= {PIANO, STRINGS}
    assert DRUMS not in measure(second.midi)["instruments"]
    assert measure(first.midi)["key"] in ("F# minor", "A major")  # the relative key where the piece is in major
    assert first.about["understood"][0]["key"] == "F# minor"
    assert first.request == requests[0]


@pytest.mark.parametrize("key", ["F# minor", "low, in B major", "Eb major"])
def test_a_piece_in_a_key_is_what_its_instruments_can_play(composer, key):
    requests = [Request(f"in {key}" if "in" not in key else key, seed=seed, bars=2) for seed in range(4)]
    for piece in system(composer, best_of=2).compose(requests, SETTINGS):
        assert can_play(piece.midi)
        moved = remi.decode(remi.transpose(piece.tokens, piece.about["moved_to_key"]))
        move_into_reach(moved)
        assert [track.notes for track in moved.instruments] == [track.notes for track in piece.midi.instruments]


def test_rather_than_stay_in_another_key_notes_are_moved_by_an_octave():
    tokens = [*bar(40, 48, 60, 55, program=25), *bar(84, 96, 91, 103)]  # as low, and as high, as can be played
    piece = Piece(Request(""), tokens, remi.decode(tokens))
    assert piece.attributes["key"] == "C major"
    midi, moved = _in_key(piece, "Ab major")
    pitches = {track.program: [note.pitch for note in track.notes] for track in midi.instruments}
    assert moved == -4
    assert pitches == {25: [48, 44, 56, 51], 0: [80, 92, 87, 99]}


@pytest.mark.parametrize(
    ("text", "pitches", "role", "program", "shift"),
    [
        ("flute in Ab major", (60, 64, 67, 72), 80, 73, 8),  # a flute cannot play what is 4 lower
        ("harp in C major", (36, 48, 60, 64), 25, 46, 0),  # a guitar could not play it
    ],
)
def test_a_piece_is_moved_to_where_those_who_play_it_can_play(text, pitches, role, program, shift):
    tokens = bar(*pitches, program=role) * 2
    midi, moved = _in_key(Piece(Request(text), tokens, remi.decode(tokens)), text.partition(" in ")[2])
    (track,) = midi.instruments
    assert (moved, track.program) == (shift, program)
    assert [note.pitch for note in track.notes] == [pitch + shift for pitch in pitches] * 2


@pytest.mark.parametrize(
    ("text", "asked", "moved", "said"),
    [
        ("in D minor", 2, 5, ["a transposition by +2 semitones (the piece is in D minor)"]),
        ("in D minor", 5, 5, []),
        ("in D minor", 0, 5, []),
        ("D G A", -3, 2, ["a transposition by -3 semitones (the piece is in D major)"]),
        ("rain", 2, 2, []),
    ],
)
def test_a_transposition_that_a_key_leaves_no_room_for_is_said(composer, text, asked, moved, said):
    request = Request(text, bars=3, transposition=asked)
    settled, (part,) = system(composer).control.settled(request, understand(None, [request])[0])
    assert (settled.transposition, list(part.unkept)) == (moved, said)


def test_the_tilt_moves_what_is_asked_and_nothing_moves_without_it(composer):
    def loudness(text, strength):
        requests = [Request(text, seed=seed, bars=2) for seed in range(4)]
        return (
            sum(
                measure(piece.midi)["loudness"]
                for piece in system(composer, strength=strength).compose(requests, SETTINGS)
            )
            / 4
        )

    assert loudness("loud", 3.0) > loudness("loud", 0.0) + 10
    assert 53 < loudness("quiet", 3.0) < loudness("loud", 3.0) - 10  # this model is near the far side of soft
    ((neither,),) = understand(None, [Request("neither")])
    control, book = system(composer).control, composer.vocabulary
    bias = control.bias(book, [[neither]], [2], ["4/4"])
    moved = {book.symbols[token][:2] for token in bias.tokens[0].any(0).nonzero()[:, 0].tolist()}
    assert moved == {"t-"}  # those that no song has
    assert not bias.leaps.any()


def test_drums_join_named_instruments_only_if_they_are_asked_for_plainly():
    named = read("piano")
    faint, plain = (Part(0, None, {"drums": value}, named) for value in (0.4, 0.9))
    assert faint.programs == faint.required == {PIANO}
    assert plain.programs == plain.required == {PIANO, DRUMS}
    assert Part(0, None, {"drums": 0.4}, Wishes()).required == {DRUMS}
    assert DRUMS not in Part(0, None, {"drums": -0.4}, Wishes()).programs
    quiet = Part(0, None, {"drums": -0.8}, read("piano and quiet drums"))
    assert quiet.programs == quiet.required == {PIANO, DRUMS}
    assert DRUMS not in Part(0, None, {"drums": -0.8}, read("no drums")).programs


def test_chords_sound_in_their_key_whatever_else_is_composed(composer):
    request = Request("piano and bass, D Bm | G A", seed=1, bars=4)
    piece = system(composer, best_of=2).compose([Request("rain", seed=2, bars=2), request], SETTINGS)[1]
    assert piece.tokens == system(composer, best_of=2).compose([request], SETTINGS)[0].tokens
    assert [change.key_name for change in piece.midi.key_signature_changes] == ["D"]
    wanted = [(chord,) for name in ("D", "Bm", "G", "A") for chord in progression(f"{name} D A").chords[:1]]
    bar = 4 * piece.midi.ticks_per_beat
    notes = [
        (track.name, note.pitch % 12, wanted[note.start // (bar // 2) % 4][0])
        for track in piece.midi.instruments
        for note in track.notes
    ]
    inside = [pitch in chord.pitch_classes for _, pitch, chord in notes]
    assert sum(inside) > 0.85 * len(inside)
    roots = [pitch == chord.root for name, pitch, chord in notes if "Bass" in name or name == "Contrabass"]
    assert sum(roots) > 0.85 * len(roots)
    assert roots
    assert piece.about["moved_to_key"] == 2


@pytest.mark.parametrize(
    ("text", "metre", "quarters"), [("a waltz", "3/4", 3), ("吉格舞曲", "6/8", 3), ("a polka", "2/4", 2)]
)
def test_a_metre_is_kept_in_every_bar_and_written(composer, text, metre, quarters):
    told = []
    request = Request(f"{text}, about 10 seconds", seed=1)
    quantiles = Quantiles({**QUANTILES.values, "tempo": [60.0, 100.0, 140.0]}, 3)
    made = system(composer, quantiles=quantiles).compose(
        [request, Request("rain", bars=2)], SETTINGS, on_bar=told.append
    )
    piece, written = made[0], made[0].midi.time_signature_changes
    assert (piece.metre, [f"{change.numerator}/{change.denominator}" for change in written]) == (metre, [metre])
    assert measure(piece.midi)["seconds"] == pytest.approx(10, rel=0.1)
    onsets = [int(token[2:]) for token in piece.tokens if token.startswith("o-")]
    assert max(onsets) < 12 * quarters
    last = [progress for progress in told if progress.piece == 0][-1]
    assert last.midi.instruments[0].notes == remi.decode(piece.tokens, metre).instruments[0].notes
    assert "an extrapolation" in " ".join(piece.understood)


def test_what_is_not_heard_or_kept_is_said(composer):
    request = Request("koto, 90 bpm, 2 bars, with lyrics", seed=1, bars=2)
    (plain,) = Composer(composer.model, composer.bridge).compose([request], SETTINGS)
    (full,) = system(composer).compose([request], SETTINGS)
    (deaf,) = Composer(composer.model, None).compose([request], dataclasses.replace(SETTINGS, injected=False))
    assert [said.partition(" (")[0] for said in full.not_honoured] == ["lyrics"]
    assert [said.partition(" (")[0] for said in plain.not_honoured] == ["lyrics", "90 bpm", "koto"]
    assert full.understood == plain.understood == ["2 bars", "90 bpm", "koto"]
    assert (deaf.understood, len(deaf.not_honoured)) == ([], 1)
    assert {track.program for track in full.midi.instruments if not track.is_drum} == {107}


def test_sections_have_their_own_tilt_and_tempo(composer):
    text = "1-3: quiet, at 60 bpm | 4-6: loud, at 180 bpm"
    request = Request(text, seed=1, bars=6, sections=read_timeline(text))
    piece = system(composer, strength=3.0).compose([request, Request("low", seed=2, bars=2)], SETTINGS)[0]
    early, late = measure(piece.midi, 0, 3), measure(piece.midi, 3, 6)
    assert early["tempo"] < 65
    assert late["tempo"] > 170
    assert early["loudness"] < late["loudness"]


def test_the_nearest_of_several_is_kept_whatever_is_composed_with_it(composer):
    quantiles = Quantiles.fit(
        [measure(p.midi) for p in composer.compose([Request("", seed=s, bars=2) for s in range(8)], SETTINGS)]
    )
    chooser = system(composer, quantiles=quantiles, strength=0, best_of=6)
    request = Request("loud", seed=3, bars=2)
    alone = chooser.compose([request], SETTINGS)[0]
    together = chooser.compose([Request("quiet", seed=4, bars=2), request], SETTINGS)[1]
    assert alone.tokens == together.tokens
    first = system(composer, strength=0).compose([request], SETTINGS)[0]
    assert measure(alone.midi)["loudness"] >= measure(first.midi)["loudness"]
    assert alone.request == request


def test_a_steady_tempo_is_the_default_and_can_be_let_go(composer):
    request = Request("rain", seed=1, bars=8)
    assert len({t for t in composer.compose([request], SETTINGS)[0].tokens if t.startswith("t-")}) == 1
    free = dataclasses.replace(SETTINGS, steady_tempo=False)
    assert len({t for t in composer.compose([request], free)[0].tokens if t.startswith("t-")}) > 1


def test_every_bar_of_a_tilted_piece_decodes(composer):
    piece = system(composer, strength=2.0).compose([Request("loud, low", seed=5, bars=3)], SETTINGS)[0]
    again = remi.encode(piece.midi, "REMIGEN2", ignore_time_signature=True, instrument_order="six_tracks")
    assert again == piece.tokens


@pytest.mark.parametrize(
    ("key", "found", "register", "shift"),
    [
        ("D minor", "A minor", 0, 5),
        ("D minor", "A minor", -1, -7),
        ("E minor", "A minor", 1, 7),
        ("E minor", "A minor", 0, -5),
        ("D minor", "C major", 0, 5),
        ("Eb major", "A minor", 0, 3),
        ("C major", "C major", 1, 0),
        ("C major", None, 0, 0),
    ],
)
def test_the_way_to_a_key(key, found, register, shift):
    assert shift_to(key, found, register) == shift


def test_more_than_asked_is_no_fault_and_silence_is_the_worst():
    assert shortfall(0.3, 0.9) == 0
    assert shortfall(-0.8, -0.9) == 0
    assert 0 < shortfall(0.8, 0.2) < shortfall(0.8, -0.5) < shortfall(0.8, None) == 1


def test_a_tilt_of_k_moves_a_normal_distribution_by_k_deviations():
    book = vocabulary.published()
    bias = tilt(book, {"tempo": 0.5})
    ids = book.range("t")
    number = torch.arange(float(len(ids)))
    logits = -((number - 24) ** 2) / (2 * 5.6**2)
    before, after = ((number * (logits + added).softmax(0)).sum() for added in (0, bias[ids.start : ids.stop]))
    assert float(after - before) == pytest.approx(0.5 * 5.6, rel=0.15)
    assert not bias[book.range("p").start : book.range("p").stop].any()


def test_what_is_on_the_wrong_side_of_loudness_loses_more():
    book = vocabulary.published()
    ids = book.range("v")
    for asked in (0.5, -0.5):
        steps = tilt(book, {"loudness": asked})[ids.start : ids.stop].diff().abs()
        wrong, right = (steps[20], steps[28]) if asked > 0 else (steps[28], steps[20])
        assert wrong > 2 * right > 0


def test_a_tilt_has_a_far_side():
    book = vocabulary.published()
    for asked, kind, best in (
        ({"loudness": -1.0}, "v", [15]),
        ({"loudness": 1.0}, "v", [31]),
        ({"register": 1.0}, "p", [72, 73, 74, 75, 76]),
        ({"register": -1.0}, "p", [37, 38, 39, 40]),
    ):
        ids = book.range(kind)
        moved = tilt(book, asked)[ids.start : ids.stop][:128]
        (likeliest,) = (moved > moved.max() - 1e-4).nonzero(as_tuple=True)
        assert likeliest.tolist() == best


def test_what_no_song_is_softer_than_is_far_however_little_is_tilted():
    book = vocabulary.published()
    ids = book.range("v")
    for asked in (-1.0, -0.1):
        moved = tilt(book, {"loudness": asked})[ids.start : ids.stop]
        assert moved[15] - moved[9] > 0.9  # a deviation


@pytest.mark.parametrize("text", ["rain", "30 bpm"])
def test_a_tempo_that_no_song_has_needs_words(composer, text):
    pieces = system(composer).compose([Request(text, seed=seed, bars=1) for seed in range(12)], SETTINGS)
    slow = [measure(piece.midi)["tempo"] < 47 for piece in pieces]
    assert slow == [text != "rain"] * 12


def test_levels_are_the_models_or_else_the_embedded_ones(tmp_path):
    assert set(quantiles_of(tmp_path / "checkpoint.pt").values) >= set(AXES)
    QUANTILES.save(tmp_path / "quantiles.json")
    assert quantiles_of(tmp_path).values == QUANTILES.values
    (tmp_path / "checkpoint.pt").touch()
    assert quantiles_of(tmp_path / "checkpoint.pt").values == QUANTILES.values


def bar(*pitches, program=0):
    notes = [f"o-{place * 6} i-{program} p-{pitch} d-5 v-20".split() for place, pitch in enumerate(pitches)]
    return ["t-30", *(token for note in notes for token in note), "b-1"]


def test_what_stays_on_a_note_is_a_drone_in_whatever_octave():
    melody, still = bar(60, 62, 64, 65, 67), bar(38, 50, 26, 38, 50)
    assert drone(Song(melody * 4)) == 0
    assert drone(Song(still * 4)) == pytest.approx(1)
    assert drone(Song(melody * 4 + still * 4)) == pytest.approx(0.5)
    assert 0 < drone(Song((still * 3 + bar(38, 50, 41, 45, 48)) * 2)) < 1
    assert drone(Song(bar(166, 166, program=128) * 4)) == 0


def test_of_two_candidates_that_are_equally_near_the_one_that_moves_is_kept():
    part = Part(0, None, {"register": -0.5}, Wishes())
    still, moving = (
        Piece(Request("low", bars=4), tokens, remi.decode(tokens))
        for tokens in (bar(38, 50, 26, 38) * 4, bar(36, 38, 41, 45) * 4)
    )
    assert nearest([still, moving], [part], QUANTILES) is nearest([moving, still], [part], QUANTILES) is moving


def test_music_that_goes_nowhere_and_music_that_only_repeats_are_unlike_music():
    phrase = bar(60, 64, 67, 72) + bar(59, 62, 65, 69) + bar(57, 60, 64, 71) + bar(55, 59, 62, 66)
    other = bar(72, 64, 60, 57) + bar(65, 69, 65, 62) + bar(64, 66, 64, 60) + bar(62, 59, 55, 50)
    song, loop = (
        phrase + other + phrase[: len(phrase) // 2] + other[len(other) // 2 :],
        bar(60, 64, 67, 71, 69, 65, 62) * 8,
    )
    wandering = [token for up in range(8) for token in bar(60 + up, 71 - up, 62 + 2 * up, 54 + up)]
    like, twice, never = (unlike(Song(tokens).passage()) for tokens in (song, loop, wandering))
    assert like < 0.1
    assert min(twice, never) > 0.5


def test_of_two_candidates_that_reach_what_is_asked_the_one_inside_the_corpus_is_kept():
    part = Part(0, None, {"register": 0.5}, Wishes())
    inside, beyond = (
        Piece(Request("high", bars=4), tokens, remi.decode(tokens))
        for tokens in (bar(60, 64, 67, 65) * 4, bar(84, 88, 91, 89) * 4)
    )
    assert extremes(measure(beyond.midi)) > extremes(measure(inside.midi))
    assert nearest([beyond, inside], [part], QUANTILES) is nearest([inside, beyond], [part], QUANTILES) is inside


def test_a_candidate_on_the_asked_side_is_kept_before_one_that_is_more_like_music():
    quantiles = Quantiles.fit([dict.fromkeys(AXES, float(place)) for place in (30, 60, 90)])
    steps = ((0, 4, 7, 12), (-1, 2, 5, 9), (-3, 0, 4, 11), (-5, -1, 2, 6)) * 2
    phrases = [token for four in steps for token in bar(*(50 + step for step in four))]
    loop = [*bar(66, 70, 73, 78), *bar(67, 70, 74, 75)] * 4
    low, high = (Piece(Request("", bars=8), tokens, remi.decode(tokens)) for tokens in (phrases, loop))
    sides = [quantiles.position("register", measure(piece.midi)["register"]) > 0 for piece in (low, high)]
    assert sides == [False, True]
    assert unlike(Song(low.midi).passage()) < unlike(Song(high.midi).passage()) - 0.2
    assert nearest([low, high], [Part(0, None, {"register": 0.2}, Wishes())], quantiles) is high
    assert nearest([low, high], [Part(0, None, {}, Wishes())], quantiles) is low


def test_of_two_candidates_that_are_equally_near_the_one_with_the_named_instruments_is_kept():
    part = Part(0, None, {}, read("flute and piano"))
    alone, both = (
        Piece(Request("", bars=4), tokens, remi.decode(tokens))
        for tokens in (bar(60, 62, 64, 65) * 4, [*bar(60, 62, 64, 65) * 3, *bar(60, 62, 64, 65, program=80)])
    )
    assert nearest([alone, both], [part], QUANTILES) is both


def test_of_several_candidates_the_one_in_the_asked_key_is_kept_or_else_one_of_its_mode():
    c, g, a_minor = (
        Piece(Request("", bars=4), tokens, remi.decode(tokens))
        for tokens in (bar(60, 64, 67, 72) * 4, bar(67, 71, 74, 79) * 4, bar(57, 60, 64, 69) * 4)
    )
    assert [measure(piece.midi)["key"] for piece in (c, g, a_minor)] == ["C major", "G major", "A minor"]
    kept = [
        nearest(pieces, [Part(0, None, {}, read(text))], QUANTILES)
        for text, pieces in (
            ("in C major", [a_minor, g, c]),
            ("in C major", [a_minor, g]),
            ("in A minor", [c, g, a_minor]),
        )
    ]
    assert kept == [c, g, a_minor]


@pytest.mark.parametrize("wrong", [{"best_of": 0}, {"best_of": 10**12}, {"strength": -1.0}])
def test_means_are_checked(wrong):
    with pytest.raises(InputError, match="needs 1 to 1000 candidates and a tilt of 0 to 10"):
        DecodingControl(Reader(), QUANTILES, **wrong)
