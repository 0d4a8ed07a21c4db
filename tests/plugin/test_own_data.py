"""docs/train.md: its commands, from a folder of MIDI to a piece; and the pipeline, which does the same."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from fairseq_commands import ROOT, command, environment
from miditoolkit import Instrument, MidiFile, Note, TempoChange

from fairseq_meloformer import midi
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.pretrained import MUSEFORMER
from fairseq_meloformer.summaries.store import SummaryStore

CHEAP = ["--cpu", "--num-workers", "0", "--max-update", "1", "--max-valid-steps", "1", "--tensorboard-logdir", "curves"]
SHORTER = {  # what a test adds to the page's commands
    "prepare.sh": ["--window-bars", "4", "--describe", "1", "--workers", "1"],
    "tune_museformer.sh": [*CHEAP, "--max-tokens", "300", "--truncate-train", "200"],
    "extract.sh": ["--cpu", "--num-workers", "0"],
    "train_bridge.sh": [*CHEAP, "--arch", "summary_bridge_debug", "--components", "8"],
    "meloformer": ["--bars", "1", "--best-of", "1", "--count", "4", "--no-audio", "--no-picture"],
}


def write_song(path, seed):
    """Eight bars of a melody over a bass."""
    draw, song = Random(seed), MidiFile(ticks_per_beat=480)
    song.tempo_changes = [TempoChange(70 + 5 * seed, 0)]
    song.instruments = [Instrument(80), Instrument(33)]
    for beat in range(32):
        song.instruments[0].notes.append(Note(60 + seed, draw.randint(60, 84), 480 * beat, 480 * beat + 400))
        song.instruments[1].notes.append(Note(80, 36 + seed % 5, 480 * beat, 480 * beat + 200))
    midi.write(song, path)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The scripts, in the environment that the tests run in."""
    folder = tmp_path_factory.mktemp("own") / "scripts"
    shutil.copytree(ROOT / "scripts", folder)
    here = f"\nMELOFORMER_ROOT={ROOT}\nMELOFORMER_VENV={environment()}\nprepare_environment() {{ :; }}\n"
    with (folder / "environment.sh").open("a") as file:
        file.write(here)
    return folder


def page_commands():
    block = re.search(r"```bash\n(.*?)```", (ROOT / "docs" / "train.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    return [line for line in block.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def out(scripts, tmp_path_factory):
    """What the page's commands leave, each run as it is written but for shorter training."""
    folder = tmp_path_factory.mktemp("page")
    for seed in range(10):
        write_song(folder / "midi" / f"{seed}.mid", seed)
    variables = os.environ | {"MELOFORMER_BEGINNINGS": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for line in page_commands():
        words = re.findall(r'"[^"]+"|\S+', line.replace("MIDI_DIR", str(folder / "midi")))
        words = [re.sub(r"^OUT\b", str(folder / "out"), word.strip('"')) for word in words]
        words = [re.sub(r"^scripts", str(scripts), word) for word in words]
        name = next(Path(word).name for word in words if Path(word).name in SHORTER)
        if words[0] == "meloformer":
            words[0] = str(environment() / "bin" / "meloformer")
        more = [str(folder / word) if word == "curves" else word for word in SHORTER[name]]
        done = subprocess.run([*words, *more], cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{(done.stdout + done.stderr)[-3000:]}"
        assert "detected shared parameter" not in done.stdout + done.stderr
        assert "tensorboardX" not in done.stderr
    return folder / "out"


def test_the_page_leads_from_midi_to_pieces(out):
    assert len(list((out / "pieces").glob("*.mid"))) == 4
    config = MuseFormer.from_pretrained(out / "tuned").config
    before = MuseFormer.from_pretrained(MUSEFORMER).config
    assert (config.scope, config.most_bars, config.dim) == ("plan", before.most_bars, before.dim)


def test_tensorboard_has_the_curves(out):
    files = [path for path in (out.parent / "curves").rglob("events.out.tfevents.*") if path.stat().st_size > 100]
    assert {path.parent.name for path in files} >= {"train", "valid"}


def test_checkpoints_of_one_save_are_one_file(out):
    best, last = (out / "tuned" / "songs" / f"checkpoint_{name}.pt" for name in ("best", "last"))
    assert best.samefile(last)


def test_a_museformer_is_validated_as_it_is_kept(out):
    options = ("--user-dir", ROOT / "user_dir", "--task", "museformer_language_modeling", "--cpu", "--num-workers", 0)
    printed = command("validate", out / "data" / "bin", *options, "--path", out / "tuned", "--batch-size", 4)
    assert re.search(r"subset.* loss [\d.]+", printed)


def test_yaml_trains_the_same_bridge(out, tmp_path):
    given = [f"task.data={out / 'store'}", f"checkpoint.save_dir={tmp_path}", "optimization.max_update=1"]
    given += ["model.components=8", "++model.width=32", "++model.heads=2", "++model.depth=1", "++common.cpu=true"]
    given += ["++dataset.num_workers=0", f"common.user_dir={ROOT / 'user_dir'}", f"hydra.run.dir={tmp_path}"]
    command("hydra-train", "--config-dir", ROOT / "docs", "--config-name", "bridge", *given)
    config = json.loads((out / "bridge" / "bridge" / "config.json").read_text())
    command_line = {name: config[name] for name in ("process", "attributes", "museformer")}
    from fairseq_meloformer.bridge import checkpoints  # noqa: PLC0415

    trained = checkpoints.load(tmp_path / "checkpoint_last.pt").config
    assert (trained.process.noise, trained.attributes) == (1.0, True)
    assert trained.museformer == command_line["museformer"]


def pipeline(scripts, *arguments, status=0):
    program = ["bash", scripts / "pipeline.sh", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, program)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_pipeline_does_what_is_left_to_do(scripts, out):
    shutil.rmtree(out / "store" / "texts")
    printed = pipeline(scripts, out.parent / "midi", out, "--budget", "1m")
    lines = printed.splitlines()
    assert [line for line in lines if line.endswith("done")] == [
        f"stage {number} of 6: {name}, done"
        for number, name in ((1, "prepare"), (2, "tune"), (3, "extract"), (5, "bridge"), (6, "compose"))
    ]
    assert any(re.fullmatch(r"stage 4 of 6: embed, \d+ %(, \d+ s left)?", line) for line in lines)
    assert any(re.fullmatch(r"stage 4 of 6: embed, done in \d+ s", line) for line in lines)
    assert SummaryStore(out / "store").header.layers == 4
    assert list((out / "store" / "texts").iterdir())


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("pipeline", ROOT / "scripts" / "pipeline.py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["pipeline"] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_budgets_are_times(module):
    assert [module.seconds(text) for text in ("90s", "15m", "2h30m", "1.5h")] == [90, 900, 9000, 5400]
    for wrong in ("4", "h", "4 h", "soon"):
        with pytest.raises(InputError, match="--budget must be a time"):
            module.seconds(wrong)


def test_what_cannot_be_used_is_said_in_a_sentence(module, monkeypatch, capsys, tmp_path):
    def said(*arguments):
        monkeypatch.setattr(sys, "argv", ["pipeline.sh", *map(str, arguments)])
        monkeypatch.setattr(module.signal, "signal", lambda *_: None)
        assert module.main() == 2
        return capsys.readouterr().err

    (tmp_path / "empty").mkdir()
    write_song(tmp_path / "midi" / "a.mid", 1)
    assert "must be a folder with MIDI files" in said(tmp_path / "empty", tmp_path / "out")
    assert "--budget must be a time" in said(tmp_path / "midi", tmp_path / "out", "--budget", "soon")
    other = {"asked": {"midi": str(tmp_path / "midi"), "size": "small"}, "spent": {}, "given": {}, "process": 0}
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "pipeline.json").write_text(json.dumps(other))
    assert said(tmp_path / "midi", tmp_path / "out").count("\n") == 1


def test_trainings_share_what_is_left_of_the_budget(module, tmp_path):
    taken, made = [], set()

    def stage(name):
        def do(given):
            taken.append((name, round(given + 120)))
            made.add(name)
            return ["true"]

        return module.Stage(name, do, lambda: name in made, lambda: 0.5)

    run = module.Run(tmp_path, {"midi": "m", "size": "mini"}, 1800)
    run.run([stage(name) for name in ("tune", "bridge", "compose")])
    assert dict(taken) == pytest.approx({"tune": 900, "bridge": 1440, "compose": 1800}, abs=5)
    assert module.Run(tmp_path, {"midi": "m", "size": "mini"}, 1800)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("meloformer: on 2 GPUs\nTraceback:\nRuntimeError: no memory", "RuntimeError: no memory"),
        ("error: no such store\nChildFailedError: \n=====", "error: no such store"),
        ("meloformer: on 2 GPUs\nKilled", "Killed"),
        ("ValueError: passed over\nmeloformer compose: no such file", "meloformer compose: no such file"),
        ("", "it said nothing"),
    ],
)
def test_a_stage_failed_for_what_it_said_last_in_this_run(module, tmp_path, said, reason):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "tune.log").write_text("error: of an earlier run\n")
    failing = module.Stage("tune", lambda _: ["bash", "-c", 'echo "$0"; exit 1', said], lambda: False)
    with pytest.raises(InputError, match=rf"tune failed: {reason} \(all that it said"):
        module.Run(tmp_path, {"midi": "m", "size": "mini"}, 1800).run([failing])


def test_a_training_for_which_no_time_is_left_says_so(module, tmp_path, capsys):
    made = iter([False, True])
    training = module.Stage("bridge", lambda _: ["true"], lambda: next(made))
    module.Run(tmp_path, {"midi": "m", "size": "mini"}, 10).run([training])
    assert "stage 1 of 1: bridge: --budget is spent" in capsys.readouterr().out
