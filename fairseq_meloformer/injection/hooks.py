"""Forward hooks that put a plan in the place of the summaries a MuseFormer computes for itself.

The input of a layer's `sum_key2_proj` and `sum_value2_proj` is what every later token reads of a bar. A pre-hook on
these two modules replaces it and touches nothing else, in our model and in upstream's own code alike. It is registered
once and stays; which plans there are, if any, it learns from the caller's context.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.call_state import CallState
from fairseq_meloformer.museformer.config import SCOPES, Scope
from fairseq_meloformer.museformer.layout import NOWHERE, Reading, SummaryRows
from fairseq_meloformer.museformer.model import READING, MuseFormer

_REGISTERING = Lock()
_DOORS = re.compile(r"layers\.(\d+)\.self_attn\.sum_(?:key2|value2)_proj$")


def summary_projections(model: nn.Module) -> dict[int, list[nn.Module]]:
    """Per layer the two modules through which tokens get to know summaries; for any model with MuseFormer's names."""
    projections: dict[int, list[nn.Module]] = {}
    for name, module in model.named_modules():
        if match := _DOORS.search(name):
            projections.setdefault(int(match[1]), []).append(module)
    if not projections or any(len(pair) != 2 for pair in projections.values()):
        raise InputError(
            "a model to inject into must have layers.N.self_attn.sum_key2_proj and sum_value2_proj for every layer, "
            f"received {type(model).__name__} with {sorted(projections)} such layers: is it a MuseFormer?"
        )
    return projections


@dataclass(frozen=True)
class _Injection:
    """A plan and which of it counts: plan (songs, bars, layers, dim), chosen (songs, bars), bars of each (songs,)."""

    plan: Tensor
    chosen: Tensor
    lengths: Tensor
    strength: float
    scope: Scope
    model: MuseFormer | None  # ours, if it is; upstream's does not say which rows it presents

    def replace(self, own: Tensor, layer: int) -> Tensor:
        """Mix the plan into summaries (rows, dim)."""
        rows = None if self.model is None else self.model.summary_rows
        if rows is None:  # upstream runs one song at a time, all its finished bars in order
            bars = torch.arange(len(own), device=own.device)
            rows = SummaryRows(song=torch.zeros_like(bars), bar=bars, songs=1)
        if not self.plan.shape[1]:
            return own
        if rows.songs > len(self.plan):
            raise InputError(
                f"a plan must have one song for each in the batch, received a plan of {len(self.plan)} for {rows.songs}"
            )
        place = rows.bar
        if self.scope == "history":  # the last planned bar lies right before bar 0, and real bars are left alone
            place = torch.where(rows.bar < 0, rows.bar + self.lengths[rows.song], -1)
        valid = (place >= 0) & (place < self.plan.shape[1])
        place = place.clamp(0, self.plan.shape[1] - 1)
        valid = valid & self.chosen[rows.song, place]
        planned = self.plan[rows.song, place, layer].to(own)
        return torch.where(valid[:, None], own.lerp(planned, self.strength), own)

    def read(self) -> Tensor:
        """Bars (songs, bars) that can be read although they have no notes, for `Reading`."""
        if self.scope == "past":
            return self.plan.new_zeros(len(self.plan), 0, dtype=torch.long)
        shift = self.lengths if self.scope == "history" else torch.zeros_like(self.lengths)
        bars = torch.arange(self.plan.shape[1], device=self.plan.device)
        return torch.where(self.chosen, bars - shift[:, None], NOWHERE)


_INJECTED: CallState[tuple[_Injection, int]] = CallState("injected")
"""For each projection, whose input is replaced, the injections and their layer."""


@contextmanager
def inject(
    model: nn.Module,
    plan: Tensor,
    layers: Iterable[int] | None = None,
    bars: Iterable[int] | None = None,
    strength: float = 1.0,
    *,
    scope: Scope = "past",
    mask: Tensor | None = None,
    ahead: int | None = None,
    near: Iterable[int] | None = None,
    check: bool = True,
) -> Iterator[None]:
    """Hook a plan into a MuseFormer until the context ends, however it ends.

    It holds for calls of this thread or task alone: others may inject other plans into the same model meanwhile.

    Args:
        model: ours, a fairseq model that holds it, or upstream's own (one song at a time, scope "past").
        plan: (batch, bars, layers, dim) summaries, as `MuseFormer.summaries` gives them; `bars` counts as the model's
            chunking does.
        layers: which layers (from 0); all if None.
        bars: which bars of the plan (from 0); all if None.
        strength: 1 replaces, 0 leaves the model alone, between them mixes. Summaries of bars without notes are mixed
            with zeros.
        scope: "past" replaces the summaries of finished bars; "history" adds the plan as bars before bar 0; "plan" is
            "past", and tokens also read the planned summaries of their own and the coming bars.
        mask: (batch, bars) True where the plan has a bar; everywhere if None.
        ahead: coming bars a token reads in scope "plan"; the model's own setting if None.
        near: distances of the bars that are still read note by note; the model's pattern if None.
        check: look whether the plan is finite, for which a GPU has to be waited for.

    Raises:
        InputError: a plan that does not fit the model, or a scope that the model cannot have.
    """
    projections = summary_projections(model)
    chosen_layers = _checked_layers(plan, projections, layers)
    if check and not bool(plan.isfinite().all()):
        raise InputError("a plan must be finite, received NaN or infinity: look at the bridge that made it")
    chosen, lengths = _chosen_bars(plan, bars, mask)
    own = next((module for module in model.modules() if isinstance(module, MuseFormer)), None)
    if scope not in SCOPES:
        raise InputError(f"scope must be one of {', '.join(SCOPES)}, received {scope!r}")
    if own is None and scope != "past":
        raise InputError(f'upstream\'s own code can only be injected in scope "past", received {scope!r}')
    if own is None and near is not None:
        raise InputError(
            f"near must be None for upstream's own code, which reads by its own pattern, received {near!r}"
        )
    injection = _Injection(plan, chosen, lengths, _checked_strength(strength), scope, own)
    with ExitStack() as stack:
        for layer in chosen_layers:
            for projection in projections[layer]:
                _open(projection)
                stack.enter_context(_INJECTED.holding(projection, (injection, layer)))
        if own is not None:
            reading = Reading(
                bars=injection.read(),
                layers=frozenset(chosen_layers),
                ahead=(own.config.ahead if ahead is None else ahead) if scope == "plan" else -1,
                near=None if near is None else tuple(near),
            )
            stack.enter_context(READING.holding(own, reading))
        yield


def _open(projection: nn.Module) -> None:
    """Register the hook, unless it is there; a copy of a model has it already."""
    with _REGISTERING:
        if _replace not in projection._forward_pre_hooks.values():  # noqa: SLF001 - torch has no other way to ask
            projection.register_forward_pre_hook(_replace)


def _replace(projection: nn.Module, arguments: tuple[Any, ...]) -> Tensor | None:
    """What goes into a projection in this call: the summaries as they are (None), or mixed with plans."""
    injections = _INJECTED.of(projection)
    if not injections:
        return None
    summaries: Tensor = arguments[0]
    flat = summaries.reshape(-1, summaries.shape[-1])
    for injection, layer in injections:
        flat = injection.replace(flat, layer)
    return flat.reshape(summaries.shape)


def _checked_layers(plan: Tensor, projections: dict[int, list[nn.Module]], layers: Iterable[int] | None) -> list[int]:
    weight = projections[0][0].get_parameter("weight")
    if plan.dim() != 4 or plan.shape[2:] != (len(projections), weight.shape[1]):
        raise InputError(
            f"a plan for this model must be (batch, bars, {len(projections)}, {weight.shape[1]}), "
            f"received {tuple(plan.shape)}"
        )
    chosen = sorted(projections) if layers is None else sorted(set(layers))
    if unknown := [layer for layer in chosen if layer not in projections]:
        raise InputError(f"layers must be in 0..{len(projections) - 1}, received {unknown}")
    return chosen


def _chosen_bars(plan: Tensor, bars: Iterable[int] | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which bars are injected (songs, bars), and of how many bars each song's plan is, whatever the others' are."""
    chosen = torch.ones(plan.shape[:2], dtype=torch.bool, device=plan.device)
    if mask is not None:
        if mask.shape != chosen.shape:
            raise InputError(
                f"a plan's mask must be (batch, bars) = {tuple(chosen.shape)}, received {tuple(mask.shape)}"
            )
        chosen &= mask.bool()
    numbers = torch.arange(1, plan.shape[1] + 1, device=plan.device)
    lengths = torch.where(chosen, numbers, 0).amax(1) if plan.shape[1] else numbers.new_zeros(len(plan))
    if bars is not None:
        wanted = sorted(set(bars))
        if outside := [bar for bar in wanted if not 0 <= bar < plan.shape[1]]:
            raise InputError(f"bars must be in 0..{plan.shape[1] - 1} (the plan's), received {outside}")
        only = torch.zeros_like(chosen)
        only[:, wanted] = True
        chosen &= only
    return chosen, lengths


def _checked_strength(strength: float) -> float:
    if not 0 <= strength <= 10:
        raise InputError(f"strength must be between 0 (no injection) and 10 (far beyond the plan), received {strength}")
    return float(strength)
