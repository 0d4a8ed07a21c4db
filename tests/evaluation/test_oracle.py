"""Real songs for the oracle: which one is followed, and where plans come from."""

import pytest
import torch
from injection.models import DIM, LAYERS, bridge, museformer

from fairseq_meloformer import midi
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation import oracle
from fairseq_meloformer.evaluation.oracle import RealSong
from fairseq_meloformer.measures.attributes import AXES, measure
from fairseq_meloformer.summaries.store import StoreHeader
from fairseq_meloformer.summaries.writer import StoreWriter
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.prompts import Request


def songs(count=41):
    """Songs that get faster and quieter one after the other."""
    values = [dict.fromkeys(AXES, 0.0) | {"tempo": 60.0 + n, "loudness": 100.0 - n} for n in range(count)]
    return [RealSong(str(n), 4 + n % 2 * 8, attributes) for n, attributes in enumerate(values)]


def test_a_song_lies_on_the_asked_side_of_every_axis_and_is_long_enough():
    asked = {"a": {"tempo": 1, "loudness": -1}, "b": {"tempo": -1}, "c": {"tempo": 1, "loudness": 1}}
    chosen = oracle.choose(asked, songs(), bars=8)
    assert set(chosen) == {"a", "b"}  # no song is fast and loud
    assert int(chosen["a"]) > 30
    assert int(chosen["b"]) < 10
    assert all(int(name) % 2 for name in chosen.values())
    assert chosen == oracle.choose(asked, songs(), bars=8)


def test_prompts_that_ask_for_the_same_do_not_all_follow_one_song():
    chosen = oracle.choose({str(n): {"tempo": 1} for n in range(20)}, songs(), bars=4)
    assert len(set(chosen.values())) > 2


def test_too_short_songs_are_refused():
    with pytest.raises(InputError, match="at least 64 bars"):
        oracle.choose({"a": {"tempo": 1}}, songs(), bars=64)


def test_plans_of_a_store_and_of_midi_files_agree(tmp_path):
    model = museformer(scope="plan")
    settings = Settings(nfe=2, bar_tokens=40, recall=False)  # with which no note of this one rings on after its bars
    piece = Composer(model, bridge()).compose([Request("rain", seed=1, bars=3)], settings)[0]
    midi.write(piece.midi, tmp_path / "songs" / "rain.mid")
    files = oracle.source(str(tmp_path / "songs"))
    (song,) = files.songs()
    assert (song.id, song.bars) == ("rain.mid", 3)
    plan = files.plan("rain.mid", model)
    assert plan.shape == (3, LAYERS, DIM)
    header = StoreHeader("model", "vocabulary", LAYERS, DIM)
    with StoreWriter(tmp_path / "store", "valid", header) as writer:
        writer.put("rain", plan, {"attributes": measure(piece.midi)})
        writer.put("unmeasured", plan, {})
    stored = oracle.source(str(tmp_path / "store"))
    assert [song.id for song in stored.songs()] == ["rain"]
    torch.testing.assert_close(stored.plan("rain", model), plan)
    with pytest.raises(InputError, match="3 layers"):
        stored.plan("rain", museformer(layers=3))
    with pytest.raises(InputError, match="is neither"):
        oracle.source(str(tmp_path / "nothing"))


def test_files_of_any_suffix_are_songs_and_it_is_said_that_there_are_too_many(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(oracle, "_MOST_FILES", 2)
    song = remi.decode(["t-30", "o-0", "i-80", "p-72", "d-6", "v-20", "b-1"] * 4)
    for name in ("a.MID", "b.midi", "c.mid"):
        midi.write(song, tmp_path / name)
    assert [song.id for song in oracle._Folder(tmp_path).songs()] == ["a.MID", "b.midi"]
    assert "has 3 MIDI files, of which the oracle takes the first 2" in capsys.readouterr().err


def test_plans_of_different_lengths_become_a_batch():
    values, mask = oracle.padded([torch.ones(5, 2, 3), torch.ones(2, 2, 3)], 4)
    assert values.shape == (2, 4, 2, 3)
    assert mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert not values[1, 2:].any()
