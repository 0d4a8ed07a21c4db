"""The optimiser of two halves: each steps as PyTorch does, and a training that was stopped goes on as it would have."""

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import train as fairseq_train
from torch import nn

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.checkpoints import read_state
from fairseq_meloformer.plugin.muon import FairseqMuon, MuonAndAdamW, MuonConfig, mark

BETAS, DECAY = (0.9, 0.98), 0.01


def network():
    """An embedding and a layer."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 4), "layers": nn.Linear(4, 6)})
    mark(model["layers"])
    return model


def train(model, *optimisers, steps):
    """Rates are set anew for every step, as schedules do."""
    for step in range(steps):
        loss = model["layers"](model["embedding"](torch.arange(5))).square().sum()
        loss.backward()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = 0.01 / (step + 1)
            optimiser.step()
            optimiser.zero_grad()
    return [parameter.detach().clone() for parameter in model.parameters()]


def ours(model):
    return MuonAndAdamW(filter(lambda each: each.requires_grad, model.parameters()), 0.95, BETAS, DECAY)


@pytest.mark.parametrize("alone", [False, True])
def test_matrices_of_layers_step_by_muon_and_all_else_by_adamw(alone):
    found, model = network(), network()
    matrix, bias = model["layers"].weight, model["layers"].bias
    muon = torch.optim.Muon([matrix], weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([model["embedding"].weight, bias], betas=BETAS, weight_decay=DECAY)
    if alone:  # all else is frozen
        for each in (found, model):
            each.requires_grad_(requires_grad=False)["layers"].weight.requires_grad_(requires_grad=True)
    expected = train(model, *([muon] if alone else [muon, adamw]), steps=4)
    for one, other in zip(train(found, ours(found), steps=4), expected, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_a_model_without_layers_is_refused():
    with pytest.raises(InputError, match="take adam for all else"):
        ours(nn.Linear(2, 2))


@pytest.mark.parametrize("betas", ["0.9", "(0.9, high)", ""])
def test_betas_are_two_numbers(betas):
    with pytest.raises(InputError, match=r"--adam-betas must be two numbers such as \(0\.9, 0\.98\), received"):
        FairseqMuon(MuonConfig(adam_betas=betas), network().parameters())


def test_a_pytorch_without_muon_is_refused(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(InputError, match=r"PyTorch 2\.9 or newer"):
        ours(network())


def test_a_training_that_is_stopped_goes_on_as_it_would_have(corpus, tmp_path):
    def run(folder, updates):
        arguments = ("--task", "museformer_language_modeling", "--arch", "museformer_lm_v2s1_debug", "--cpu")
        arguments += ("--optimizer", "muon", "--adam-betas", "(0.9, 0.98)", "--weight-decay", 0.01, "--lr", 0.003)
        arguments += ("--max-tokens", 300, "--no-epoch-checkpoints", "--num-workers", 0, "--disable-validation")
        arguments += ("--dropout", 0, "--attention-dropout", 0, "--save-dir", folder, "--max-update", updates)
        given = [str(value) for value in (corpus.data, *arguments)]
        parsed = options.parse_args_and_arch(options.get_training_parser(), given)
        fairseq_train.main(convert_namespace_to_omegaconf(parsed))
        return read_state(folder / "checkpoint_last.pt")["model"]

    expected = run(tmp_path / "whole", 4)
    stopped = run(tmp_path / "parted", 2)
    found = run(tmp_path / "parted", 4)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=0, msg=name)
    assert any(not torch.equal(stopped[name], value) for name, value in expected.items())
