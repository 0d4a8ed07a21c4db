"""What injecting summaries does: to how well real music is predicted, and to the music that is written."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fairseq_meloformer.composing.composer import Composer, ids_of, summaries_of
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.evaluation.inspection.music import InspectedSong
from fairseq_meloformer.evaluation.inspection.probes import correlation
from fairseq_meloformer.injection.hooks import inject
from fairseq_meloformer.measures.attributes import AXES, Attributes, measure
from fairseq_meloformer.museformer.config import Scope
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.tokens.remi import bars as cut
from fairseq_meloformer.words.prompts import Request

_LONGEST: Final = 16  # bars of a song that are predicted


@dataclass(frozen=True)
class FollowingPiece:
    """A written piece and the song whose summaries it should follow, as measured."""

    asked: Attributes
    heard: Attributes


def perplexities(model: MuseFormer, songs: Sequence[InspectedSong]) -> list[dict[str, Any]]:
    """Perplexity of real songs, token by token, under each injection.

    "identity" puts every summary in its own place, scope past, and must change nothing at all; the others use the
    model's own scope: "oracle" the song's summaries, "other" those of the next song, "zero" nothing but zeros.

    Returns:
        A row per injection: `injection`, `scope`, `perplexity`, and `change`, the largest change of a logit.
    """
    own: Scope = model.config.scope
    tokens = [ids_of(model, [token for bar in cut(song.tokens)[:_LONGEST] for token in bar]) for song in songs]
    real = [_plan(model, ids) for ids in tokens]
    others = [*real[1:], *real[:1]]
    cases: list[tuple[str, Scope | None, list[Tensor] | None]] = [
        ("none", None, None),
        ("identity", "past", real),
        ("oracle", own, real),
        ("other", own, others),
        ("zero", own, [torch.zeros_like(plan) for plan in real]),
    ]
    plain: list[Tensor] = []
    rows = []
    for name, scope, plans in cases:
        loss, change, count = 0.0, 0.0, 0
        for number, ids in enumerate(tokens):
            with torch.inference_mode(), _injected(model, scope, None if plans is None else plans[number]):
                logits = model(ids, model.config.chunking)[0, :-1].float()
            loss += float(functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
            count += len(logits)
            if plans is None:
                plain.append(logits)
            change = max(change, float((logits - plain[number]).abs().max()))
        rows.append({"injection": name, "scope": scope, "perplexity": math.exp(loss / count), "change": change})
    return rows


def _plan(model: MuseFormer, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.summaries(ids, model.config.chunking)[0]


def _injected(model: MuseFormer, scope: Scope | None, plan: Tensor | None) -> AbstractContextManager[None]:
    return nullcontext() if scope is None or plan is None else inject(model, plan, scope=scope)


def pieces(model: MuseFormer, songs: Sequence[InspectedSong], bars: int, seed: int) -> dict[str, list[FollowingPiece]]:
    """Write a piece to each song's summaries: its own ("oracle"), zeros, and none.

    Args:
        model: what writes.
        songs: to follow; their first bars.
        bars: length of the pieces; songs that are shorter are left out.
        seed: of the first piece.
    """
    composer = Composer(model, None)
    device = model.layer_norm.weight.device
    songs = [song for song in songs if len(song.summaries) >= bars]
    if not songs:
        return {}
    wanted = [Request("", seed + number, bars) for number in range(len(songs))]
    first = [[token for bar in cut(song.tokens)[:bars] for token in bar] for song in songs]
    plan = torch.stack([summaries_of(model, tokens) for tokens in first]).to(device)
    mask = torch.ones(plan.shape[:2], dtype=torch.bool, device=device)
    asked = [measure(tokens, metre=song.metre) for song, tokens in zip(songs, first, strict=True)]
    settings = Settings(bar_tokens=256)
    made = {
        "none": composer.compose(wanted, Settings(injected=False, bar_tokens=256)),
        "zero": composer.compose(wanted, settings, (torch.zeros_like(plan), mask)),
        "oracle": composer.compose(wanted, settings, (plan, mask)),
    }
    return {
        name: [FollowingPiece(song, measure(piece.midi)) for song, piece in zip(asked, written, strict=True)]
        for name, written in made.items()
    }


def obedience(written: dict[str, list[FollowingPiece]]) -> list[dict[str, Any]]:
    """A row per injection and axis: correlation of the song's and the piece's attribute, and the pieces' mean."""
    rows = []
    for name, made in written.items():
        for axis in AXES:
            asked, heard = [_value(piece.asked, axis) for piece in made], [_value(piece.heard, axis) for piece in made]
            known = [value for value in heard if not math.isnan(value)]
            rows.append(
                {
                    "injection": name,
                    "axis": axis,
                    "correlation": correlation(asked, heard),
                    "mean": float(np.mean(known)) if known else None,
                }
            )
    return rows


def _value(attributes: Attributes, axis: str) -> float:
    value = attributes.get(axis)
    return float(value) if isinstance(value, (int, float)) else math.nan
