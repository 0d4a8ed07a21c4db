"""A wider MuseFormer that begins as a narrower one: the same function, with more neurons to train on.

Net2WiderNet (Chen, Goodfellow & Shlens 2016, arXiv:1511.05641): every neuron comes several times, and what reads it
splits its weight between the copies. The split is uneven and drawn, without which copies would stay copies.
"""

import math
from dataclasses import replace
from typing import Final

import torch
from torch import nn

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.model import MuseFormer

_MOST_TIMES: Final = 16


@torch.no_grad()
def widened(model: MuseFormer, times: int, seed: int = 0) -> MuseFormer:
    """A model so many times as wide, with as many times the heads, that computes what `model` computes.

    Args:
        model: to begin as. Bars and beats keep the width of their embeddings.
        times: copies of each neuron.
        seed: of the shares that copies have in what reads them: of two, a third to two thirds.

    Raises:
        InputError: a number of times that makes no wider model.
    """
    if not 2 <= times <= _MOST_TIMES:
        raise InputError(f"a model is widened 2 to {_MOST_TIMES} times, received {times}")
    old = model.config
    sizes = {name: times * getattr(old, name) for name in ("dim", "ffn_dim", "heads", "token_dim")}
    wide = MuseFormer(replace(old, **sizes))
    generator = torch.Generator().manual_seed(seed)
    narrow = dict(model.named_modules())
    for name, module in wide.named_modules():
        own = narrow[name]
        if isinstance(module, nn.Embedding) and isinstance(own, nn.Embedding):
            # Embeddings are scaled by the root of their width.
            module.weight.copy_(own.weight.repeat(1, times) / math.sqrt(times))
        elif isinstance(module, nn.Linear) and isinstance(own, nn.Linear):
            _widen(module, own, times, generator)
        else:
            for parameter, part in module.named_parameters(recurse=False):
                part.copy_(own.get_parameter(parameter).repeat(times))
    return wide.eval()


def _widen(wide: nn.Linear, narrow: nn.Linear, times: int, generator: torch.Generator) -> None:
    """Copies of what a layer gives, if it is to be wider, and shares of what it reads as often as that comes."""
    rows = wide.out_features // narrow.out_features
    weight = narrow.weight.repeat(rows, 1)
    copied = (wide.in_features - narrow.in_features) // (times - 1)  # of the inputs; bars and beats come once
    shares = 1 + torch.rand(times, len(weight), copied, generator=generator)
    split = shares / shares.sum(0) * weight[:, :copied]
    wide.weight.copy_(torch.cat([*split, weight[:, copied:]], 1))
    if narrow.bias is not None:
        wide.bias.copy_(narrow.bias.repeat(rows))
