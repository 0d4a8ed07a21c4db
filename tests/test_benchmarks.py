"""The benchmarks run, and what they are compared with is the same model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from miditoolkit import Instrument, MidiFile, Note

from benchmarks import __main__ as command
from benchmarks import dense as by_mask
from benchmarks.dense import dense
from benchmarks.material import full_size, song, tokens_of
from benchmarks.measure import Options
from fairseq_meloformer import midi

ROOT = Path(__file__).resolve().parents[1]


def test_a_quick_run_writes_its_results(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "streams", "--output", tmp_path]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "single stream" in done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["results"]["streams"]
    assert all(row["ours"]["low"] <= row["ours"]["median"] <= row["ours"]["high"] for row in rows)
    assert all(row["ratio"] > 0 for row in rows)


def test_dense_attention_is_the_same_model():
    model = full_size(Options(True, None, None, ROOT, ROOT)).double()
    tokens = song(900)[None]
    with torch.no_grad():
        sparse = model(tokens)
        with dense({}):
            torch.testing.assert_close(model(tokens), sparse, atol=1e-11, rtol=0)
        assert model(tokens).equal(sparse)


def test_masks_of_a_song_are_made_once_for_all_repeats(monkeypatch):
    model, made, make = full_size(Options(True, None, None, ROOT, ROOT)), [], by_mask._mask
    monkeypatch.setattr(by_mask, "_mask", lambda *args: made.append(args[-1]) or make(*args))
    masks = {}
    for _ in range(2):
        with dense(masks), torch.no_grad():
            model(song(300)[None])
    assert len(made) == len(set(made)) == len(masks) > 0


def test_figures_of_two_machines_are_not_told_as_one(tmp_path):
    row = {"what": "x"}
    here = command._machine("cpu", 2)
    results = tmp_path / "results.json"
    assert command._kept(results, here, ["plan"]) == {}
    results.write_text(json.dumps({"machine": here, "results": {"plan": [row], "batch": [row]}}))
    assert command._kept(results, here, ["plan"]) == {"batch": [row]}
    other = command._machine("cpu", 1)
    assert command._kept(results, other, ["plan", "batch"]) == {}
    with pytest.raises(SystemExit, match="of one machine, but batch are of"):
        command._kept(results, other, ["plan"])


def test_a_file_is_tokenised_as_it_is_prepared(tmp_path):
    written = MidiFile(ticks_per_beat=480)
    written.instruments = [Instrument(80, name="melody")]
    written.instruments[0].notes = [Note(90, 60 + beat % 5, 480 * beat, 480 * beat + 480) for beat in range(32)]
    midi.write(written, tmp_path / "song.mid")
    assert tokens_of(tmp_path / "song.mid").count("b-1") == 8
