"""Plans of timelines: a plan for each section, gliding into the next one's; and what the sections became.

The finished plans of two neighbours are mixed in the two bars beside their joint, for which both are sampled a bar too
long. The plan need not do more than not jump, since MuseFormer reads the notes of neighbouring bars itself; so short a
glide leaves even a section of four bars its own; and it joins whatever makes plans, where sharing noise or ends among
the sections would bind it to one way of sampling, and average two texts in every step instead of in two bars. A chorus
that comes back has the same plan again.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from miditoolkit import MidiFile
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer.bridge.model import Bridge
from fairseq_meloformer.measures.attributes import Attributes, measure
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.words.prompts import Request, seed_of
from fairseq_meloformer.words.timeline import Section

_BEYOND: Final = 1  # bars that a section's plan reaches into its neighbours
_OWN: Final = 2.0  # a section's weight in its own bars, against 1 in the bars beyond


class _Part(NamedTuple):
    """One plan that is to be sampled, and the bars of it that are used."""

    text: str
    bars: int | None
    seed: int
    used: slice = slice(None)


def plan_requests(
    bridge: Bridge, requests: Sequence[Request], *, outside: int, guidance_scale: float, nfe: int
) -> tuple[Tensor, Tensor]:
    """Sample the plans of requests, all sections of all requests at once.

    Args:
        bridge: what samples.
        requests: at least one. A plan depends on its own request only.
        outside: bars of a plan before the first bar of music.
        guidance_scale: see `Bridge.plan`.
        nfe: see `Bridge.plan`.

    Returns:
        The plan (batch, bars, layers, dim), zero in padding, and a mask (batch, bars), True at bars.

    Raises:
        InputError: numbers of bars that the bridge refuses.
    """
    parts = [_parts(request, outside) for request in requests]
    texts, bars, seeds, used = zip(*(part for group in parts for part in group), strict=True)
    values, mask = bridge.plan(texts, bars, seed=seeds, guidance_scale=guidance_scale, nfe=nfe)
    sampled = iter([plan[own][part] for plan, own, part in zip(values, mask, used, strict=True)])
    plans = []
    for request, group in zip(requests, parts, strict=True):
        own = [next(sampled) for _ in group]
        plans.append(joined(own, request.sections, outside) if request.sections else own[0])
    lengths = torch.tensor([len(plan) for plan in plans], device=values.device)
    return pad_sequence(plans, batch_first=True), torch.arange(int(lengths.max()), device=values.device) < lengths[
        :, None
    ]


def _parts(request: Request, outside: int) -> list[_Part]:
    if not request.sections:
        return [_Part(request.text, None if request.bars is None else request.bars + outside, request.seed)]
    sections, last = request.sections, len(request.sections) - 1
    parts = []
    for number, section in enumerate(sections):
        alike = [same(section, other) for other in sections]
        before, after = _BEYOND if number else outside, _BEYOND if number < last else 0
        # What comes back is sampled with bars on both sides wherever it stands: plans of other lengths are others.
        room = _BEYOND if sum(alike) > 1 else 0
        sampled = max(before, room) + section.bars + max(after, room)
        used = slice(max(0, room - before), sampled - max(0, room - after))
        parts.append(_Part(section.text, sampled, seed_of(request.seed, "section", alike.index(True)), used))
    return parts


def same(section: Section, other: Section) -> bool:
    """Whether two sections are one that comes back."""
    named = section.name != "" and section.name == other.name
    return named or (section.text, section.bars) == (other.text, other.bars)


def joined(plans: Sequence[Tensor], sections: Sequence[Section], outside: int = 0) -> Tensor:
    """One plan (bars, layers, dim) of a piece from those of its sections.

    Args:
        plans: (bars, layers, dim) each: the section's bars and one more towards each neighbour; the first with the
            bars outside the music in front.
        sections: the bars.
        outside: bars of the plan before the first bar of music.
    """
    total = outside + sections[-1].last
    mixed, weights = plans[0].new_zeros(total, *plans[0].shape[1:]), plans[0].new_zeros(total, 1, 1)
    for number, (plan, section) in enumerate(zip(plans, sections, strict=True)):
        begin = outside + section.first - 1 - _BEYOND if number else 0
        weight = plan.new_full((len(plan), 1, 1), _OWN)
        if number:
            weight[:_BEYOND] = 1
        if number < len(sections) - 1:
            weight[-_BEYOND:] = 1
        mixed[begin : begin + len(plan)] += weight * plan
        weights[begin : begin + len(plan)] += weight
    return mixed / weights


def measure_sections(midi: MidiFile, sections: Sequence[Section]) -> list[Attributes]:
    """What is measured in each section of a piece (see `measure`); nothing in sections beyond its end."""
    song = Song(midi)
    return [
        measure(song, section.first - 1, min(section.last, song.bars)) if section.first <= song.bars else {}
        for section in sections
    ]
