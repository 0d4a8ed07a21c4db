"""Plans of real music, found by contrastive embeddings of texts and music (CLIP, Radford et al. 2021).

With InfoNCE at its best, the scaled similarity of a text and a piece is log p(piece | text) / p(piece) up to a constant
of the text. So drawing from the softmax of the similarities over a bank of pieces draws a piece as the text would.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from fairseq_meloformer.errors import InputError

BANK_BARS: Final = 32
"""Bars that are kept of a piece."""

_WIDTH: Final = 128
_FIRST_SCALE: Final = 14.0  # the inverse of CLIP's first temperature, .07
_LARGEST_SCALE: Final = 100.0
_AT_ONCE: Final = 256  # pieces of the bank that are embedded together


class Retrieval(nn.Module):
    """Two towers and the bank, which is part of the weights: half precision, at most BANK_BARS bars a piece.

    Args:
        channels: of a standardised bar.
        text_dim: of a pooled text.
        width: of the hidden states.
        pieces: that the bank has room for.
    """

    bank: Tensor
    bank_bars: Tensor

    def __init__(self, channels: int, text_dim: int, width: int, pieces: int) -> None:
        super().__init__()
        if pieces < 1:
            raise InputError(f"retrieval needs a bank of at least one piece; received {pieces}")
        self.of_text = nn.Sequential(nn.Linear(text_dim, width), nn.SiLU(), nn.Linear(width, _WIDTH))
        self.of_bar = nn.Sequential(nn.Linear(channels, width), nn.SiLU())
        self.of_piece = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, _WIDTH))
        self.log_scale = nn.Parameter(torch.tensor(_FIRST_SCALE).log())
        self.register_buffer("bank", torch.zeros(pieces, BANK_BARS, channels, dtype=torch.float16))
        self.register_buffer("bank_bars", torch.zeros(pieces, dtype=torch.long))

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied by."""
        return self.log_scale.exp().clamp(max=_LARGEST_SCALE)

    def fill(self, pieces: Iterable[Tensor]) -> None:
        """Put standardised pieces (bars, channels), no more than there is room for, into the bank."""
        self.bank.zero_()
        self.bank_bars.zero_()
        for place, piece in enumerate(pieces):
            kept = piece[:BANK_BARS]
            self.bank[place, : len(kept)] = kept.to(self.bank)
            self.bank_bars[place] = len(kept)

    def music(self, z_music: Tensor, mask: Tensor) -> Tensor:
        """Embeddings (batch, width) of length 1 of standardised pieces (batch, bars, channels)."""
        seen = self.of_bar(z_music) * mask[..., None]
        bars = mask.sum(1, keepdim=True).clamp(min=1)
        mean = seen.sum(1) / bars
        spread = ((seen - mean[:, None]).square() * mask[..., None]).sum(1) / bars
        return F.normalize(self.of_piece(torch.cat([mean, (spread + 1e-6).sqrt()], -1)), dim=-1)

    def contrast(self, pooled: Tensor, z_music: Tensor, mask: Tensor) -> Tensor:
        """InfoNCE of each text and each piece (batch,) against the others of the batch (of this process)."""
        logits = self.scale * F.normalize(self.of_text(pooled), dim=-1) @ self.music(z_music, mask).T
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, own, reduction="none") + F.cross_entropy(logits.T, own, reduction="none")) / 2

    def find(self, pooled: Tensor, bars: Sequence[int], seeds: Sequence[int], guidance_scale: float) -> Tensor:
        """A piece of the bank for each text: (batch, bars, channels), zero in padding.

        Pieces of too few bars are repeated, of too many cut. `guidance_scale` multiplies the similarities, as it does
        with the log-ratio of text and no text in a classifier-free guided model.

        Raises:
            InputError: the bank is empty.
        """
        if not bool(self.bank_bars.any()):
            raise InputError("the bank of this retrieval is empty: train it on a store of summaries")
        embedded = torch.cat([self._embedded(start) for start in range(0, len(self.bank), _AT_ONCE)])
        logits = guidance_scale * self.scale * F.normalize(self.of_text(pooled), dim=-1) @ embedded.T
        shares = logits.masked_fill(self.bank_bars == 0, -torch.inf).softmax(-1).cpu()
        plans = []
        for share, count, seed in zip(shares, bars, seeds, strict=True):
            chosen = int(torch.multinomial(share, 1, generator=torch.Generator().manual_seed(seed)))
            places = torch.arange(count, device=self.bank.device) % self.bank_bars[chosen]
            plans.append(self.bank[chosen, places].float())
        return torch.nn.utils.rnn.pad_sequence(plans, batch_first=True)

    def _embedded(self, start: int) -> Tensor:
        counts = self.bank_bars[start : start + _AT_ONCE]
        mask = torch.arange(BANK_BARS, device=counts.device) < counts[:, None]
        return self.music(self.bank[start : start + _AT_ONCE].float(), mask)
