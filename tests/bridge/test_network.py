"""The networks: what they may and may not see, how they start, how large they are."""

import pytest
import torch
from bridge.small import DIM, LAYERS, TEXT_DIM, close, small_bridge

from fairseq_meloformer.bridge import Bridge, BridgeConfig
from fairseq_meloformer.bridge.network import SIZES, NetworkConfig
from fairseq_meloformer.encoders.embeddings import TextStates
from fairseq_meloformer.errors import InputError

CHANNELS = LAYERS * DIM


def inputs(batch: int = 2, bars: int = 5, tokens: int = 4) -> dict[str, object]:
    generator = torch.Generator().manual_seed(2)
    u_t, z_text = torch.randn(2, batch, bars, CHANNELS, generator=generator)
    states = torch.randn(batch, tokens, TEXT_DIM, generator=generator)
    text = TextStates(states, torch.ones(batch, tokens, dtype=torch.bool), states.mean(1))
    return {
        "u_t": u_t,
        "t": torch.linspace(0.2, 0.9, batch),
        "z_text": z_text,
        "text": text,
        "mask": torch.ones(batch, bars, dtype=torch.bool),
        "heard": torch.ones(batch, dtype=torch.bool),
    }


def test_the_start_is_at_rest() -> None:
    bridge = small_bridge()
    given = inputs()
    assert not bridge.denoiser(**given).any()
    assert not bridge.endpoint(given["text"], given["mask"]).any()
    assert not bridge.bars_head(torch.randn(2, TEXT_DIM)).any()


def test_padding_of_bars_and_tokens_changes_nothing() -> None:
    bridge = small_bridge(stirred=True)
    given = inputs()
    text, mask = given["text"], given["mask"]
    assert isinstance(text, TextStates)
    padded = dict(given)
    for name in ("u_t", "z_text"):
        padded[name] = torch.cat([given[name], torch.full((2, 3, CHANNELS), 9.0)], 1)
    padded["mask"] = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], 1)
    padded["text"] = TextStates(
        torch.cat([text.states, torch.full((2, 2, TEXT_DIM), -9.0)], 1),
        torch.cat([text.mask, torch.zeros(2, 2, dtype=torch.bool)], 1),
        text.pooled,
    )
    close(bridge.denoiser(**padded)[:, :5], bridge.denoiser(**given))
    close(bridge.endpoint(padded["text"], padded["mask"])[:, :5], bridge.endpoint(text, mask))


@pytest.mark.parametrize("name", ["u_t", "t", "z_text", "text"])
def test_every_input_counts(name: str) -> None:
    bridge = small_bridge(stirred=True)
    given, other = inputs(), inputs()
    swapped = other[name]
    other[name] = TextStates(*(part.flip(0) for part in swapped)) if name == "text" else swapped.flip(0)
    assert (bridge.denoiser(**given) - bridge.denoiser(**other)).abs().max() > 1e-3


def test_order_and_number_of_bars_count() -> None:
    bridge = small_bridge(stirred=True)
    given = inputs()
    flipped = {**given, "u_t": given["u_t"].flip(1), "z_text": given["z_text"].flip(1)}
    assert (bridge.denoiser(**given) - bridge.denoiser(**flipped).flip(1)).abs().max() > 1e-3
    longer = torch.ones(2, 9, dtype=torch.bool)
    ends = bridge.endpoint(given["text"], longer)
    assert (ends[:, :5] - bridge.endpoint(given["text"], given["mask"])).abs().max() > 1e-3
    assert (ends[:, 1:] - ends[:, :-1]).abs().max() > 1e-3


def test_an_unheard_text_is_not_seen_at_all() -> None:
    bridge = small_bridge(stirred=True)
    given = inputs()
    given["heard"] = torch.tensor([True, False])
    other = {**given, "z_text": -given["z_text"], "text": TextStates(*(part.flip(0) for part in given["text"]))}
    output, changed = bridge.denoiser(**given), bridge.denoiser(**other)
    assert (output[0] - changed[0]).abs().max() > 1e-3
    close(output[1], changed[1])


def count(size: str, layers: int, dim: int, components: int, text_dim: int) -> int:
    with torch.device("meta"):
        bridge = Bridge(BridgeConfig(layers, dim, text_dim, components, SIZES[size]))
    return sum(parameter.numel() for parameter in bridge.parameters())


def test_sizes_are_as_promised() -> None:
    assert count("debug", 2, 32, 0, 16) < 100_000
    assert 4e6 < count("mini", 4, 256, 128, 384) < 8e6
    assert 4e6 < count("mini", 4, 256, 0, 384) < 8e6
    assert 90e6 < count("base", 4, 512, 0, 768) < 110e6


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"depth": 0}, "from 1 to"), ({"width": 60}, "width 60 and 4 heads"), ({"dropout": 1.0}, "received 1.0")],
)
def test_impossible_sizes_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        NetworkConfig(**settings)  # type: ignore[arg-type]
