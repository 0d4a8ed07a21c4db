"""The training loss: what it counts, what it logs, and that it teaches."""

import dataclasses

import pytest
import torch
from bridge.small import LAYERS, close, rows, small_bridge, songs

from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.bridge.objective import QUARTERS, Batch, Weights, loss
from fairseq_meloformer.bridge.process import BridgeProcess
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.summaries.statistics import Statistics

TEXTS = ["storm", "a calm sea", "暴风雨", "bells", "slow strings"]
BARS = [3, 7, 5, 1, 7]

each_endpoint = pytest.mark.parametrize("endpoint", ["regressed", "variational", "learned"])


@each_endpoint
@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_a_song_counts_the_same_in_every_batch(endpoint: str, prediction: str) -> None:
    process = BridgeProcess(prediction=prediction)  # type: ignore[arg-type]
    bridge = small_bridge(stirred=True, endpoint=endpoint, process=process)
    batch = songs(bridge, TEXTS, BARS)
    whole = loss(bridge, batch, Weights())
    parts = [loss(bridge, rows(batch, chosen), Weights()) for chosen in ([0, 3], [1, 2], [4])]
    assert whole.songs == sum(part.songs for part in parts) == 5
    close(whole.total, torch.stack([part.total for part in parts]).sum())
    for name, value in whole.parts.items():
        close(value.float(), torch.stack([part.parts[name] for part in parts]).sum().float())


def test_padding_and_other_songs_get_no_gradient() -> None:
    bridge = small_bridge(stirred=True)
    batch = songs(bridge, TEXTS, BARS)
    summaries = batch.summaries.clone().requires_grad_()
    result = loss(bridge, dataclasses.replace(batch, summaries=summaries), Weights())
    result.total.backward()
    for song, bars in zip(summaries.grad, BARS, strict=True):
        assert song[:bars].any()
        assert not song[bars:].any()


def test_parts_add_up() -> None:
    bridge = small_bridge(stirred=True)
    batch = songs(bridge, TEXTS, BARS)
    parts = loss(bridge, batch, Weights()).parts
    quarters = torch.stack([parts[f"quarter_{index}"] for index in range(QUARTERS)])
    counts = torch.stack([parts[f"quarter_{index}_songs"] for index in range(QUARTERS)])
    close(quarters.sum(), parts["bridge"])
    assert counts.sum() == len(TEXTS)
    # Without components, x0's loss is the mean of the layers' errors.
    layers = torch.stack([parts[f"layer_{layer}"] for layer in range(LAYERS)])
    close(layers.mean(), parts["bridge"])
    close(loss(bridge, batch, Weights(2.0, 0.0, 0.0)).total, parts["bridge"] + 2 * parts["endpoint"])


def test_an_untrained_bridge_loses_what_the_music_varies() -> None:
    bridge = small_bridge()
    parts = loss(bridge, songs(bridge, ["storm"] * 60, [8] * 60), Weights()).parts
    for name in ("bridge", "endpoint", "layer_0", "layer_1"):
        assert parts[name].item() / 60 == pytest.approx(1, abs=0.1)
    assert parts["bars"].item() / 60 == pytest.approx(torch.tensor(16.0).log().item())


@each_endpoint
def test_gradients_reach_what_they_should(endpoint: str) -> None:
    bridge = small_bridge(stirred=True, endpoint=endpoint)
    batch = songs(bridge, TEXTS * 4, BARS * 4)
    batch = dataclasses.replace(batch, seeds=list(range(20)))
    loss(bridge, batch, Weights(text_dropout=0.3)).total.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in bridge.parameters())

    # A regressed end learns from the music alone, a learned one from the bridge's loss alone.
    bridge.zero_grad()
    loss(bridge, batch, Weights(endpoint=0.0, kl=0.0, bars=0.0)).total.backward()
    reached = any(parameter.grad is not None and parameter.grad.any() for parameter in bridge.endpoint.parameters())
    assert reached == (endpoint != "regressed")


def test_text_dropout_hides_its_share() -> None:
    bridge = small_bridge(stirred=True)
    heard = []
    bridge.denoiser.register_forward_pre_hook(lambda _, given: heard.append(given[5]))
    batch = dataclasses.replace(songs(bridge, ["storm"] * 400, [1] * 400), seeds=list(range(400)))
    loss(bridge, batch, Weights(text_dropout=0.15))
    assert 0.10 < 1 - heard[0].float().mean().item() < 0.20


def test_negative_weights_are_refused() -> None:
    with pytest.raises(InputError, match="at least 0"):
        Weights(endpoint=-1.0)
    with pytest.raises(InputError, match="text_dropout"):
        Weights(text_dropout=1.0)


def train(bridge: Bridge, batch: Batch, steps: int) -> None:
    optimiser = torch.optim.AdamW(bridge.parameters(), lr=3e-3)
    bridge.train()
    for step in range(steps):
        seeds = [step * len(batch.seeds) + index for index in range(len(batch.seeds))]
        optimiser.zero_grad()
        result = loss(bridge, dataclasses.replace(batch, seeds=seeds), Weights())
        (result.total / result.songs).backward()
        optimiser.step()
    bridge.eval()


@pytest.mark.parametrize(
    ("endpoint", "process", "steps", "ratio"),
    [
        ("regressed", BridgeProcess(), 100, 0.2),
        ("variational", BridgeProcess(schedule="i2sb"), 150, 0.6),
    ],
)
def test_a_trained_bridge_plans_its_own_texts_music(
    endpoint: str, process: BridgeProcess, steps: int, ratio: float
) -> None:
    bridge = small_bridge(endpoint=endpoint, process=process)
    texts = ["storm", "calm sea", "暴风雨", "bells in snow", "march", "流星雨"]
    batch = songs(bridge, texts, [4, 6, 5, 6, 4, 5])
    raw = batch.summaries * 3 + 10
    batch = dataclasses.replace(batch, summaries=raw)
    bridge.summaries.fit(Statistics(torch.full((2, 6), 10.0), torch.full((2, 6), 3.0), 30))
    bridge.text.fit(batch.text)
    train(bridge, batch, steps)

    plan, mask = bridge.plan(texts, batch.bars.tolist(), seed=5)
    assert torch.equal(mask.sum(1), batch.bars)
    for index in range(len(texts)):
        distances = (plan[index, :4] - raw[:, :4]).square().mean((1, 2, 3))
        others = torch.cat([distances[:index], distances[index + 1 :]])
        assert distances[index] < ratio * others.min()
    # And the number of bars: the head has learned what each text's song has.
    likely = bridge.bars_head(bridge.read(texts).pooled).argmax(-1) + 1
    assert torch.equal(likely, batch.bars)
