"""The optimiser `muon`: Muon for the matrices of a MuseFormer's layers, AdamW for all else.

Source: Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024), with steps as long as those of
AdamW, so that its rates hold (Liu et al., Muon is scalable for LLM training, 2025). Both halves are PyTorch's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from fairseq_meloformer.errors import InputError

_OF_LAYERS = "of_layers"


def mark(layers: nn.Module) -> None:
    """Leave the matrices of layers to Muon; embeddings and what makes logits are none of them."""
    for parameter in layers.parameters():
        setattr(parameter, _OF_LAYERS, parameter.ndim == 2)


class MuonAndAdamW(Optimizer):
    """One optimiser of one or two parameter groups, each of which PyTorch's own makes its steps with.

    Args:
        params: of a model; those that `mark` has marked are the first group, all others, if there are any, the second.
        momentum: of Muon.
        betas: of AdamW.
        weight_decay: of both.

    Raises:
        InputError: no parameter is marked, or PyTorch has no Muon yet.
    """

    def __init__(
        self, params: Iterable[Tensor], momentum: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise InputError(f"--optimizer muon needs PyTorch 2.9 or newer, received {torch.__version__}: take adam")
        matrices, others = _apart(params)
        if not matrices:
            raise InputError("--optimizer muon needs a museformer_lm with layers to train: take adam for all else")
        # nesterov and five steps of Newton-Schulz, as published
        muon = torch.optim.Muon(matrices, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._inner: list[Optimizer] = [muon]
        if others:
            self._inner.append(AdamW(others, betas=betas, weight_decay=weight_decay))
        super().__init__([inner.param_groups[0] for inner in self._inner], {})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make a step."""
        loss = None if closure is None else closure()
        for inner, group in zip(self._inner, self.param_groups, strict=True):
            inner.param_groups, inner.state = [group], self.state  # which loading replaces
            inner.step()
        return loss


@dataclass
class MuonConfig(FairseqDataclass):
    """Options; those that fairseq's `adam` has are named as there."""

    muon_momentum: float = field(default=0.95, metadata={"help": "momentum of Muon"})
    adam_betas: Any = field(default=(0.9, 0.999), metadata={"help": "betas of AdamW"})
    weight_decay: float = field(default=0.0, metadata={"help": "weight decay"})
    lr: Any = field(default=II("optimization.lr"))


@register_optimizer("muon", dataclass=MuonConfig)
class FairseqMuon(FairseqOptimizer):
    """fairseq's face of `MuonAndAdamW`."""

    def __init__(self, cfg: MuonConfig, params: Iterable[Tensor]) -> None:
        super().__init__(cfg)
        self._optimizer = MuonAndAdamW(params, cfg.muon_momentum, _betas(cfg.adam_betas), cfg.weight_decay)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """What overrides that of a checkpoint."""
        return {"lr": self.cfg.lr[0], "weight_decay": self.cfg.weight_decay}


def _betas(given: Any) -> tuple[float, float]:  # noqa: ANN401  text, or a list of omegaconf
    try:
        first, second = map(float, given.strip("() ").split(",") if isinstance(given, str) else given)
    except ValueError:
        raise InputError(f"--adam-betas must be two numbers such as (0.9, 0.98), received {given!r}") from None
    return first, second


def _apart(params: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Marked parameters and the others."""
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for parameter in params:
        parts[not getattr(parameter, _OF_LAYERS, False)].append(parameter)
    return parts
