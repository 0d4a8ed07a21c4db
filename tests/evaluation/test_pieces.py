"""Files of pieces as reports measure them: by the six instruments, in their own metre."""

import pytest
from injection.models import bridge, museformer

from fairseq_meloformer import cli, midi
from fairseq_meloformer.evaluation.pieces import by_six, with_players
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.midi.files import below
from fairseq_meloformer.midi.six_tracks import NAMES
from fairseq_meloformer.tokens import remi

BAR = "t-30 o-0 i-80 p-72 d-6 v-20 p-67 d-6 v-20 o-12 i-43 p-40 d-12 v-16 o-18 i-128 p-164 d-1 v-20 b-1"


def parts(song):
    """Notes of every program."""
    return {
        (track.program, track.is_drum): sorted((note.start, note.pitch, note.velocity) for note in track.notes)
        for track in song.instruments
    }


def test_whoever_plays_a_composed_piece_is_measured_as_the_one_replaced(tmp_path):
    museformer(scope="plan").save_pretrained(tmp_path / "model")
    bridge().save_pretrained(tmp_path / "bridge")
    models = ["--model", tmp_path / "model", "--bridge", tmp_path / "bridge", "--no-audio", "--no-picture"]
    asked = ["compose", "中国风", "--bars", "2", "--best-of", "1", "--output", tmp_path / "pieces", *models]
    assert cli.main(list(map(str, asked))) == 0
    ((path, players),) = with_players(below(tmp_path / "pieces"))
    played, measured = parts(midi.read(path)), parts(by_six(path, players))
    six = {program for program in NAMES if program < 128}
    others = {program for program, is_drum in played if not is_drum} - six
    assert others
    assert {program for program, is_drum in measured if not is_drum} <= six
    assert sorted(played.values()) == sorted(measured.values())


@pytest.mark.parametrize("metre", ["4/4", "3/4", "2/4", "6/8"])
def test_a_song_keeps_the_metre_that_it_has(metre, tmp_path):
    midi.write(remi.decode(BAR.split() * 6, metre), tmp_path / "song.mid")
    song = Song(by_six(tmp_path / "song.mid"))
    assert (song.bars, song.passage().metre) == (6, metre)
    assert next(with_players([tmp_path / "song.mid"]))[1] is None


def test_a_composed_piece_keeps_its_bars_though_all_of_it_lies_beside_the_beat(tmp_path):
    late = [token.replace("o-0", "o-1").replace("o-12", "o-13") for token in BAR.split()] * 4
    midi.write(remi.decode(late), tmp_path / "a-0.mid")
    (tmp_path / "manifest.jsonl").write_text('{"piece": "a-0"}\n')
    ((path, players),) = with_players(below(tmp_path))
    assert players == {}
    assert parts(by_six(path, players)) == parts(midi.read(path)) != parts(by_six(path))


def test_a_song_whose_file_says_but_its_beats_is_in_four_four(tmp_path):
    written = remi.decode(BAR.split() * 8)
    written.time_signature_changes[0].numerator = 1
    midi.write(written, tmp_path / "song.mid")
    assert Song(by_six(tmp_path / "song.mid")).passage().metre == "4/4"
