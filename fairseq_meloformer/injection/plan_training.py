"""Plan training: a MuseFormer learns to follow summaries that it reads ahead.

Trained the ordinary way, a model hardly needs what the summaries say, since it reads the nearby notes themselves. Here
a song's own summaries, taken beforehand as stage A extracts them, are injected while it learns: noised and with bars
missing, so that imperfect plans are tolerated, and with fewer near bars in view, so that they are needed. Nothing is
added to the model; without injection it still works as before.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, TypeVar

import torch
from torch import Tensor

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection.hooks import inject
from fairseq_meloformer.museformer.config import Scope
from fairseq_meloformer.museformer.model import MuseFormer

T = TypeVar("T")
_TINY: Final = 1e-12


@dataclass(frozen=True)
class PlanTraining:
    """What is drawn for each batch, with torch's own random numbers.

    Attributes:
        probability: of injecting into a batch at all.
        noise: standard deviations of the noise, as a share of the summaries' own, to choose from.
        dropped: shares of bars that are missing in the plan, to choose from.
        single_layer: probability that a plan reaches one layer only, so that each learns to do without the others.
        near: which bars stay in view note by note, to choose from; None for all of the model's.
        scopes: injection scopes to choose from.
        through: whether the loss also trains the summaries that are injected, so that bars learn to say in them what a
            reader needs; otherwise only their reading is learned, as when a published model is tuned.
    """

    probability: float = 0.6
    noise: tuple[float, ...] = (0.0, 0.2, 0.5)
    dropped: tuple[float, ...] = (0.0, 0.1, 0.3)
    single_layer: float = 0.1
    near: tuple[tuple[int, ...] | None, ...] = (None, (), (1,), (1, 2))
    scopes: tuple[Scope, ...] = ("plan", "plan", "plan", "history")
    through: bool = False

    def __post_init__(self) -> None:
        """Report everything that is wrong at once.

        Raises:
            InputError: values out of their ranges.
        """
        checks = (
            (0 <= self.probability <= 1, f"probability must be in [0, 1], received {self.probability}"),
            (all(noise >= 0 for noise in self.noise), f"noise must be at least 0, received {self.noise}"),
            (all(0 <= share < 1 for share in self.dropped), f"dropped must be in [0, 1), received {self.dropped}"),
            (0 <= self.single_layer <= 1, f"single_layer must be in [0, 1], received {self.single_layer}"),
            (bool(self.noise and self.dropped and self.near and self.scopes), "every list must have an entry"),
        )
        if problems := [text for holds, text in checks if not holds]:
            raise InputError("plan training: " + "; ".join(problems))

    def wanted(self) -> bool:
        """Draw whether a batch is injected."""
        return bool(torch.rand(()) < self.probability)

    def plan(self, model: MuseFormer, tokens: Tensor, bars: int | None = None) -> tuple[Tensor, Tensor]:
        """The songs' own summaries and their mask, without dropout, and without gradient unless `through` is set.

        They are in float32 at least, whatever the model calculates in: noise and errors of readers are small.

        Args:
            model: as it stands.
            tokens: (batch, length) of the songs.
            bars: see `MuseFormer.forward`.
        """
        with torch.set_grad_enabled(self.through):
            return own_summaries(model, tokens, bars)

    def injected(self, model: MuseFormer, plan: Tensor, mask: Tensor) -> AbstractContextManager[None]:
        """A context in which a `plan` of the songs in the model's input, drawn worse, is injected."""
        noise = _one_of(self.noise)
        if noise:
            plan = plan + noise * spread(plan, mask) * torch.randn_like(plan)
        share = _one_of(self.dropped)
        mask = mask & (torch.rand(mask.shape, device=mask.device) >= share)
        layers = None
        if torch.rand(()) < self.single_layer:
            layers = [int(torch.randint(len(model.layers), ()))]
        scope, near = _one_of(self.scopes), _one_of(self.near)
        return inject(model, plan, layers=layers, scope=scope, mask=mask, near=near, check=False)


def own_summaries(model: MuseFormer, tokens: Tensor, bars: int | None = None) -> tuple[Tensor, Tensor]:
    """Summaries (batch, bars, layers, dim) and mask (batch, bars) as stage A extracts them, whatever mode it is in."""
    training = model.training
    model.eval()
    try:
        summaries, mask = model.summaries(tokens, bars=bars)
    finally:
        model.train(training)
    return summaries.to(torch.promote_types(summaries.dtype, torch.float32)), mask


def spread(plan: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation (layers, dim) of the bars of a plan; 0 where fewer than two bars tell."""
    counted, number = mask[..., None, None].to(plan), mask.sum()
    mean = (counted * plan).sum((0, 1)) / number.clamp(min=1)
    variance = (counted * (plan - mean).square()).sum((0, 1)) / (number - 1).clamp(min=1)
    return (variance + _TINY).sqrt() * (number > 1)  # the root alone has no gradient at 0


def _one_of(choices: Sequence[T]) -> T:
    return choices[int(torch.randint(len(choices), ()))]
