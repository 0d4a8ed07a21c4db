"""What the package offers in Python: five lines, models loaded once, bars told as they are finished."""

import dataclasses
import subprocess
import sys

import miditoolkit
import pytest
import torch
from injection.models import bridge, museformer

import fairseq_meloformer
from fairseq_meloformer import cli
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.full_system import DecodingControl
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.probe import Probe, ProbeConfig
from fairseq_meloformer.words.prompts import Request
from fairseq_meloformer.words.timeline import read_timeline

SETTINGS = Settings(nfe=2, bar_tokens=40)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Models on disk: MuseFormer, bridge and probe."""
    folder = tmp_path_factory.mktemp("models")
    museformer(scope="plan").save_pretrained(folder / "museformer")
    bridge().save_pretrained(folder / "bridge")
    torch.manual_seed(0)
    Probe(ProbeConfig(encoder="dummy:12", text_dim=12)).save_pretrained(folder / "probe")
    return folder


@pytest.fixture(scope="module")
def composer(folders):
    return Composer.from_pretrained(folders / "museformer", folders / "bridge", probe=folders / "probe", best_of=2)


def test_five_lines(composer, tmp_path, monkeypatch):
    monkeypatch.setattr("fairseq_meloformer.composing.composer._embedded", lambda: composer)
    piece = fairseq_meloformer.compose("暴风雨", bars=2, seed=7, settings=SETTINGS)
    piece.save(tmp_path / "storm.mid")
    piece.picture(tmp_path / "storm.png")
    assert miditoolkit.MidiFile(str(tmp_path / "storm.mid")).instruments
    assert (tmp_path / "storm.png").read_bytes().startswith(b"\x89PNG")
    assert piece.attributes["bars"] == 2


def test_python_and_the_command_line_write_the_same_pieces(composer, folders, tmp_path):
    arguments = ["--model", folders / "museformer", "--bridge", folders / "bridge", "--probe", folders / "probe"]
    arguments += ["--nfe", 2, "--best-of", 2, "--bars", 2, "--seed", 7, "--count", 2, "--no-audio", "--no-picture"]
    assert cli.main(["compose", "rain", "snow", "--output", str(tmp_path), *map(str, arguments)]) == 0
    pieces = composer.compose(["rain", "snow", "rain"], Settings(nfe=2), bars=2, seed=7)
    for piece, name in zip(pieces, ("rain-0", "snow-0", "rain-1"), strict=True):
        piece.save(tmp_path / "piece.mid")
        assert (tmp_path / "piece.mid").read_bytes() == (tmp_path / f"{name}.mid").read_bytes()
    assert pieces[0].tokens != pieces[2].tokens


def test_a_single_text_is_no_list_of_texts(composer):
    with pytest.raises(InputError, match=r"write \['rain'\]"):
        composer.compose("rain", SETTINGS)


def heard(composer, wanted, settings=SETTINGS, **more):
    told = []
    return composer.compose(wanted, settings, on_bar=told.append, **more), told


@pytest.mark.parametrize("most_bars", [None, 4])
def test_every_bar_is_told_and_what_is_settled_is_how_the_piece_begins(most_bars):
    composer = Composer(museformer(scope="plan", most_bars=most_bars, ahead=1), bridge())
    wanted = [Request("rain", seed=1, bars=6), Request("snow", seed=2, bars=3, transposition=5)]
    pieces, told = heard(composer, wanted)
    for number, piece in enumerate(pieces):
        own = [progress for progress in told if progress.piece == number]
        assert [progress.bars for progress in own] == list(range(1, wanted[number].bars + 1))
        assert {(progress.total, progress.candidates, progress.settled) for progress in own} == {
            (wanted[number].bars, 1, True)
        }
        for progress in own:
            assert remi.bars(piece.tokens)[: progress.bars] == remi.bars(progress.tokens)
        first, whole = own[0].midi, piece.midi
        assert notes(first) == {note for note in notes(whole) if note[2] < first.ticks_per_beat * 4}
    assert [piece.tokens for piece in pieces] == [piece.tokens for piece in composer.compose(wanted, SETTINGS)]


def notes(midi):
    return {(track.program, note.pitch, note.start) for track in midi.instruments for note in track.notes}


def test_candidates_are_drafts_of_which_one_is_kept(composer):
    pieces, told = heard(composer, ["rain"], bars=2)
    assert {(progress.candidate, progress.bars, progress.settled) for progress in told} == {
        (candidate, bars, False) for candidate in (0, 1) for bars in (1, 2)
    }
    assert pieces[0].tokens in [progress.tokens for progress in told if progress.bars == 2]


def test_a_piece_that_may_be_moved_to_a_key_is_not_settled(composer):
    alone = Composer(composer.model, composer.bridge, dataclasses.replace(composer.control, best_of=1))
    assert {progress.settled for progress in heard(alone, ["rain in D minor"], bars=1)[1]} == {False}
    assert {progress.settled for progress in heard(alone, ["rain"], bars=1)[1]} == {True}


def test_a_listener_that_raises_ends_the_composing_and_leaves_no_trace(composer):
    before = composer.compose(["rain"], SETTINGS, bars=3)[0]
    told = []

    def stop(progress):
        told.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        composer.compose(["rain"], SETTINGS, bars=3, on_bar=stop)
    assert len(told) == 1
    assert composer.compose(["rain"], SETTINGS, bars=3)[0].tokens == before.tokens


def test_plans_of_an_oracle_are_shared_by_the_candidates_of_a_piece(composer):
    values = torch.randn(2, 3, 2, 32)
    plans = (values, torch.ones(2, 3, dtype=torch.bool))
    requests = [Request("rain", seed=1, bars=3), Request("snow", seed=2, bars=3)]
    together = composer.compose(requests, SETTINGS, plans)
    alone = composer.compose(requests[1:], SETTINGS, values[1])
    assert together[1].tokens == alone[0].tokens


def test_control_works_without_a_plan(folders):
    quantiles = Quantiles.fit([dict.fromkeys(AXES, float(place)) for place in (-1, 0, 1)])
    control = DecodingControl(Probe.from_pretrained(folders / "probe"), quantiles, best_of=2)
    text = "1-2: at 60 bpm | 3-4: at 180 bpm"
    request = Request(text, seed=1, bars=4, sections=read_timeline(text))
    settings = dataclasses.replace(SETTINGS, injected=False, sampling=Sampling(logit_guidance=2.0))
    (piece,) = Composer(museformer(), None, control).compose([request], settings)
    tempi = [next(token for token in bar if token.startswith("t-")) for bar in remi.bars(piece.tokens)]
    assert tempi[0] == tempi[1] != tempi[2] == tempi[3]


def test_the_door_is_light_until_something_is_taken_through_it():
    script = (
        "import sys, fairseq_meloformer, fairseq_meloformer.cli; assert 'torch' not in sys.modules; "
        "from fairseq_meloformer import Bridge, Composer, MuseFormer, compose; assert 'torch' in sys.modules; "
        "assert 'fairseq' not in sys.modules and 'matplotlib' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from fairseq_meloformer import nothing  # noqa: F401, PLC0415
