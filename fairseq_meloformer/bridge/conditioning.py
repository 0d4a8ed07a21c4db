"""What is asked for, in numbers, as one more token of a text.

Free text tells a bridge what music is like; a few numbers tell it more exactly. In training they are what was measured
in the music, each withheld at random, so that a bridge follows any of them or none; in composing they come from what
`meloformer understand` reads in the prompt (`probe.amounts`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from fairseq_meloformer.encoders.embeddings import TextStates


class AttributeConditioning(nn.Module):
    """Adds a token to standardised texts, and to their pooled vector, made of (batch, axes) values.

    Values lie in [-1, 1], in the order of ALL_AXES, of which the first `axes` count; NaN where nothing is asked.
    """

    def __init__(self, text_dim: int, axes: int) -> None:
        super().__init__()
        self.axes = axes
        self.token = nn.Linear(2 * axes, text_dim)
        self.pooled = nn.Linear(2 * axes, text_dim)

    def forward(self, text: TextStates, values: Tensor) -> TextStates:
        """The texts with their values."""
        values = values[:, : self.axes]
        known = values.isfinite()
        told = torch.cat([values.nan_to_num(), known.to(values)], -1)
        states = torch.cat([self.token(told)[:, None], text.states], 1)
        return TextStates(states, F.pad(text.mask, (1, 0), value=True), text.pooled + self.pooled(told))


def withheld(values: Tensor, seeds: Sequence[int]) -> Tensor:
    """Values of which each item lacks a share that is drawn too: from none of them to all; NaN instead."""
    coins = [torch.rand(1 + values.shape[1], generator=torch.Generator().manual_seed(seed ^ 1)) for seed in seeds]
    drawn = torch.stack(coins).to(values.device)
    return values.masked_fill(drawn[:, 1:] < drawn[:, :1], torch.nan)
