"""Mean, standard deviation and principal components of summaries, streamed in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Moments:
    """Running count, mean and sum of squared deviations of vectors, merged as Chan, Golub and LeVeque (1979) do.

    Attributes:
        count: vectors seen.
        mean: (layers, dim) float64, or None before the first.
        squares: (layers, dim) float64 sum of squared deviations from the mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.squares = torch.zeros(0, dtype=torch.float64)

    def update(self, summaries: Tensor) -> None:
        """Take in the bars of an item: (bars, layers, dim)."""
        other = Moments()
        other.count = len(summaries)
        if other.count:
            other.squares, other.mean = torch.var_mean(summaries.double(), dim=0, correction=0)
            other.squares *= other.count
            self.merge(other)

    def merge(self, other: Moments) -> None:
        """Take in what another process has seen."""
        if not other.count:
            return
        if not self.count:
            self.count, self.mean, self.squares = other.count, other.mean.clone(), other.squares.clone()
            return
        total = self.count + other.count
        difference = other.mean - self.mean
        self.squares = self.squares + other.squares + difference**2 * (self.count * other.count / total)
        self.mean = self.mean + difference * (other.count / total)
        self.count = total

    def statistics(self) -> Statistics:
        """Mean and population standard deviation so far.

        Raises:
            InputError: if no bar was seen.
        """
        if not self.count:
            raise InputError("statistics need at least one bar; the store's subset has none")
        return Statistics(self.mean, (self.squares / self.count).sqrt(), self.count)


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation per layer and channel.

    Attributes:
        mean: (layers, dim) float64.
        std: (layers, dim) float64; 0 where a channel never changes.
        bars: number of bars they were computed from.
    """

    mean: Tensor
    std: Tensor
    bars: int

    @property
    def scale(self) -> Tensor:
        """What to divide by (layers, dim): the standard deviation, and 1 for channels that never change."""
        return torch.where(self.std > 0, self.std, torch.ones_like(self.std))

    def normalise(self, summaries: Tensor) -> Tensor:
        """(..., layers, dim) to zero mean and unit variance in every channel; keeps dtype and device."""
        return (summaries - self.mean.to(summaries)) / self.scale.to(summaries)

    def save(self, path: str | Path) -> None:
        """Write as safetensors, atomically."""
        tensors = {"mean": self.mean, "std": self.std, "bars": torch.tensor(self.bars)}
        write_atomic(path, lambda file: file.write(save(tensors)))

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Read what `save` wrote.

        Raises:
            InputError: if it is missing or no such file.
        """
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} must be a safetensors file with mean, std and bars: {error}") from error
        if set(tensors) != {"mean", "std", "bars"}:
            raise InputError(f"{path} must hold the tensors mean, std and bars, received {sorted(tensors)}")
        return cls(tensors["mean"], tensors["std"], int(tensors["bars"]))


@dataclass(frozen=True)
class PrincipalComponents:
    """The directions in which normalised summaries vary most, all layers of a bar taken together.

    Attributes:
        mean: (layers, dim) float64.
        components: (components, layers, dim) float64, orthonormal over the last two dimensions.
        variances: (components,) float64 variance along each, descending.
        total: variance along all directions.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    total: float

    def project(self, summaries: Tensor) -> Tensor:
        """(..., layers, dim) -> (..., components)."""
        return torch.einsum("...ld,kld->...k", summaries - self.mean.to(summaries), self.components.to(summaries))

    @property
    def explained(self) -> Tensor:
        """(components,) share of the total variance that the first k components hold."""
        return self.variances.cumsum(0) / self.total


def principal_components(items: Iterable[Tensor], components: int) -> PrincipalComponents:
    """Exact PCA by the covariance matrix, gathered item by item.

    Args:
        items: (bars, layers, dim) each; memory grows with (layers * dim) squared only.
        components: how many to keep; at most layers * dim.

    Raises:
        InputError: if there is no bar.
    """
    count, mean, scatter, shape = 0, torch.zeros(0), torch.zeros(0), torch.Size()
    for item in items:
        if not len(item):
            continue
        flat = item.double().flatten(1)
        own = flat.mean(0)
        centred = flat - own
        if not count:
            count, mean, scatter, shape = len(flat), own, centred.T @ centred, item.shape[1:]
            continue
        total = count + len(flat)
        difference = own - mean
        scatter.addmm_(centred.T, centred)
        scatter.addr_(difference, difference, alpha=count * len(flat) / total)
        mean = mean + difference * (len(flat) / total)
        count = total
    if not count:
        raise InputError("principal components need at least one bar; the store's subset has none")
    values, vectors = torch.linalg.eigh(scatter / count)
    kept = vectors.flip(1)[:, :components].T.reshape(-1, *shape)
    return PrincipalComponents(
        mean.reshape(shape), kept, values.flip(0)[:components].clamp(min=0), float(values.clamp(min=0).sum())
    )
