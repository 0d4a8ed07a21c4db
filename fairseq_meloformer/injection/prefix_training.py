"""Training a soft prompt: the text end learns what to inject from the frozen MuseFormer's cross entropy.

Prefix tuning (Li & Liang 2021, arXiv:2101.00190) for a model that reads the past as summaries: the prefix is as many
virtual bars as the piece will have, by default in scope `history`, where they stand before the first bar. Every step
runs the frozen model forward and back over all tokens of its songs.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from fairseq_meloformer.bridge.baselines.objective import added
from fairseq_meloformer.bridge.model import Bridge
from fairseq_meloformer.bridge.objective import Batch, Loss, Weights, bars_error, prepared
from fairseq_meloformer.injection.hooks import inject
from fairseq_meloformer.museformer.config import Scope
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.tokens.vocabulary import BOS, END, PAD


def loss(bridge: Bridge, museformer: MuseFormer, batch: Batch, songs: Tensor, weights: Weights) -> Loss:
    """Loss of a batch; the parts are "tokens", nats a token, and "bars".

    Args:
        bridge: of the method ``prefix``.
        museformer: frozen.
        batch: songs with their texts; of the summaries, only the number of bars counts.
        songs: (batch, length) ids of the songs' tokens, without BOS or END, padded with PAD.
        weights: shares of the parts.
    """
    text, _, mask = prepared(bridge, batch)
    plan = bridge.summaries.denormalise(bridge.ends(text, mask)[0].float()) * mask[..., None, None]
    scope, layers = bridge.config.scope or museformer.config.scope, bridge.config.plan_layers
    parts = {
        "tokens": cross_entropy(museformer, songs, plan, mask, scope, layers),
        "bars": bars_error(bridge, text, batch.bars),
    }
    return added(parts, {"bars": weights.bars})


def cross_entropy(
    museformer: MuseFormer,
    songs: Tensor,
    plan: Tensor | None,
    mask: Tensor | None,
    scope: Scope,
    layers: tuple[int, ...] | None = None,
) -> Tensor:
    """Nats a token (batch,) of songs (batch, length) under a plan, or without one; see `inject`."""
    start = songs.new_full((len(songs), 1), BOS)
    source = torch.cat([start, songs], 1)
    target = torch.cat([songs, songs.new_full((len(songs), 1), PAD)], 1)
    target[torch.arange(len(songs)), (songs != PAD).sum(1)] = END
    if plan is None:
        logits = museformer(source)
    else:
        with inject(museformer, plan, layers, scope=scope, mask=mask):
            logits = museformer(source)
    errors = F.cross_entropy(logits.float().transpose(1, 2), target, ignore_index=PAD, reduction="none")
    return errors.sum(1) / (target != PAD).sum(1)
