"""Summaries learn to say what people ask for: readers that plan training can have beside its loss.

What helps to predict the next note most fills a summary first, and whether a melody leaps or is in minor helps little.
But a plan can only ask for what summaries say. So a linear reader of each layer learns to tell the control axes from a
bar's noised summary, and the summary learns to be read. The noise makes it say them aloud, in much of its variance:
what a whisper says, a bridge does not learn. The readers are thrown away after training.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from fairseq_meloformer.injection.plan_training import spread
from fairseq_meloformer.measures.attributes import AXES, by_bar
from fairseq_meloformer.measures.quantiles import Quantiles

_SPAN: Final = 4  # bars: the leaps or the mode of one bar alone are chance


class AttributeReaders(nn.Module):
    """One linear reader a layer, from summaries to the positions of the control axes within a corpus.

    Args:
        layers, dim: of the model whose summaries are read.
        quantiles: of the corpus.
        noise: on what is read, in standard deviations of the summaries.
    """

    def __init__(self, layers: int, dim: int, quantiles: Quantiles, noise: float = 1.0) -> None:
        super().__init__()
        self.quantiles = quantiles
        self.noise = noise
        self.readers = nn.ModuleList(nn.Linear(dim, len(AXES)) for _ in range(layers))

    def forward(self, plan: Tensor, mask: Tensor, songs: Sequence[Sequence[str]]) -> tuple[Tensor, int]:
        """Squared error, mean of the layers and sum over what was measured in the bars; how many values that is.

        Args:
            plan: (songs, bars, layers, dim) their own summaries.
            mask: (songs, bars) which of them there are.
            songs: tokens of each.
        """
        wanted = torch.full((*mask.shape, len(AXES)), torch.nan)
        for row, song in enumerate(songs):
            positions = self._positions(song)
            wanted[row, : len(positions)] = positions
        known = wanted.isfinite() & mask[..., None].cpu()
        noised = plan + self.noise * spread(plan, mask).detach() * torch.randn_like(plan)
        read = torch.stack([reader(noised[:, :, layer]) for layer, reader in enumerate(self.readers)])
        errors = (read - wanted.nan_to_num().to(read)).square().mean(0)
        return (errors * known.to(errors)).sum(), int(known.sum())

    def _positions(self, song: Sequence[str]) -> Tensor:
        """(bars, axes) of the bars that end with each, from -1 to 1; NaN where nothing can be measured."""
        values = by_bar(song, span=_SPAN)
        rows = [[self._position(*pair) for pair in zip(AXES, row, strict=True)] for row in values.tolist()]
        return torch.tensor(rows).reshape(len(values), len(AXES))

    def _position(self, axis: str, value: float) -> float:
        return value if math.isnan(value) else self.quantiles.position(axis, value)
