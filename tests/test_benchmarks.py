"""The benchmarks run, and what they are compared with is the same model."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.dense import dense
from benchmarks.material import full_size, song
from benchmarks.measure import Options

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
        with dense():
            torch.testing.assert_close(model(tokens), sparse, atol=1e-11, rtol=0)
        assert model(tokens).equal(sparse)
