"""The command: files, manifest, resumption, and refusals."""

import base64
import json
import re

import miditoolkit
import mido
import numpy as np
import pytest
import torch
from injection.models import bridge, museformer
from music21 import converter

from fairseq_meloformer import cli, midi
from fairseq_meloformer.jobs import sole_writer
from fairseq_meloformer.render import audio
from fairseq_meloformer.words.probe import Probe, ProbeConfig


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    museformer().save_pretrained(folder / "museformer")
    bridge().save_pretrained(folder / "bridge")
    torch.manual_seed(0)
    Probe(ProbeConfig(encoder="dummy:12", text_dim=12)).save_pretrained(folder / "probe")
    sizes = ["--nfe", "2", "--best-of", "1", "--probe", str(folder / "probe")]
    return ["--model", str(folder / "museformer"), "--bridge", str(folder / "bridge"), *sizes]


def manifest(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_one_sentence_gives_midi_picture_and_manifest(models, tmp_path, capsys):
    # Sound comes with the embedded default's test: random weights hold notes for minutes.
    arguments = ["compose", "暴风雨", "--output", str(tmp_path), "--bars", "2", "--count", "2", "--no-audio"]
    assert cli.main([*arguments, *models]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = manifest(tmp_path)
    assert [row["piece"] for row in rows] == ["暴风雨-0", "暴风雨-1"]
    assert rows[0]["seed"] != rows[1]["seed"]
    for row in rows:
        assert row["prompt"] == "暴风雨"
        assert row["attributes"]["bars"] == 2
        assert row["settings"]["museformer"]
        for file in row["files"].values():
            assert (tmp_path / file).stat().st_size > 0
            assert str(tmp_path / file) in printed
        assert miditoolkit.MidiFile(str(tmp_path / row["files"]["midi"])).instruments
        assert (tmp_path / row["files"]["picture"]).read_bytes().startswith(b"\x89PNG")


def test_prompts_of_a_file_have_their_own_options_and_keep_what_else_they_say(models, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        '{"id": "a", "text": "rain", "bars": 1, "expect": {"tempo": -1}}\n\n{"id": "b", "text": "雪", "seed": 7}\n'
    )
    out = tmp_path / "out"
    arguments = [
        "compose",
        "--prompts",
        str(prompts),
        "--output",
        str(out),
        "--bars",
        "2",
        "--no-audio",
        "--no-picture",
    ]
    assert cli.main([*arguments, *models]) == 0
    first, second = manifest(out)
    assert (first["attributes"]["bars"], second["attributes"]["bars"]) == (1, 2)
    assert first["about"] == {"expect": {"tempo": -1}}
    assert sorted(path.name for path in out.iterdir()) == ["a-0.mid", "b-0.mid", "manifest.jsonl"]


def test_the_same_command_goes_on_and_another_is_refused(models, tmp_path, capsys):
    base = ["compose", "rain", "--output", str(tmp_path), "--bars", "1", "--no-audio", "--no-picture", *models]
    assert cli.main(base) == 0
    piece = tmp_path / "rain-0.mid"
    before = piece.stat().st_mtime_ns
    assert cli.main([*base, "--count", "2"]) == 0
    assert piece.stat().st_mtime_ns == before
    assert (tmp_path / "rain-1.mid").exists()
    assert cli.main([*base, "--seed", "5"]) == 2
    assert "rain-0.mid, made with another seed" in capsys.readouterr().err
    assert cli.main([*base, "--inject-strength", "0.5"]) == 2
    assert "another settings" in capsys.readouterr().err
    assert len(manifest(tmp_path)) == 2


def test_a_second_run_is_refused_before_it_touches_the_first_ones_pieces(models, tmp_path, capsys):
    base = ["compose", "rain", "--output", str(tmp_path), "--bars", "1", "--no-audio", "--no-picture", *models]
    (tmp_path / "rain-0.mid").write_bytes(b"being written")
    with sole_writer(tmp_path):
        assert cli.main(base) == 2
    assert "another run" in capsys.readouterr().err
    assert (tmp_path / "rain-0.mid").read_bytes() == b"being written"


def test_files_that_were_deleted_or_not_wanted_before_are_made_by_the_next_run(models, tmp_path, monkeypatch):
    everything = ["compose", "rain", "snow", "--output", str(tmp_path), "--bars", "1", *models]
    base = [*everything, "--no-audio"]
    assert cli.main([*base, "--no-picture"]) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.mid")}
    (tmp_path / "rain-0.mid").unlink()
    assert cli.main([*base, "--no-picture"]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.mid")} == before
    assert not list(tmp_path.glob("*.png"))
    assert cli.main(base) == 0
    assert {path.name for path in tmp_path.glob("*.png")} == {"rain-0.png", "snow-0.png"}
    assert [sorted(row["files"]) for row in manifest(tmp_path)] == [["midi", "picture"]] * 2
    monkeypatch.setattr(audio, "can_render", lambda: True)
    monkeypatch.setattr(audio, "soundfont", lambda: tmp_path)
    second = np.zeros((audio.RATE, 2), np.float32)  # random weights hold notes for minutes
    monkeypatch.setattr(audio, "synthesise", lambda *_: iter([second]))
    for kind in ("wav", "musicxml"):
        assert cli.main([*everything, "--score"]) == 0
        assert {path.name for path in tmp_path.glob(f"*.{kind}")} == {f"rain-0.{kind}", f"snow-0.{kind}"}
        assert all({"midi", "picture", "sound", "score"} <= row["files"].keys() for row in manifest(tmp_path))
        (tmp_path / f"snow-0.{kind}").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.mid")} == before
    assert not list(tmp_path.glob(".*"))


def test_a_page_of_a_piece_offers_its_midi_and_says_what_was_understood(models, tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "can_render", lambda: False)  # random weights hold notes for minutes
    arguments = ["compose", "fast rain, 144 bpm </script>", "--output", str(tmp_path), "--bars", "1", "--html"]
    base = [*arguments, "--no-audio", "--no-picture", *models]
    assert cli.main(base) == 0
    (row,) = manifest(tmp_path)
    page = tmp_path / row["files"]["page"]
    found = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))[1])
    assert base64.b64decode(found["midi"].partition(",")[2]) == (tmp_path / row["files"]["midi"]).read_bytes()
    assert found["title"] == row["prompt"] == "fast rain, 144 bpm </script>"
    assert found["understood"] == row["understood"] != []
    assert (found["seed"], found["sound"]) == (0, None)
    page.unlink()
    assert cli.main(base) == 0
    assert page.is_file()


def test_bad_lines_are_left_out_on_demand(models, tmp_path, caplog):
    (tmp_path / "prompts").write_text('rain\n{"text": "snow", "bars": 0}\nwind\n')
    out = tmp_path / "out"
    base = ["compose", "--prompts", str(tmp_path / "prompts"), "--output", str(out), "--bars", "1", "--no-audio"]
    assert cli.main([*base, "--no-picture", *models]) == 2
    assert not out.exists()
    assert cli.main([*base, "--no-picture", "--skip-bad", *models]) == 0
    assert [row["prompt"] for row in manifest(out)] == ["rain", "wind"]
    assert "line 2" in caplog.text


def test_pieces_are_the_same_whatever_they_are_composed_with(models, tmp_path):
    base = ["compose", "--bars", "2", "--no-audio", "--no-picture", *models]
    assert cli.main([*base, "rain", "--output", str(tmp_path / "one")]) == 0
    assert cli.main([*base, "snow", "rain", "--output", str(tmp_path / "two")]) == 0
    assert (tmp_path / "one" / "rain-0.mid").read_bytes() == (tmp_path / "two" / "rain-0.mid").read_bytes()


def test_plan_from_a_song_and_no_injection(models, tmp_path):
    base = ["compose", "rain", "--no-audio", "--no-picture", *models]
    assert cli.main([*base, "--bars", "4", "--output", str(tmp_path / "song"), "--transpose", "2"]) == 0
    song = tmp_path / "song" / "rain-0.mid"
    assert cli.main([*base, "--plan-from", str(song), "--output", str(tmp_path / "oracle")]) == 0
    assert manifest(tmp_path / "oracle")[0]["attributes"]["bars"] in (4, 5)  # the song's last note may ring on
    assert cli.main([*base, "--bars", "2", "--no-injection", "--output", str(tmp_path / "plain")]) == 0
    assert manifest(tmp_path / "plain")[0]["settings"]["injected"] is False


def test_a_score_is_written_on_demand_with_a_part_for_each_instrument(models, tmp_path):
    arguments = ["compose", "1-2: rain | 3-4: snow", "--output", str(tmp_path), "--no-audio", "--no-picture", "--score"]
    assert cli.main([*arguments, "--seed", "7", *models]) == 0
    (row,) = manifest(tmp_path)
    written = midi.read(tmp_path / row["files"]["midi"])
    score = converter.parse(tmp_path / row["files"]["score"])
    assert [part.partName for part in score.parts] == [track.name for track in written.instruments]
    assert set(row["files"]) - {"pdf"} == {"midi", "score"}
    assert all((tmp_path / file).stat().st_size for file in row["files"].values())
    first = mido.MidiFile(tmp_path / row["files"]["midi"], charset="utf-8").tracks[0]
    assert [m.text for m in first if m.type == "marker"] == ["rain", "snow"]
    said = next(m.text for m in first if m.type == "text")
    assert said == f"1-2: rain | 3-4: snow\nseed 7, of this piece {row['seed']}"
    assert row["given_seed"] == 7


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "either texts or --prompts"),
        (["rain", "--prompts", "x"], "either texts or --prompts"),
        (["rain", "--count", "0", "--bars", "-1"], "--count must be from 1 to 100000, received 0; --bars"),
        (["rain", "--count", "1000000000000"], "--count must be from 1 to 100000, received 1000000000000"),
        (["rain", "--no-injection", "--plan-from", "x"], "no use for --plan-from"),
        (["--prompts", "missing.txt"], "there is no file missing.txt"),
        (["rain", "rain"], "'rain' comes twice"),
        (["rain", "--model", "nowhere"], "nowhere"),
        (["rain", "--temperature", "inf"], "temperature must be from"),
        (["rain", "--device", "cuda:99"], "that PyTorch can use here, received 'cuda:99'"),
    ],
)
def test_bad_arguments_are_refused_in_one_message(arguments, reason, models, tmp_path, capsys):
    assert cli.main(["compose", "--output", str(tmp_path), *models, *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_layers_that_are_no_numbers_are_refused_in_words(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["compose", "rain", "--output", str(tmp_path), "--inject-layers", "0;1"])
    assert "layers must be whole numbers such as 0,1,3, received '0;1'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "a"}', 'line 1: must have a "text"'),
        ('{"id": "a/b", "text": "x"}', "without slashes"),
        ('{"text": "x", "bars": "four"}', '"bars" must be a whole number'),
        ('{"text": ', "must be JSON"),
        ("", "at least one prompt"),
    ],
)
def test_bad_prompt_files_are_refused_with_the_line(line, reason, tmp_path, capsys):
    (tmp_path / "prompts").write_text(line)
    assert cli.main(["compose", "--prompts", str(tmp_path / "prompts"), "--output", str(tmp_path / "out")]) == 2
    assert reason in capsys.readouterr().err
