"""The bridge as a whole: plans, files, the encoder's identity, the average of weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bridge.small import DIM, LAYERS, TEXT_DIM, close, small_bridge

from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.bridge.ema import Ema
from fairseq_meloformer.bridge.process import BridgeProcess
from fairseq_meloformer.encoders.registry import DummyEncoder
from fairseq_meloformer.errors import InputError


def test_a_plan_has_the_shape_of_summaries_and_is_zero_in_padding() -> None:
    bridge = small_bridge(stirred=True)
    plan, mask = bridge.plan(["storm", "calm"], [3, 5])
    assert plan.shape == (2, 5, LAYERS, DIM)
    assert mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert not plan[0, 3:].any()
    assert plan.dtype == torch.float32
    assert not plan.requires_grad


def test_one_seed_counts_on_and_a_piece_keeps_its_own() -> None:
    bridge = small_bridge(stirred=True)
    both, _ = bridge.plan(["storm", "storm"], 4, seed=3)
    assert (both[0] - both[1]).abs().max() > 1e-3
    alone, _ = bridge.plan(["storm"], 4, seed=[4])
    close(alone[0], both[1])


def test_bars_come_from_the_flag_then_the_text_then_the_head() -> None:
    bridge = small_bridge()
    texts = ["storm", "storm in 12 bars", "十小节的暴风雨", "storm"]
    with torch.no_grad():
        bridge.bars_head.layers[-1].bias[6] = 100.0
    _, mask = bridge.plan(texts, [3, None, None, None])
    assert mask.sum(1).tolist() == [3, 12, 10, 7]
    _, mask = bridge.plan(texts, 5)
    assert mask.sum(1).tolist() == [5, 5, 5, 5]
    _, mask = bridge.plan(texts)
    assert mask.sum(1).tolist() == [7, 12, 10, 7]


def test_drawn_numbers_of_bars_depend_on_the_seed_alone() -> None:
    bridge = small_bridge()
    _, mask = bridge.plan(["storm"] * 30, seed=list(range(30)))
    counts = mask.sum(1).tolist()
    assert len(set(counts)) > 5
    _, mask = bridge.plan(["storm"], seed=17)
    assert mask.sum().item() == counts[17]


@pytest.mark.parametrize(
    ("texts", "bars", "seed", "complaint"),
    [
        ([], None, 0, "at least one text"),
        (["storm"], [4, 4], 0, "1 texts, 1 seeds and 2 numbers of bars"),
        (["storm"], None, [1, 2], "1 texts, 2 seeds"),
        (["storm"], 0, 0, "1 to 1024 bars; received 0 for 'storm'"),
        (["storm, 5000 bars"], None, 0, "received 5000"),
    ],
)
def test_impossible_requests_are_refused(
    texts: list[str], bars: int | list[int | None] | None, seed: int | list[int], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        small_bridge().plan(texts, bars, seed=seed)


def test_a_saved_bridge_plans_the_same(tmp_path: Path) -> None:
    process = BridgeProcess(noise=0.25, endpoint_noise=0.5, schedule="i2sb", prediction="v")
    settings = {"endpoint": "variational", "components": 5, "museformer": "abc", "plan_layers": (1,)}
    bridge = small_bridge(stirred=True, process=process, **settings)
    bridge.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = Bridge.from_pretrained(tmp_path)
    assert again.config == bridge.config
    assert not again.training
    for settings in ({}, {"guidance_scale": 2.0, "nfe": 3, "method": "posterior"}):
        expected, _ = bridge.plan(["storm", "calm"], [3, 6], seed=2, **settings)
        received, _ = again.plan(["storm", "calm"], [3, 6], seed=2, **settings)
        assert torch.equal(received, expected)


def test_the_encoder_is_no_part_of_the_state_and_its_identity_is_checked(tmp_path: Path) -> None:
    bridge = small_bridge()
    assert not any("encoder" in name for name in bridge.state_dict())
    bridge.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"dummy:12 of width 12.*identity dummy:13"):
        Bridge.from_pretrained(tmp_path, encoder=DummyEncoder(13))

    config = json.loads((tmp_path / "config.json").read_text())
    config["encoder_identity"] = "another"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="identity another"):
        Bridge.from_pretrained(tmp_path).plan(["storm"], 2)


def test_what_is_no_bridge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing.*train_bridge\.sh"):
        Bridge.from_pretrained(tmp_path)
    small_bridge().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for changed, complaint in (
        ({"kind": "museformer"}, "kind: bridge"),
        ({"kind": "bridge", "dim": DIM + 1}, "denoiser.read.weight must be"),
        ({"kind": "bridge", "colour": 1}, "colour"),
        ({"kind": "bridge", "endpoint": "x"}, "regressed"),
        ({"kind": "bridge", "plan_layers": [2]}, r"layers 0 to 1, in order and each once; received \(2,\)"),
        ({"kind": "bridge", "plan_layers": [1, 0]}, r"received \(1, 0\)"),
        ({"kind": "bridge", "plan_layers": []}, r"received \(\)"),
    ):
        path.write_text(json.dumps(config | changed))
        with pytest.raises(InputError, match=complaint):
            Bridge.from_pretrained(tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match="must be a JSON object"):
        Bridge.from_pretrained(tmp_path)


def test_the_core_imports_neither_fairseq_nor_transformers() -> None:
    code = "import sys, fairseq_meloformer.bridge; print({'fairseq', 'transformers', 'matplotlib'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == "set()\n"


def test_the_average_warms_up_and_then_lags(tmp_path: Path) -> None:
    bridge = small_bridge()
    ema = Ema(bridge, decay=0.95)
    start = bridge.denoiser.read.weight.clone()
    with torch.no_grad():
        bridge.denoiser.read.weight += 1
        bridge.summaries.mean += 2
    expected, weight = start.clone(), bridge.denoiser.read.weight
    for count in range(200):
        ema.update(bridge)
        decay = min(0.95, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(ema.average.denoiser.read.weight, expected)
    torch.testing.assert_close(ema.average.summaries.mean, bridge.summaries.mean)
    assert not any(parameter.requires_grad for parameter in ema.parameters())
    assert not ema.train().average.training

    again = Ema(small_bridge(), decay=0.95)
    again.load_state_dict(ema.state_dict())
    assert int(again.updates) == 200
    again.average.save_pretrained(tmp_path)
    torch.testing.assert_close(Bridge.from_pretrained(tmp_path).denoiser.read.weight, expected)
    with pytest.raises(InputError, match=r"in \[0, 1\); received 1"):
        Ema(bridge, decay=1.0)


def test_text_width_is_the_encoders() -> None:
    with pytest.raises(InputError, match=f"width {TEXT_DIM}"):
        Bridge(small_bridge().config, DummyEncoder(TEXT_DIM + 1))
