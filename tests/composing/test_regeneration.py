"""Bars are composed for an existing piece, and all else in its file stays as it is."""

import argparse
import json
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from injection.models import bridge, museformer
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import cli, midi
from fairseq_meloformer.composing.command import Order, add_arguments
from fairseq_meloformer.composing.composer import Composer, summaries_of
from fairseq_meloformer.composing.harmony import chords_of
from fairseq_meloformer.composing.parts import understand
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.composing.regeneration import Infilling, Original
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.arrangement import Arrangement
from fairseq_meloformer.midi.events import EventFile
from fairseq_meloformer.midi.writing import written
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.prompts import Request, from_texts
from fairseq_meloformer.words.timeline import bar_range

SETTINGS = Settings(scope="plan", nfe=2, bar_tokens=12)
QUIET = ["--no-audio", "--no-picture", "--bridge-only"]


def notes(song, bars):
    """All there is to hear of the notes that begin in bars (counted from 1)."""
    bar = 4 * song.ticks_per_beat
    return sorted(
        (128 if track.is_drum else track.program, note.start, note.end, note.pitch, note.velocity)
        for track in song.instruments
        for note in track.notes
        if (note.start + bar // 96) // bar + 1 in bars
    )


def onsets(song, bars):
    """The same without the notes' ends."""
    return sorted((program, start, pitch, velocity) for program, start, _, pitch, velocity in notes(song, bars))


def tempi(song, bars):
    """Tempo at four places of each bar."""
    ticks = [int((bar - 1 + part) * 4 * song.ticks_per_beat) for bar in bars for part in (0, 0.25, 0.5, 0.75)]
    found = []
    for tick in ticks:
        before = [change.tempo for change in song.tempo_changes if change.time <= tick]
        found.append(round(before[-1], 3) if before else 120.0)
    return found


def song(bars=6, lead=0, ticks=220, shift=0):
    """A played song: no note on the grid, velocities of all kinds, held notes, two tempi in a bar, a resolution of its
    own."""
    rng, made = random.Random(3), MidiFile(ticks_per_beat=ticks)
    made.time_signature_changes = [TimeSignature(4, 4, 0)]
    made.tempo_changes = [
        TempoChange(61.0, 0),
        TempoChange(133.0, 4 * ticks * 3),
        TempoChange(90.0, 4 * ticks * 4 + 50),
    ]
    made.instruments = [Instrument(80, name="Lead"), Instrument(0, is_drum=True, name="Drums")]
    for beat in range(4 * lead, 4 * (lead + bars)):
        at = beat * ticks + rng.randint(0, 5)
        lead_note = Note(rng.randint(1, 127), shift + rng.choice((60, 62, 64, 65, 67, 69, 71)), at, at + 3 * ticks)
        made.instruments[0].notes.append(lead_note)
        made.instruments[1].notes.append(Note(rng.randint(1, 127), 36, at, at + 30))
    made.max_tick = (lead + bars + 1) * 4 * ticks
    return made


def arranged(song):
    return Arrangement.of(EventFile.of(written(song)))


@pytest.fixture(scope="module")
def composer():
    return Composer(museformer(), bridge())


@pytest.fixture(scope="module")
def piece(composer):
    return composer.compose([Request("rain", seed=1, bars=6, transposition=3)], SETTINGS)[0]


def sounding(song):
    return remi.bars(remi.encode(song, ignore_time_signature=True, instrument_order="six_tracks"))


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("span", [(3, 4), (1, 2), (6, 6), (1, 6)])
def test_tokens_and_notes_of_the_other_bars_are_the_same(span, shift, composer):
    piece = composer.compose([Request("rain", seed=1, bars=6, transposition=shift)], SETTINGS)[0]
    original = arranged(piece.midi)
    passage = Infilling.of(original, *span, shift=-shift)
    again = composer.recompose([Request("storm", seed=7, transposition=shift)], SETTINGS, passage)[0]
    others = set(range(1, 7)) - set(range(span[0], span[1] + 1))
    # In another key, a note at the very end of the keyboard is moved by an octave: what sounds is what is kept.
    before, after = sounding(original.song), sounding(again.midi)
    assert len(after) == 6
    changed = {bar + 1 for bar in range(6) if before[bar] != after[bar]}
    assert changed == set(range(1, 7)) - others
    assert notes(again.midi, others) == notes(original.song, others)
    assert tempi(again.midi, range(1, 7)) == tempi(original.song, range(1, 7))
    if not shift:
        assert [bar[0] for bar in after] == [bar[0] for bar in remi.bars(again.tokens)]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(scope="past", nfe=2, bar_tokens=12),
        Settings(scope="history", nfe=2, bar_tokens=12),
        Settings(injected=False, bar_tokens=12),
        Settings(scope="plan", nfe=2, bar_tokens=12, sampling=Sampling(logit_guidance=2.0)),
    ],
)
def test_every_way_of_composing_can_do_it_and_seeds_differ(settings, composer, piece):
    original = arranged(piece.midi)
    for programs in (None, [80, 0]):
        passage = Infilling.of(original, 3, 4, shift=-3, programs=programs)
        pieces = composer.recompose([Request("storm", seed=seed) for seed in (1, 2)], settings, passage)
        assert pieces[0].tokens != pieces[1].tokens
        for again in pieces:
            assert notes(again.midi, (1, 2, 5, 6)) == notes(original.song, (1, 2, 5, 6))


def test_without_injection_the_text_is_said_not_to_be_heard(composer, piece):
    passage = Infilling.of(arranged(piece.midi), 3, 4, shift=-3)
    settings = Settings(injected=False, bar_tokens=12)
    (again,) = composer.recompose([Request("storm, 90 bpm", seed=1)], settings, passage)
    assert (again.understood, [said.partition(" (")[0] for said in again.not_honoured]) == ([], ["the text"])


@pytest.fixture
def koto(tmp_path):
    """A piece whose guitar is a koto, as a file with its line of a manifest."""
    made = song()
    made.tempo_changes = made.tempo_changes[:1]
    made.instruments[0].program, made.instruments[0].name = 107, "Koto"
    midi.write(made, tmp_path / "koto.mid")
    row = {"transposition": 0, "full_system": {"players": {"Guitar": 107}}, "prompt": "koto, 61 bpm, C F G"}
    return Original(tmp_path / "koto.mid", row)


def test_who_plays_what_is_known_from_the_manifest(composer, koto):
    assert 25 not in Original(koto.path, None).arrangement.roles.values()
    assert set(koto.arrangement.roles.values()) == {25, 128}
    passage = Infilling.of(koto.arrangement, 3, 4, shift=0)
    again = composer.recompose([Request("storm", seed=1)], SETTINGS, passage)[0]
    assert {track.program for track in again.midi.instruments if not track.is_drum} == {107}
    assert notes(again.midi, (1, 2, 5, 6)) == notes(midi.read(koto.path), (1, 2, 5, 6))
    assert notes(again.midi, (3, 4)) != notes(midi.read(koto.path), (3, 4))
    assert again.about["players"] == {"Guitar": 107}


def test_new_bars_keep_what_the_piece_has_and_say_what_of_the_text_cannot_act(koto):
    passage = Infilling.of(koto.arrangement, 3, 4, shift=0)
    text = "flute, 120 bpm, in E major, 3/4, 16 bars, 30 seconds, C F G"
    ((part,),) = understand(None, [Request(text)])
    (kept,) = passage.kept(Request(text), [part])
    assert (kept.tempo, [bar[0].name for bar in kept.chords]) == (None, ["F", "G", "C"])  # C in bar 3
    said = [phrase.partition(" (")[0] for phrase in kept.unkept]
    assert said == ["chords G", "120 bpm", "E major", "3/4", "16 bars", "30 seconds", "flute"]
    ((own,),) = understand(None, [Request(str(koto.row["prompt"]))])
    (own,) = replace(passage, own=True).kept(Request(str(koto.row["prompt"])), [own])
    assert ([bar[0].name for bar in own.chords], own.unkept) == (["C", "F", "G"], ())
    ((same,),) = understand(None, [Request("koto, 61 bpm, in A minor, 4/4, 2 bars")])
    assert passage.kept(Request(""), [same])[0].unkept == ()


@pytest.mark.parametrize(
    ("of", "bars", "text", "heard", "left_out"),
    [
        (Infilling.of, (11, 14), "C Am F G", "C Am F G", ""),
        (Infilling.of, (11, 14), "1-2: C Am F G | 3-4: calm", "C Am - -", "F G (there are 2 bars"),
        (Infilling.of, (11, 14), "1-1: calm | 2-4: C Am F G", "- C Am F", "G (there are 3 bars"),
        (Infilling.of, (11, 14), "1-8: calm | 9-16: C Am F G", "F G C Am", ""),
        (Infilling.after, (4,), "1-2: C Am F G | 3-4: calm", "C Am - -", "F G (there are 2 bars"),
        (Infilling.after, (4,), "1-14: calm | 15-16: C Am F G", "F G C Am", ""),
        (Infilling.before, (2,), "1-16: C Am F G", "F G", ""),
    ],
)
def test_chords_of_a_timeline_are_counted_from_where_its_text_has_them(of, bars, text, heard, left_out):
    passage = of(arranged(song(bars=16)), *bars, shift=0)
    request = from_texts([text])[0].request(0, Request(""))
    whole = passage.in_whole(request)
    (parts,) = understand(None, [whole])
    kept = passage.kept(request, parts)
    assert kept == passage.kept(whole, parts)
    chords = [chords_of(kept, bar) for bar in range(passage.first - 1, passage.last)]
    assert " ".join(bar[0].name if bar else "-" for bar in chords) == heard
    said = [one for part in kept for one in part.unkept if one.startswith("chords")]
    assert said == ([f"chords {left_out} for them)"] if left_out else [])


@pytest.mark.parametrize("text", ["C Am F G", "1-2: C Am F G | 3-6: calm"])
def test_chords_of_the_pieces_own_text_lead_to_those_of_its_first_bar(text):
    passage = replace(Infilling.before(arranged(song()), 2, shift=0), own=True)
    request = from_texts([text])[0].request(0, Request(""))
    kept = passage.kept(request, understand(None, [passage.in_whole(request)])[0])
    assert [chords_of(kept, bar)[0].name for bar in range(4)] == ["F", "G", "C", "Am"]
    assert not any(part.unkept for part in kept)


def test_only_the_chosen_instruments_are_written(composer, piece):
    original = arranged(piece.midi)
    passage = Infilling.of(original, 2, 5, shift=-3, programs=[43, 128])
    again = composer.recompose([Request("storm", seed=3)], SETTINGS, passage)[0]
    new, old = notes(again.midi, range(2, 6)), notes(original.song, range(2, 6))
    assert [note for note in new if note[0] not in (43, 128)] == [note for note in old if note[0] not in (43, 128)]
    assert [note for note in new if note[0] in (43, 128)] != [note for note in old if note[0] in (43, 128)]
    # The model reads what it writes to: other kept notes, other new ones.
    alone = arranged(piece.midi)
    alone.song.instruments = [track for track in alone.song.instruments if track.is_drum or track.program == 43]
    passage = Infilling.of(alone, 2, 5, shift=-3, programs=[43, 128])
    other = composer.recompose([Request("storm", seed=3)], SETTINGS, passage)[0]
    assert notes(other.midi, range(2, 6)) != new


def test_the_plan_knows_the_bars_that_stay(composer, piece):
    passage = Infilling.of(arranged(piece.midi), 3, 4, shift=-3)
    real = summaries_of(composer.model, passage.tokens)
    planned = torch.full((2, 6, *real.shape[1:]), 9.0)
    held = passage.held(planned, real, 0)
    assert torch.equal(held[1, [0, 1, 4, 5]], real[[0, 1, 4, 5]])
    assert bool((held[:, 2:4] == 9).all())
    music = torch.cat([real[:1] * 0, real])  # one bar outside the music, as in "bosbar"
    outside = passage.held(torch.full((1, 7, *real.shape[1:]), 9.0), music, 1)
    assert torch.equal(outside[0, [0, 1, 2, 5, 6]], music[[0, 1, 2, 5, 6]])


@pytest.mark.parametrize("lead", [0, 2])
@pytest.mark.parametrize(("first", "last"), [(1, 4), (3, 4), (4, 4), (1, 1)])
def test_played_music_keeps_every_tick_and_tempo(lead, first, last, composer):
    original = arranged(song(lead=lead, shift=2))
    passage = Infilling.of(original, first, last)
    again = composer.recompose([Request("storm", seed=7)], SETTINGS, passage)[0].midi
    others = set(range(1, 7 + lead)) - set(range(first, last + 1))
    assert notes(again, others) == notes(original.song, others)
    assert notes(again, range(first, last + 1)) != notes(original.song, range(first, last + 1))
    assert tempi(again, range(1, 7 + lead)) == tempi(original.song, range(1, 7 + lead))
    assert again.ticks_per_beat == original.song.ticks_per_beat


def test_the_model_knows_the_tempi_of_the_bars(composer):
    passage = Infilling.of(arranged(song()), 3, 5)
    again = composer.recompose([Request("", seed=1)], SETTINGS, passage)[0]
    assert [bar[0] for bar in remi.bars(again.tokens)] == ["t-23", "t-23", "t-23", "t-37", "t-37", "t-30"]


def test_empty_bars_before_the_new_ones_are_let_pass(composer):
    original = song()
    bar = 4 * original.ticks_per_beat
    for track in original.instruments:
        track.notes = [note for note in track.notes if note.start // bar != 1]
    original = arranged(original)
    again = composer.recompose([Request("", seed=1)], SETTINGS, Infilling.of(original, 4, 5))[0].midi
    assert notes(again, (1, 2, 3, 6)) == notes(original.song, (1, 2, 3, 6))


@pytest.mark.parametrize("lead", [0, 1])
def test_bars_after_the_end_leave_the_piece_as_it_is(lead, composer):
    original = arranged(song(lead=lead))
    passage = Infilling.after(original, 3)
    assert (passage.first, passage.last, passage.total) == (7 + lead, 9 + lead, 9 + lead)
    again = composer.recompose([Request("storm", seed=7)], SETTINGS, passage)[0]
    mine = range(1, 7 + lead)
    assert notes(again.midi, mine) == notes(original.song, mine)
    assert tempi(again.midi, mine) == tempi(original.song, mine)
    assert all(notes(again.midi, [bar]) for bar in range(7 + lead, 10 + lead))
    # It ends slowly, or fast: what follows has the tempo of most bars.
    assert {round(tempo) for tempo in tempi(again.midi, range(7 + lead, 10 + lead))} == {61}
    assert len(remi.bars(again.tokens)) == 9


@pytest.mark.parametrize("lead", [0, 1])
def test_bars_before_the_beginning_move_the_piece_as_a_whole(lead, composer):
    original = arranged(song(lead=lead))
    passage = Infilling.before(original, 2)
    again = composer.recompose([Request("storm", seed=7)], SETTINGS, passage)[0]
    bar = 4 * original.song.ticks_per_beat
    moved = [(*note[:1], note[1] - 2 * bar, note[2] - 2 * bar, *note[3:]) for note in notes(again.midi, range(3, 10))]
    assert moved == notes(original.song, range(1, 8))
    assert tempi(again.midi, range(3, 9 + lead)) == tempi(original.song, range(1, 7 + lead))
    assert {round(tempo) for tempo in tempi(again.midi, (1, 2))} == {61}
    assert all(notes(again.midi, [bar]) for bar in (1, 2))
    assert len(remi.bars(again.tokens)) == 8 + lead


def test_timelines_are_for_the_piece_or_for_the_new_bars(piece):
    original = arranged(piece.midi)

    def sections(passage, text):
        (prompt,) = from_texts([text])
        return [(part.first, part.last) for part in passage.in_whole(prompt.request(0, Request(""))).sections]

    middle, after = Infilling.of(original, 3, 5), Infilling.after(original, 2)
    before = Infilling.before(original, 2)
    assert sections(middle, "1-2: rain | 3-6: sun") == [(1, 2), (3, 6)]
    assert sections(middle, "1-1: rain | 2-3: sun") == [(1, 3), (4, 6)]
    assert sections(after, "1-2: rain") == [(1, 8)]
    assert sections(after, "1-1: rain | 2-2: sun") == [(1, 7), (8, 8)]
    assert sections(after, "1-2: rain | 3-6: sun") == [(1, 2), (3, 8)]
    assert sections(before, "1-1: rain | 2-2: sun") == [(1, 1), (2, 8)]
    assert sections(before, "1-2: rain | 3-6: sun") == [(1, 4), (5, 8)]
    double = Infilling.after(original, 6)
    assert sections(double, "1-2: rain | 3-6: sun") == [(1, 8), (9, 12)]
    assert sections(replace(double, own=True), "1-2: rain | 3-6: sun") == [(1, 2), (3, 12)]
    with pytest.raises(InputError, match="all of its 8 bars"):
        sections(replace(after, own=True), "1-2: rain")
    with pytest.raises(InputError, match="all of its 6 bars, or the 3"):
        sections(middle, "1-5: rain")


def beyond(file, ticks=0):
    """Per track (tick, bytes) of the events that are no notes, so many ticks earlier, without what has no time."""
    return [
        [(event.tick - ticks, event.data) for event in track if event.data[0] >= 0xA0 and event.data[:2] != b"\xff\x03"]
        for track in file.tracks
    ]


def struck(file, ticks=0):
    """(player, start, end, pitch, velocity) of all notes, so many ticks earlier."""
    return Counter(
        (note.player, note.start - ticks, note.end - ticks, note.pitch, note.velocity) for note in file.notes
    )


CASES = {  # bars to compose, and where they begin and end in quarters
    "pedal-bends-lyrics": ("5-6", 16, 24),
    "programs-in-setup-track": ("5-6", 16, 24),
    "pickup-bar": ("2", 1, 5),
    "waltz": ("5-6", 12, 18),
    "metre-2-2": ("5-6", 16, 24),
    "metre-8-8": ("5-6", 16, 24),
    "metre-2-4": ("5-6", 8, 12),
    "last-bar-2-4": ("8-9", 28, 32),
    "track-length-too-long-last": ("5-6", 16, 24),
    "riff": ("5-6", 16, 24),
}


@pytest.mark.parametrize("tracks", [None, {80, 128}])
@pytest.mark.parametrize("name", CASES)
def test_files_from_elsewhere_change_in_the_notes_of_the_bars_alone(name, tracks, composer, shared):
    span, begin, end = CASES[name]
    file = EventFile.read(shared / "cases" / "midi" / f"{name}.mid")
    passage = Infilling.of(Arrangement.of(file), *bar_range(span), programs=tracks)
    again = composer.recompose([Request("calm piano", seed=3)], SETTINGS, passage)[0].file
    assert beyond(again)[: len(file.tracks)] == beyond(file)
    gone, come = (struck(file) - struck(again)), (struck(again) - struck(file))
    assert come
    tick = file.ticks_per_beat
    for player, start, *_ in gone + come:
        assert begin * tick <= start + tick // 24 < end * tick
        assert tracks is None or passage.arrangement.roles.get(player, player.program) in tracks


@pytest.mark.parametrize("name", ["pedal-bends-lyrics", "pickup-bar", "waltz", "metre-2-4"])
def test_bars_around_files_from_elsewhere(name, composer, shared):
    file = EventFile.read(shared / "cases" / "midi" / f"{name}.mid")
    arrangement = Arrangement.of(file)
    after = composer.recompose([Request("", seed=3)], SETTINGS, Infilling.after(arrangement, 2))[0].file
    assert beyond(after)[: len(file.tracks)] == beyond(file)
    assert not struck(file) - struck(after)
    quarters = {"waltz": 36, "pickup-bar": 33}.get(name, 32)
    new = struck(after) - struck(file)
    assert min(start for _, start, *_ in new) >= quarters * file.ticks_per_beat
    passage = Infilling.before(arrangement, 2)
    before = composer.recompose([Request("", seed=3)], SETTINGS, passage)[0].file
    moved = passage.arrangement.file.notes[0].start - file.notes[0].start
    length = {"waltz": 6, "pickup-bar": 8 + 3, "metre-2-4": 4}.get(name, 8)
    assert moved == length * file.ticks_per_beat
    assert not struck(file) - struck(before, moved)
    for old, new in zip(beyond(file), beyond(before, moved), strict=False):
        assert [event for event in new if event[0] >= 0] == old
    new = struck(before, moved) - struck(file)
    assert new
    assert max(start for _, start, *_ in new) < 0


def test_bars_after_a_short_last_one_say_their_metre(composer, shared):
    file = EventFile.read(shared / "cases" / "midi" / "last-bar-2-4.mid")
    short = file.edited([note for note in file.notes if note.start >= 30 * file.ticks_per_beat], {})
    passage = Infilling.after(Arrangement.of(short), 2)
    after = composer.recompose([Request("", seed=3)], SETTINGS, passage)[0].file
    metres = [(change.numerator, change.time // 480) for change in after.song.time_signature_changes]
    assert metres == [(4, 0), (2, 28), (4, 32)]
    assert min(start for _, start, *_ in struck(after) - struck(short)) // 480 >= 32


def test_parts_of_bars_are_read_as_they_are_where_they_can_be(shared):
    arrangement = Arrangement.of(EventFile.read(shared / "cases" / "midi" / "metre-2-4.mid"))
    assert (arrangement.metre, len(arrangement.lines)) == ("4/4", 17)
    assert Infilling.of(arrangement, 3, 4).arrangement.metre == "4/4"
    assert Infilling.of(arrangement, 4, 4).arrangement.metre == "2/4"
    assert Infilling.after(arrangement, 3).arrangement.metre == "2/4"


@pytest.mark.parametrize("span", [(0, 2), (3, 2), (5, 7)])
def test_bars_that_are_not_there_are_refused(span, piece):
    with pytest.raises(InputError, match=r"must be in 1\.\.6"):
        Infilling.of(arranged(piece.midi), *span)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    museformer(scope="plan").save_pretrained(folder / "museformer")
    bridge().save_pretrained(folder / "bridge")
    return ["--model", str(folder / "museformer"), "--bridge", str(folder / "bridge")]


def test_the_command_goes_on_from_a_piece_and_its_settings(models, tmp_path, capsys):
    def compose(*arguments):
        return cli.main(["compose", *map(str, arguments), *models, *QUIET])

    out, again, other = (tmp_path / name for name in ("out", "again", "other"))
    flags = ("--temperature", "0.7", "--nfe", "2", "--transpose", "2")
    assert compose("1-2: rain | 3-5: snow", "--output", out, *flags) == 0
    name = "1-2_rain_3-5_snow-0"
    assert compose("--from", out / name, "--regenerate", "3-4", "--seed", "5", "--output", again) == 0
    row = json.loads((again / "manifest.jsonl").read_text())
    assert (row["id"], row["prompt"]) == (f"{name}_3-4", "1-2: rain | 3-5: snow")
    assert (row["settings"]["sampling"]["temperature"], row["settings"]["nfe"]) == (0.7, 2)
    assert row["settings"]["regenerated"]["bars"] == [3, 4]
    first, second = midi.read(out / f"{name}.mid"), midi.read(again / row["files"]["midi"])
    # A note that rings into the new bars may be ended there by a new one of its pitch.
    assert onsets(first, (1, 2, 5)) == onsets(second, (1, 2, 5))
    assert notes(first, (3, 4)) != notes(second, (3, 4))
    assert tempi(first, (1, 2, 5)) == tempi(second, (1, 2, 5))
    # The new piece is as good a beginning as the first one, and its key is still known.
    assert Original.read(again / row["files"]["midi"]).shift == -2
    assert compose("sun", "--from", again / row["files"]["midi"], "--regenerate", "1", "--output", other) == 0
    third = midi.read(other / "sun-0.mid")
    assert onsets(third, range(2, 6)) == onsets(second, range(2, 6))

    (out / "manifest.jsonl").unlink()
    capsys.readouterr()
    assert compose("--from", out / name, "--regenerate", "3-4", "--output", tmp_path / "x") == 2
    assert "give a text for the new bars" in capsys.readouterr().err


def ordered(folder, name, *arguments, **settings):
    """What is made of a piece with these settings, and how."""
    midi.write(song(), folder / f"{name}.mid")
    row = {"files": {"midi": f"{name}.mid"}, "prompt": "calm", "settings": settings}
    (folder / "manifest.jsonl").write_text(json.dumps(row))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--output", "out", "--from", str(folder / name), "--regenerate", "3-4", *arguments])
    order = Order.of(args)
    return order, order.settings(args)


def test_a_pieces_own_values_hold_where_none_are_given(tmp_path):
    made = {"nfe": 3, "layers": [0], "strength": 0.5, "injected": False, "full_system": None}
    made["sampling"] = {"temperature": 0.7, "top_k": 5}
    _, same = ordered(tmp_path, "a", **made)
    assert same == Settings(Sampling(temperature=0.7, top_k=5), nfe=3, layers=(0,), strength=0.5)
    usual = ("--temperature", "1", "--top-k", "32", "--nfe", "10", "--inject-strength", "1", "--inject-layers", "1")
    _, given = ordered(tmp_path, "a", *usual, "--no-injection", **made)
    assert given == Settings(layers=(1,), injected=False)


def test_what_is_composed_for_a_file_of_a_long_name_can_be_saved(tmp_path):
    names = ["rain-0", "春" * 79, "春" * 78 + "夏"]
    ids = [ordered(tmp_path, name)[0].jobs[0][0].id for name in names]
    assert ids[0] == "rain-0_3-4"
    assert len(set(ids)) == 3
    assert all(len(name.encode()) <= 200 for name in ids)  # file systems allow 255, with all that is added
    assert all(name.startswith("春") and name.endswith("_3-4") for name in ids[1:])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["rain", "--from", ".", "--regenerate", "3-4"], "no file ."),
        (["rain", "--from", "/", "--regenerate", "3-4"], "no file /"),
        (["rain", "--regenerate", "3-4"], "goes together with one of"),
        (["rain", "--from", "x.mid"], "goes together with one of"),
        (["rain", "--from", "x.mid", "--regenerate", "3-4"], "no file x.mid"),
        (["rain", "--from", "song.mid", "--regenerate", "chorus"], "bars such as 9-16"),
        (["rain", "--from", "song.mid", "--regenerate", "3-9"], "must be in 1..6"),
        (["rain", "--from", "song.mid", "--regenerate", "3-4", "--bars", "8"], "keeps the piece's key"),
        (["1-4: rain", "--from", "song.mid", "--regenerate", "3-4"], "all of its 6 bars"),
        (["rain", "--from", "song.mid", "--regenerate", "3-4", "--continue", "2"], "goes together with one of"),
        (["rain", "--from", "song.mid", "--continue", "0"], "at least 1 bar"),
        (["rain", "--from", "song.mid", "--before", "-1"], "at least 1 bar"),
        (["rain", "--tracks", "lead"], "give --from"),
        (["rain", "--from", "song.mid", "--continue", "2", "--tracks", "lead,flute"], "received 'flute'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, reason, models, tmp_path, monkeypatch, capsys):
    midi.write(song(), tmp_path / "song.mid")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compose", "--output", "out", *arguments, *models, *QUIET]) == 2
    assert reason in capsys.readouterr().err
