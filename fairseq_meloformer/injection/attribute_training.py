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
        noise: on what is read, in standard deviations of the summaries.
    """

    def __init__(self, layers: int, dim: int, noise: float = 1.0) -> None:
        super().__init__()
        self.noise = noise
        self.readers = nn.ModuleList(nn.Linear(dim, len(AXES)) for _ in range(layers))

    def forward(self, plan: Tensor, mask: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error, mean of the layers and sum over what was measured in the bars; how many values that is.

        Args:
            plan: (songs, bars, layers, dim) their own summaries.
            mask: (songs, bars) which of them there are.
            wanted: (songs, bars, axes) what is to be read, as `positions` has it; NaN where nothing was measured.
        """
        known = wanted.isfinite() & mask[..., None]
        noised = plan + self.noise * spread(plan, mask).detach() * torch.randn_like(plan)
        with torch.autocast(plan.device.type, enabled=False):  # what is to be read is finer than bfloat16
            read = torch.stack([reader(noised[:, :, layer]) for layer, reader in enumerate(self.readers)])
        errors = (read - wanted.nan_to_num().to(read)).square().mean(0)
        return (errors * known).sum(), known.sum()


def positions(song: Sequence[str], quantiles: Quantiles) -> Tensor:
    """Where the bars of a song (tokens), each with those before it, lie in a corpus on the control axes.

    Returns:
        (finished bars, axes) from -1 to 1; NaN where nothing can be measured.
    """
    values = by_bar(song, span=_SPAN)
    rows = [
        [value if math.isnan(value) else quantiles.position(axis, value) for axis, value in zip(AXES, row, strict=True)]
        for row in values.tolist()
    ]
    return torch.tensor(rows).reshape(len(values), len(AXES))
