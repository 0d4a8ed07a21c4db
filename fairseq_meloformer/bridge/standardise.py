"""Summaries and texts in unit variance, where the bridge lives, and the way back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fairseq_meloformer.encoders.embeddings import TextStates
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.summaries.statistics import PrincipalComponents, Statistics


class SummaryStandardiser(nn.Module):
    """Summaries (..., layers, dim) <-> channels (..., channels).

    Each channel of each layer has its mean taken off and is divided by its standard deviation. Without principal
    components that is all; with them, the coordinates along the components follow, divided by one number that brings
    their average variance to 1: they keep their proportions, so that a squared error means the same along each.

    Args:
        layers: summaries of a bar.
        dim: width of a summary.
        components: principal components, 0 for none.
        kept: layers (from 0) that channels are made of; the others come back as their mean. All if None.
    """

    mean: Tensor
    scale: Tensor
    centre: Tensor
    basis: Tensor
    unit: Tensor

    def __init__(self, layers: int, dim: int, components: int, kept: Sequence[int] | None = None) -> None:
        super().__init__()
        self.kept = list(range(layers)) if kept is None else list(kept)
        width = len(self.kept) * dim
        if not 0 <= components <= width:
            raise InputError(f"components must be 0 (none) to layers * dim = {width}; received {components} components")
        self.channels = components or width
        self.register_buffer("mean", torch.zeros(layers, dim))
        self.register_buffer("scale", torch.ones(layers, dim))
        self.register_buffer("centre", torch.zeros(len(self.kept), dim))
        self.register_buffer("basis", torch.eye(components, width).reshape(components, len(self.kept), dim))
        self.register_buffer("unit", torch.ones(()))

    def fit(self, statistics: Statistics, components: PrincipalComponents | None = None) -> None:
        """Take over statistics of raw summaries, and components of standardised ones of the layers that are kept.

        Raises:
            InputError: their shapes are not those of this bridge.
        """
        given = (tuple(statistics.mean.shape), 0 if components is None else len(components.components))
        if given != (tuple(self.mean.shape), len(self.basis)):
            raise InputError(
                f"the bridge is for summaries of (layers, dim) {tuple(self.mean.shape)} with {len(self.basis)} "
                f"components; received statistics of {given[0]} with {given[1]}"
            )
        if components is not None and components.mean.shape != self.centre.shape:
            raise InputError(
                f"the bridge makes summaries of layers {self.kept}, (layers, dim) {tuple(self.centre.shape)}; received "
                f"components of {tuple(components.mean.shape)}"
            )
        self.mean.copy_(statistics.mean)
        self.scale.copy_(statistics.scale)
        if components is not None:
            self.centre.copy_(components.mean)
            self.basis.copy_(components.components)
            self.unit.copy_(components.variances.mean().sqrt())

    def normalise(self, summaries: Tensor) -> Tensor:
        """(..., layers, dim) -> (..., channels)."""
        standard = ((summaries - self.mean) / self.scale)[..., self.kept, :]
        if not len(self.basis):
            return standard.flatten(-2)
        return (standard - self.centre).flatten(-2) @ self.basis.flatten(1).T / self.unit

    def denormalise(self, channels: Tensor) -> Tensor:
        """(..., channels) -> (..., layers, dim), the inverse of ``normalise`` on what the components span."""
        standard = self.spread(channels)
        if len(self.basis):
            standard[..., self.kept, :] += self.centre
        return standard * self.scale + self.mean

    def spread(self, difference: Tensor) -> Tensor:
        """Difference of two (..., channels) as a difference of standardised summaries (..., layers, dim)."""
        flat = self.unit * difference @ self.basis.flatten(1) if len(self.basis) else difference
        complete = flat.new_zeros(*flat.shape[:-1], *self.mean.shape)
        complete[..., self.kept, :] = torch.unflatten(flat, -1, self.centre.shape)
        return complete


class TextStandardiser(nn.Module):
    """Token states and pooled texts in zero mean and unit variance per channel: raw ones are all nearly alike."""

    moments: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Mean and standard deviation of token states, then of pooled texts.
        self.register_buffer("moments", torch.tensor([0.0, 1.0, 0.0, 1.0])[:, None].repeat(1, dim))

    def fit(self, texts: TextStates) -> None:
        """Take over the moments of a sample of at least two texts."""
        for index, rows in enumerate((texts.states[texts.mask], texts.pooled)):
            std, mean = torch.std_mean(rows, dim=0)
            self.moments[2 * index] = mean
            self.moments[2 * index + 1] = torch.where(std > 0, std, torch.ones_like(std))

    def forward(self, text: TextStates) -> TextStates:
        """Return the text in unit variance."""
        mean, std, pooled_mean, pooled_std = self.moments
        return TextStates((text.states - mean) / std, text.mask, (text.pooled - pooled_mean) / pooled_std)
