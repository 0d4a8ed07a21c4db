"""Songs token by token, under an injected plan, and in passes where they are longer than a model knows."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.composing.returns import Returns, since
from fairseq_meloformer.composing.sliding_window import from_bar, in_view, seed_of
from fairseq_meloformer.injection.hooks import inject
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.config import Scope
from fairseq_meloformer.museformer.recall import Recall
from fairseq_meloformer.museformer.sampling import generate
from fairseq_meloformer.museformer.uncached import AnyMuseFormer
from fairseq_meloformer.tokens.given import Given, GivenGrammar
from fairseq_meloformer.tokens.grammar import Grammar, Limits
from fairseq_meloformer.tokens.vocabulary import BAR_END, Vocabulary


@dataclass(frozen=True)
class Plan:
    """A plan for each song of a batch, and how it is injected.

    Attributes:
        values: (batch, bars, layers, dim) summaries.
        mask: (batch, bars), True where a plan has a bar.
        scope: see `inject`.
        layers: see `inject`.
        strength: see `inject`.
        outside: bars of the plan before the first bar of music.
    """

    values: Tensor
    mask: Tensor
    scope: Scope
    layers: tuple[int, ...] | None
    strength: float
    outside: int

    def of(self, rows: Sequence[int], first: int) -> "Plan":
        """The plans of some songs from this bar of music on."""
        values, mask = self.values[list(rows)], self.mask[list(rows)]
        if self.scope != "history":  # where the whole plan stands for music before the piece
            places = [*range(self.outside), *range(self.outside + first, values.shape[1])]
            values, mask = values[:, places], mask[:, places]
        return replace(self, values=values, mask=mask)

    def returning(self, returns: Sequence[Returns]) -> "Plan":
        """The plans with the forms of their songs: a bar that returns has the plan of the earlier one."""
        if self.scope == "history":
            return self
        values = self.values.clone()
        for row, form in enumerate(returns):
            for bar, earlier in form.items():
                values[row, self.outside + bar] = self.values[row, self.outside + earlier]
        return replace(self, values=values)

    def injected(self, model: AnyMuseFormer, *, guided: bool) -> AbstractContextManager[None]:
        """Hook it into a model; with guidance on the logits the second half of the batch goes without."""
        device = next(model.parameters()).device
        values, mask = self.values.to(device), self.mask.to(device)
        if guided:
            values, mask = torch.cat([values, values]), torch.cat([mask, torch.zeros_like(mask)])
        return inject(model, values, layers=self.layers, strength=self.strength, scope=self.scope, mask=mask)


@dataclass(frozen=True)
class Songs:
    """A batch of songs that are to be written.

    Attributes:
        prompts: ids with which each begins, all of equally many bars.
        bars: how many each shall have, those of its prompt included.
        seeds: of each.
        tempo_changes: bars of each, from 0, that may leave a steady tempo for another.
        pitches: that can be played in each, by program.
        metres: of each, such as "4/4".
        returns: the form of each; its plan has it already.
        plan: what they follow; None for plain MuseFormer.
        bias: added to the logits.
        given: what each keeps of its bars.
    """

    prompts: list[list[int]]
    bars: list[int]
    seeds: list[int]
    tempo_changes: list[set[int]]
    pitches: Sequence[Mapping[int, range] | None]
    metres: Sequence[str]
    returns: Sequence[Returns]
    plan: Plan | None = None
    bias: Bias | None = None
    given: list[Given] | None = None

    def of_pass(self, number: int, songs: list[list[int]], rows: list[int], view: range) -> "Songs":
        """What a pass has to write: these rows, whose bars it numbers from the view's first on."""
        first = view.start
        return Songs(
            [from_bar(songs[row], first) for row in rows],
            [min(self.bars[row], view.stop) - first for row in rows],
            [seed_of(self.seeds[row], number) for row in rows],
            [{bar - first for bar in self.tempo_changes[row] if bar >= first} for row in rows],
            [self.pitches[row] for row in rows],
            [self.metres[row] for row in rows],
            [since(self.returns[row], first) for row in rows],
            None if self.plan is None else self.plan.of(rows, first),
            None if self.bias is None else self.bias.since(rows, first),
            None if self.given is None else [self.given[row].since(first) for row in rows],
        )


def write(
    model: AnyMuseFormer,
    vocabulary: Vocabulary,
    wanted: Songs,
    settings: Settings,
    on_bar: Callable[[int, list[int]], None] | None = None,
) -> list[list[int]]:
    """Write songs.

    Args:
        model: in eval mode.
        vocabulary: the model's.
        wanted: what songs. A song does not depend on the others of its batch.
        settings: how tokens are drawn; what they say of plans stands in `wanted.plan` already.
        on_bar: told a song's number and its ids whenever a bar of it is finished.

    Returns:
        Ids of each song, the prompt included.
    """
    songs = [list(prompt) for prompt in wanted.prompts]
    written, number = max(prompt.count(BAR_END) for prompt in songs), 0
    while rows := [row for row, count in enumerate(wanted.bars) if count > written]:
        view = in_view(written, max(wanted.bars), model.config.most_bars)
        part = wanted.of_pass(number, songs, rows, view)
        # What a pass reads again is the end of what is written.
        before = [songs[row][: len(songs[row]) - len(seen)] for row, seen in zip(rows, part.prompts, strict=True)]
        told = None if on_bar is None else _in_whole(on_bar, rows, before)
        for row, begun, song in zip(rows, before, _continued(model, vocabulary, part, settings, told), strict=True):
            songs[row] = begun + song
        written, number = view.stop, number + 1
    return songs


def _in_whole(
    on_bar: Callable[[int, list[int]], None], rows: list[int], before: list[list[int]]
) -> Callable[[int, list[int]], None]:
    """The listener of a pass, which knows some songs and the ends of them."""
    return lambda index, ids: on_bar(rows[index], before[index] + ids)


def _continued(
    model: AnyMuseFormer,
    vocabulary: Vocabulary,
    songs: Songs,
    settings: Settings,
    on_bar: Callable[[int, list[int]], None] | None,
) -> list[list[int]]:
    """Songs in one pass."""
    tempi = vocabulary.range("t")
    # Bars without notes may be read, but are not written unless one was.
    empty = any(token in tempi and after == BAR_END for prompt in songs.prompts for token, after in pairwise(prompt))
    if songs.given is None:
        grammar = Grammar(vocabulary, empty_bars=empty, steady_tempo=settings.steady_tempo)
    else:
        grammar = GivenGrammar(vocabulary, songs.given, empty_bars=empty)
    limits = Limits(
        bars=songs.bars,
        pitches=songs.pitches,
        bar_tokens=[settings.bar_tokens] * len(songs.bars),
        tempo_changes=songs.tempo_changes,
        metres=songs.metres,
    )
    grammar.start(songs.prompts, next(model.parameters()).device, limits=limits)
    sampling = replace(settings.sampling, max_tokens=sys.maxsize)  # pieces end with their bars
    injected: AbstractContextManager[None] = nullcontext()
    if songs.plan is None:
        sampling = replace(sampling, logit_guidance=1.0)
    else:
        injected = songs.plan.injected(model, guided=sampling.guided)
    recall = Recall(vocabulary, songs.tempo_changes, songs.returns)
    with injected:
        return generate(
            model,
            songs.prompts,
            sampling,
            seeds=songs.seeds,
            grammar=grammar,
            bias=songs.bias,
            recall=recall if settings.recall and songs.given is None else None,
            on_bar=on_bar,
        )
