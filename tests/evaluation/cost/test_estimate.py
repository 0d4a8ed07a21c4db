"""The estimate of costs: the counts are those of the text books, and the command says what it measured."""

import re
from unittest.mock import Mock

import pytest
import torch

from fairseq_meloformer import cli
from fairseq_meloformer.evaluation.cost import command, work
from fairseq_meloformer.evaluation.cost import measure as steps
from fairseq_meloformer.evaluation.cost.machines import START, USED, Machine
from fairseq_meloformer.evaluation.cost.measure import Unit, measure, song
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.tokens.remi_decoding import decode


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "_SONG", 400)
        return measure(work.size("mini"), torch.device("cpu"))


def test_a_token_of_training_is_six_flops_a_parameter_and_attention(found):
    config = work.size("mini").museformer
    embedded = config.vocabulary_size * config.token_dim
    multiplied = sum(p.numel() for p in MuseFormer(config).parameters() if p.dim() == 2) - embedded
    for flops in (found.units["train MuseFormer"].flops, found.units["train MuseFormer"].gpu_flops):
        assert flops > 5.5 * multiplied
    assert found.units["train MuseFormer"].flops < 9 * multiplied
    forward, both = (found.units[stage].flops for stage in ("extract", "train MuseFormer"))
    assert 3 < both / forward < 5  # the last layer of an extraction makes nothing but summaries
    assert found.units["tune it to plans"].flops > 1.3 * both
    assert all(unit.seconds > 0 for unit in found.units.values())
    assert found.kept_a_token > 4 * config.layers * config.dim


def test_units_follow_from_pairs():
    few, many = (work.units(pairs, 10**7) for pairs in (1000, 50_000))
    assert few["prepare"] == 1000
    assert few["extract"] == 1000 * work.TOKENS
    assert few["train MuseFormer"] == 16 * 1000 * work.TOKENS  # no song more often
    assert many["train MuseFormer"] == 20 * 10**7  # no more tokens than the model can use
    assert few["train bridge"] == 3300 * 48
    assert many["train bridge"] == pytest.approx(2 * 50_000 * 84 / 19, rel=0.01)
    assert work.hours({"prepare": 7200}, {"prepare": 0.5}) == {"prepare": 1.0}
    assert work.disk_gb(1000, 4, 160, 10**6)["summaries"] == pytest.approx(1000 * 84 * 4 * 160 * 4 / 1e9)


def test_a_gpu_waits_for_products_or_for_the_processor():
    machine = Machine("m", gpus=2, flops=1e12, cores=4, dollars=1.0)
    units = {"prepare": Unit(2.0), "large": Unit(1, 1, 1e12, 10), "small": Unit(1, 1, 10, 100)}
    expected = {"prepare": 0.5, "large": 1 / USED / 2, "small": 100 * START / 2}
    assert machine.seconds(units) == pytest.approx(expected)


def test_the_song_that_is_measured_is_one():
    assert sum(len(part.notes) for part in decode(song(500)).instruments) > 50
    assert 400 < len(song(500)) <= 500


def test_the_command_shows_counts_hours_and_money(found, monkeypatch, capsys):
    monkeypatch.setattr(command, "measure", Mock(return_value=found))
    monkeypatch.setattr(torch, "set_num_threads", Mock())
    assert cli.main(["estimate", "--sizes", "mini", "--pairs", "1000", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    row = re.search(r"^\| extract \| 10,140,000 \| ([\d.e-]+) \|", printed, re.MULTILINE)
    cores = int(re.search(r"(\d+) cores", printed)[1])
    assert float(row[1]) == pytest.approx(found.units["extract"].seconds * 10_140_000 / 3600 / cores, rel=0.05)
    assert "4 x V100 (computed)" in printed
    assert "| dollars |" in printed
    assert re.search(r"Disk: [\d.]+ GB \(tokens 0.121, summaries 0.215", printed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused(capsys):
    assert cli.main(["estimate", "--device", "cuda"]) == 2
    assert "the device must be one that PyTorch can use here, received 'cuda'" in capsys.readouterr().err


@pytest.mark.parametrize("given", [("--sizes", "huge"), ("--pairs", "many"), ("--pairs", "0")])
def test_what_cannot_be_estimated_is_refused(given, capsys):
    assert cli.main(["estimate", *given]) == 2
    assert "must be" in capsys.readouterr().err
