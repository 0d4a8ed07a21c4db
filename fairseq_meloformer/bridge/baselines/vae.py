"""A conditional variational autoencoder (Sohn et al. 2015): latents beside the text say which of its music is meant."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from fairseq_meloformer.encoders.embeddings import TextStates

# Numbers that say what a piece is like as a whole, and those that say it of each bar.
PIECE, BAR = 32, 16


class Latents(nn.Module):
    """The encoder, and the way of latents (batch, bars, PIECE + BAR) into the denoiser.

    The latents of a piece are the same in all its bars; one normal distribution for all of it is what they follow in
    sampling, since bars drawn one by one would average out to the same piece every time.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.of_piece = nn.Linear(2 * width, 2 * PIECE)
        self.of_bar = nn.Linear(2 * width, 2 * BAR)
        self.spread = nn.Linear(PIECE + BAR, channels)

    def forward(self, z_music: Tensor, mask: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Latents drawn with `noise` (batch, bars, PIECE + BAR), and their divergence (batch,) from N(0, I) per bar."""
        seen = self.read(z_music) * mask[..., None]
        bars = mask.sum(1, keepdim=True)
        mean = seen.sum(1) / bars
        spread = ((seen - mean[:, None]).square() * mask[..., None]).sum(1) / bars
        piece, piece_kl = _drawn(self.of_piece(torch.cat([mean, (spread + 1e-6).sqrt()], -1)), noise[:, 0, :PIECE])
        around = mean[:, None].expand_as(seen)
        bar, bar_kl = _drawn(self.of_bar(torch.cat([seen, around], -1)), noise[..., PIECE:])
        kl = (piece_kl + (bar_kl * mask).sum(1)) / bars[:, 0]
        return together(piece, bar), kl

    def decode(self, denoiser: nn.Module, latents: Tensor, text: TextStates, mask: Tensor) -> Tensor:
        """Standardised summaries (batch, bars, channels): the denoiser at the text end, where it sees no music."""
        batch, estimate = len(latents), self.spread(latents)
        ones, nothing = latents.new_ones(batch), torch.zeros_like(estimate)
        heard = torch.ones(batch, dtype=torch.bool, device=latents.device)
        decoded: Tensor = denoiser(estimate, ones, nothing, text, mask, heard)
        return decoded


def together(piece: Tensor, bar: Tensor) -> Tensor:
    """Latents of pieces (batch, PIECE) and of their bars (batch, bars, BAR) as one (batch, bars, PIECE + BAR)."""
    return torch.cat([piece[:, None].expand(-1, bar.shape[1], -1), bar], -1)


def _drawn(statistics: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A draw from N(mean, std^2), and the sum over the last dimension of its divergence from N(0, 1)."""
    mean, raw = statistics.chunk(2, -1)
    std = F.softplus(raw) + 1e-4
    return mean + std * noise, ((mean.square() + std.square() - 1) / 2 - std.log()).sum(-1)
