"""The methods that are not the bridge: what they sample and what their losses say."""

import pytest
import torch
from bridge.small import close, small_bridge, songs

from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.bridge.baselines import vae
from fairseq_meloformer.bridge.baselines.methods import SETTINGS, WITH_END
from fairseq_meloformer.bridge.baselines.objective import loss
from fairseq_meloformer.bridge.baselines.retrieval import BANK_BARS
from fairseq_meloformer.bridge.objective import Weights
from fairseq_meloformer.bridge.process import BridgeProcess
from fairseq_meloformer.errors import InputError

TEXTS = ["storm", "calm", "storm"]
DRAWN = {"bridge", "flow", "vae", "retrieval"}
OWN_LOSS = sorted(set(SETTINGS) - {"prefix"})


def made(method, **settings):
    process = BridgeProcess(noise=0.0, endpoint_noise=1.0) if method == "flow" else BridgeProcess()
    end = "regressed" if method in WITH_END else "none"
    bridge = small_bridge(process=process, stirred=True, method=method, endpoint=end, **settings)
    if method == "retrieval":
        generator = torch.Generator().manual_seed(3)
        bars = (2, 3, BANK_BARS + 5, 4)
        pieces = [torch.randn(count, bridge.summaries.channels, generator=generator) for count in bars]
        bridge.retrieval.fill(pieces)
        bridge.retrieval.log_scale.data.zero_()  # none is much nearer than another
    return bridge


def method_of(name):
    return made(name, bank=6) if name == "retrieval" else made(name)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_plan_has_the_form_of_the_bridges_and_does_not_depend_on_its_batch(name):
    bridge = method_of(name)
    plan, mask = bridge.plan(TEXTS, [3, 5, 3], seed=[1, 2, 9], nfe=3)
    assert plan.shape == (3, 5, bridge.config.layers, bridge.config.dim)
    assert mask.sum(1).tolist() == [3, 5, 3]
    assert not plan[0, 3:].any()
    alone, _ = bridge.plan(TEXTS[1:2], 5, seed=2, nfe=3)
    close(alone[0], plan[1])
    assert torch.equal(plan[0], plan[2]) == (name not in DRAWN)
    assert torch.equal(plan[0, :3], plan[1, :3]) == (name == "mean")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_method_is_kept_whole(name, tmp_path):
    bridge = method_of(name)
    bridge.save_pretrained(tmp_path)
    again = Bridge.from_pretrained(tmp_path, encoder=bridge.encoder)
    assert again.config.method == name
    assert torch.equal(again.plan(TEXTS, 4, nfe=2)[0], bridge.plan(TEXTS, 4, nfe=2)[0])


@pytest.mark.parametrize("name", OWN_LOSS)
def test_every_method_learns(name):
    torch.manual_seed(0)
    bridge = method_of(name).train()
    batch = songs(bridge, TEXTS, [3, 5, 4])
    optimiser = torch.optim.Adam(bridge.parameters(), lr=0.01)
    totals = []
    for _ in range(30):
        result = loss(bridge, batch, Weights())
        assert result.songs == 3
        optimiser.zero_grad()
        result.total.backward()
        optimiser.step()
        totals.append(float(result.total.detach()))
    assert totals[-1] < 0.9 * totals[0]


def test_parts_add_up_to_the_loss():
    weights = Weights(bars=0.5, latents=0.25)
    for name, expected in (
        ("regression", lambda parts: parts["endpoint"] + 0.5 * parts["bars"]),
        ("vae", lambda parts: parts["reconstruction"] + 0.25 * parts["kl"] + 0.5 * parts["bars"]),
        ("retrieval", lambda parts: parts["contrast"] + 0.5 * parts["bars"]),
    ):
        bridge = method_of(name)
        result = loss(bridge, songs(bridge, TEXTS, [3, 5, 4]), weights)
        close(result.total, expected(result.parts))


def test_divergence_of_latents_is_that_of_two_normals():
    torch.manual_seed(0)
    latents = vae.Latents(6, 8)
    z, mask = torch.randn(1, 2, 6), torch.ones(1, 2, dtype=torch.bool)
    with torch.no_grad():
        for layer in (latents.of_piece, latents.of_bar):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.bias[0] = 3.0  # one mean; all else stands at 0
        _, kl = latents(z, mask, torch.zeros(1, 2, vae.PIECE + vae.BAR))
    std = float(torch.nn.functional.softplus(torch.tensor(0.0))) + 1e-4
    normal = torch.distributions.Normal
    means = torch.tensor([3.0] + [0.0] * (vae.PIECE - 1))
    piece = torch.distributions.kl_divergence(normal(means, std), normal(0.0, 1.0)).sum()
    bar = torch.distributions.kl_divergence(normal(means[: vae.BAR], std), normal(0.0, 1.0)).sum()
    torch.testing.assert_close(kl, ((piece + 2 * bar) / 2)[None])


def test_retrieval_gives_real_pieces_repeated_or_cut():
    bridge = method_of("retrieval")
    bank = bridge.summaries.denormalise(bridge.retrieval.bank.float())
    plan, _ = bridge.plan(["storm"] * 40, 6, seed=0)
    found = set()
    for one in plan:
        counts = bridge.retrieval.bank_bars.tolist()
        matches = [
            place
            for place, count in enumerate(counts)
            if count and torch.equal(one, bank[place, torch.arange(6) % count])
        ]
        assert len(matches) == 1
        found.update(matches)
    assert len(found) > 1
    assert found <= {0, 1, 2, 3}


def test_strong_guidance_retrieves_the_nearest():
    bridge = method_of("retrieval")
    text = bridge.read(["storm"])
    mask = torch.arange(BANK_BARS) < bridge.retrieval.bank_bars[:, None]
    with torch.no_grad():
        embedded = bridge.retrieval.music(bridge.retrieval.bank.float(), mask)
        near = torch.nn.functional.normalize(bridge.retrieval.of_text(text.pooled), dim=-1) @ embedded.T
    nearest = int(near[0, :4].argmax())
    plans, _ = bridge.plan(["storm"] * 5, 2, guidance_scale=1e4)
    for plan in plans:
        close(plan, bridge.summaries.denormalise(bridge.retrieval.bank[nearest, :2].float()))


def test_an_empty_bank_and_settings_that_do_not_fit_are_refused():
    bridge = small_bridge(method="retrieval", endpoint="none", bank=2)
    with pytest.raises(InputError, match="bank of this retrieval is empty"):
        bridge.plan(["storm"], 2)
    for settings, reason in (
        ({"method": "retrieval", "endpoint": "none"}, "bank of at least one piece"),
        ({"method": "magic"}, "method must be one of"),
        ({"method": "bridge", "endpoint": "none"}, "need a text end"),
        ({"scope": "future"}, "scope must be one of"),
    ):
        with pytest.raises(InputError, match=reason):
            small_bridge(**settings)
