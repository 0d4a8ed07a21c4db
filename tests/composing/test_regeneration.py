"""Bars are composed anew, and every other note, tempo and token stays where it is."""

import json
import random

import pytest
import torch
from injection.models import bridge, museformer
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import cli, midi
from fairseq_meloformer.composing.composer import Composer, summaries_of
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.composing.regeneration import Infilling, Original
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.prompts import Request

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
    passage = Infilling.of(piece.midi, *span, shift=-shift)
    again = composer.recompose([Request("storm", seed=7, transposition=shift)], SETTINGS, passage)[0]
    others = set(range(1, 7)) - set(range(span[0], span[1] + 1))
    # In another key, a note at the very end of the keyboard is moved by an octave: what sounds is what is kept.
    before, after = sounding(piece.midi), sounding(again.midi)
    assert len(after) == 6
    assert {bar + 1 for bar in range(6) if before[bar] == after[bar]} == others
    assert notes(again.midi, others) == notes(piece.midi, others)
    assert tempi(again.midi, others) == tempi(piece.midi, others)
    if not shift:
        assert passage.tokens == piece.tokens
        assert [token for bar in after for token in bar] == again.tokens


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
    passage = Infilling.of(piece.midi, 3, 4, shift=-3)
    pieces = composer.recompose([Request("storm", seed=seed) for seed in (1, 2)], settings, passage)
    assert pieces[0].tokens != pieces[1].tokens
    for again in pieces:
        assert notes(again.midi, (1, 2, 5, 6)) == notes(piece.midi, (1, 2, 5, 6))


def test_the_plan_knows_the_bars_that_stay(composer, piece):
    passage = Infilling.of(piece.midi, 3, 4, shift=-3)
    real = summaries_of(composer.model, piece.tokens)
    planned = torch.full((2, 6, *real.shape[1:]), 9.0)
    held = passage.held(planned, real, 0)
    assert torch.equal(held[1, [0, 1, 4, 5]], real[[0, 1, 4, 5]])
    assert bool((held[:, 2:4] == 9).all())
    music = torch.cat([real[:1] * 0, real])  # one bar outside the music, as in "bosbar"
    outside = passage.held(torch.full((1, 7, *real.shape[1:]), 9.0), music, 1)
    assert torch.equal(outside[0, [0, 1, 2, 5, 6]], music[[0, 1, 2, 5, 6]])


@pytest.mark.parametrize("lead", [0, 2])
@pytest.mark.parametrize("first", [1, 3, 4])
def test_played_music_keeps_every_tick_and_its_own_tempi(lead, first, composer):
    original = song(lead=lead, shift=2)
    passage = Infilling.of(original, first, 4, new_tempo=True)
    again = composer.recompose([Request("storm", seed=7)], SETTINGS, passage)[0].midi
    others = set(range(1, 7 + lead)) - set(range(first, 5))
    assert notes(again, others) == notes(original, others)
    assert notes(again, range(first, 5)) != notes(original, range(first, 5))
    # The passage's tempi end with it; and a song whose first bar is in it begins with the passage's own.
    assert tempi(again, others) == tempi(original, others)
    assert again.ticks_per_beat == original.ticks_per_beat


def test_empty_bars_before_the_new_ones_are_let_pass(composer):
    original = song()
    bar = 4 * original.ticks_per_beat
    for track in original.instruments:
        track.notes = [note for note in track.notes if note.start // bar != 1]
    again = composer.recompose([Request("", seed=1)], SETTINGS, Infilling.of(original, 4, 5))[0].midi
    assert notes(again, (1, 2, 3, 6)) == notes(original, (1, 2, 3, 6))


def test_the_tempo_is_kept_unless_a_new_text_may_change_it(composer):
    original = song()
    kept = composer.recompose([Request("", seed=1)], SETTINGS, Infilling.of(original, 2, 3))[0].midi
    assert {round(tempo) for tempo in tempi(kept, (2, 3))} == {60}  # 61 qpm on the model's scale
    free = Infilling.of(original, 2, 3, new_tempo=True)
    found = {tempi(composer.recompose([Request("", seed=s)], SETTINGS, free)[0].midi, (2,))[0] for s in range(3)}
    assert len(found) > 1


@pytest.mark.parametrize("span", [(0, 2), (3, 2), (5, 7)])
def test_bars_that_are_not_there_are_refused(span, piece):
    with pytest.raises(InputError, match=r"must be in 1\.\.6"):
        Infilling.of(piece.midi, *span)


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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["rain", "--regenerate", "3-4"], "go together"),
        (["rain", "--from", "x.mid"], "go together"),
        (["rain", "--from", "x.mid", "--regenerate", "3-4"], "no file x.mid"),
        (["rain", "--from", "song.mid", "--regenerate", "chorus"], "bars such as 9-16"),
        (["rain", "--from", "song.mid", "--regenerate", "3-9"], "must be in 1..6"),
        (["rain", "--from", "song.mid", "--regenerate", "3-4", "--bars", "8"], "keeps length and key"),
        (["1-4: rain", "--from", "song.mid", "--regenerate", "3-4"], "all of its 6 bars"),
    ],
)
def test_what_cannot_be_is_refused(arguments, reason, models, tmp_path, monkeypatch, capsys):
    midi.write(song(), tmp_path / "song.mid")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compose", "--output", "out", *arguments, *models, *QUIET]) == 2
    assert reason in capsys.readouterr().err
