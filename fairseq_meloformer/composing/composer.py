"""From prompts to pieces: plan, injection, decoding, notes. The one place where bridge, hooks and sampler meet."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from miditoolkit import MidiFile
from torch import Tensor

from fairseq_meloformer.bridge.model import Bridge
from fairseq_meloformer.composing.regeneration import Infilling
from fairseq_meloformer.composing.sections import plan_requests
from fairseq_meloformer.composing.sliding_window import from_bar, in_view, seed_of
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection.hooks import inject
from fairseq_meloformer.midi.general_midi import SOUNDS
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.cache import DecodingCache
from fairseq_meloformer.museformer.config import Scope
from fairseq_meloformer.museformer.sampling import Sampling, generate
from fairseq_meloformer.museformer.uncached import AnyMuseFormer, ForeignMuseFormer, UncachedDecoding
from fairseq_meloformer.summaries.extraction import extract
from fairseq_meloformer.tokens import remi, vocabulary
from fairseq_meloformer.tokens.grammar import Grammar, Limits
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, Vocabulary
from fairseq_meloformer.words.prompts import Request

DEFAULT_BARS = 16  # of a piece that nothing says the length of


@dataclass(frozen=True)
class Settings:
    """How pieces are made.

    Attributes:
        sampling: how tokens are chosen; a piece ends with its bars, not with `max_tokens`.
        injected: whether the plan is injected at all; without it this is plain MuseFormer.
        scope: see `inject`; the model's own if None.
        layers: see `inject`; those that the bridge makes if None.
        strength: see `inject`.
        guidance_scale: weight of the text in the bridge against no text.
        nfe: evaluations of the bridge's network.
        bar_tokens: most tokens in a bar.
        steady_tempo: whether a piece, or each section of a timeline, keeps the tempo that it begins with.
    """

    sampling: Sampling = field(default_factory=Sampling)
    injected: bool = True
    scope: Scope | None = None
    layers: tuple[int, ...] | None = None
    strength: float = 1.0
    guidance_scale: float = 2.0
    nfe: int = 10
    bar_tokens: int = 512
    steady_tempo: bool = True


@dataclass(frozen=True)
class Piece:
    """A composed piece: its tokens, as MIDI after transposition, and what its maker has to say for the manifest."""

    request: Request
    tokens: list[str]
    midi: MidiFile
    about: Mapping[str, Any] = field(default_factory=dict)


class Composer:
    """A MuseFormer, and the bridge that makes its plans.

    A foreign model composes one piece at a time and without guidance on the logits, and has scope "past" only.

    Raises:
        InputError: a bridge that was trained for a model of other sizes, or a model whose vocabulary is not known.
    """

    def __init__(self, model: AnyMuseFormer, bridge: Bridge | None) -> None:
        self.model = model
        self._foreign = isinstance(model, ForeignMuseFormer)
        self.bridge = bridge
        self.vocabulary = vocabulary_of(model)
        wanted = (model.config.layers, model.config.dim)
        if bridge is not None and (bridge.config.layers, bridge.config.dim) != wanted:
            raise InputError(
                f"a bridge for this MuseFormer must make {wanted[0]} layers of {wanted[1]}, but was trained for "
                f"{bridge.config.layers} of {bridge.config.dim}: train it on a store that this model was extracted into"
            )

    def compose(
        self,
        requests: Sequence[Request],
        settings: Settings,
        oracle: Tensor | tuple[Tensor, Tensor] | None = None,
        *,
        bias: Bias | None = None,
    ) -> list[Piece]:
        """Compose a batch of pieces.

        Args:
            requests: what is wanted.
            settings: how.
            oracle: summaries (bars, layers, dim) that all pieces follow in place of the bridge's, or a plan for each
                (batch, bars, layers, dim) with its mask (batch, bars).
            bias: of the pieces, added to the logits.
        """
        if not requests:
            return []
        plan = None
        if settings.injected:
            plan = self._plan(requests, settings) if oracle is None else _for_all(oracle, len(requests))
        songs = self._generate(requests, settings, self._bars(requests, plan), plan, bias=bias)
        return [self._piece(request, song) for request, song in zip(requests, songs, strict=True)]

    def recompose(
        self, requests: Sequence[Request], settings: Settings, passage: Infilling, *, bias: Bias | None = None
    ) -> list[Piece]:
        """Compose some bars of a piece anew, once for each request; every other note stays where it is.

        The bars before are the prompt. The plan has the summaries of all bars that stay, so that in scope "plan" the
        new bars lead to those that follow.

        Args:
            requests: what the new bars should sound like, and their seeds. Texts are planned for the whole piece, so
                that bars in the middle do not sound like a beginning.
            settings: how.
            passage: the bars.
            bias: see `compose`.

        Raises:
            InputError: a timeline of another length than the piece.
        """
        if not requests:
            return []
        if wrong := [request.text for request in requests if request.sections and request.bars != passage.total]:
            raise InputError(
                f"a timeline for bars of an existing piece must have all of its {passage.total} bars, "
                f"received {wrong[0]!r}"
            )
        wanted = [replace(request, bars=passage.total) for request in requests]
        plan = self._held(wanted, settings, passage) if settings.injected else None
        songs = self._generate(wanted, settings, [passage.written] * len(wanted), plan, bias=bias, passage=passage)
        pieces = []
        for request, song in zip(requests, songs, strict=True):
            tokens = self.vocabulary.tokens(song)
            midi = passage.splice(tokens[len(passage.before) :])
            pieces.append(Piece(request, [*tokens, *passage.after], midi))
        return pieces

    def _held(self, requests: Sequence[Request], settings: Settings, passage: Infilling) -> tuple[Tensor, Tensor]:
        """Plans whose bars are the piece's own but for the new ones."""
        planned, mask = self._plan(requests, settings)
        if self._scope(settings) == "history":  # where the whole plan stands for music before the piece
            return planned, mask
        real = summaries_of(self.model, passage.tokens).to(planned)
        held = passage.held(planned, real, self._outside)
        return held, mask[:, : held.shape[1]]

    def _scope(self, settings: Settings) -> Scope:
        own = None if self.bridge is None else self.bridge.config.scope
        return settings.scope or own or self.model.config.scope

    def _layers(self, settings: Settings) -> tuple[int, ...] | None:
        own = None if self.bridge is None else self.bridge.config.plan_layers
        return own if settings.layers is None else settings.layers

    def _plan(self, requests: Sequence[Request], settings: Settings) -> tuple[Tensor, Tensor]:
        if self.bridge is None:
            raise InputError("composing from text needs a bridge: give --bridge, or compose with --no-injection")
        if self._scope(settings) == "history" and any(request.sections for request in requests):
            raise InputError(
                'a timeline needs a plan whose bars are the piece\'s own: scope "plan" or "past", not "history"'
            )
        return plan_requests(
            self.bridge,
            requests,
            outside=self._outside,
            guidance_scale=settings.guidance_scale,
            nfe=settings.nfe,
        )

    def sized(self, requests: Sequence[Request]) -> list[Request]:
        """The requests with the number of bars that the bridge would choose where they name none."""
        if self.bridge is None:
            return list(requests)
        texts, seeds = [request.text for request in requests], [request.seed for request in requests]
        counts = self.bridge.count_bars(texts, self.bridge.read(texts), [None] * len(texts), seeds)
        return [
            request if request.bars is not None or request.sections else replace(request, bars=count - self._outside)
            for request, count in zip(requests, counts, strict=True)
        ]

    @property
    def _outside(self) -> int:
        """Bars of a plan that are not music: in the "bosbar" chunking the begin-of-song token is a bar."""
        return int(self.model.config.chunking == "bosbar")

    def _bars(self, requests: Sequence[Request], plan: tuple[Tensor, Tensor] | None) -> list[int]:
        if plan is None:
            return [DEFAULT_BARS if request.bars is None else request.bars for request in requests]
        planned = [int(count) - self._outside for count in plan[1].sum(1)]
        return [
            count if request.bars is None else request.bars for request, count in zip(requests, planned, strict=True)
        ]

    def _generate(
        self,
        requests: Sequence[Request],
        settings: Settings,
        bars: list[int],
        plan: tuple[Tensor, Tensor] | None,
        bias: Bias | None = None,
        passage: Infilling | None = None,
    ) -> list[list[int]]:
        prompt = [] if passage is None else self.vocabulary.ids(passage.before)
        songs = [list(prompt) for _ in requests]
        changes = [{section.first - 1 for section in request.sections} for request in requests]
        if passage is not None and passage.new_tempo:
            changes = [{*bars, passage.first - 1 - passage.begin} for bars in changes]
        written, number = prompt.count(BAR_END), 0
        while going := [row for row, count in enumerate(bars) if count > written]:
            view = in_view(written, max(bars), self.model.config.most_bars)
            for rows in [[row] for row in going] if self._foreign else [going]:
                prompts = [from_bar(songs[row], view.start) for row in rows]
                limits = Limits(
                    bars=[min(bars[row], view.stop) - view.start for row in rows],
                    pitches=[_playable(requests[row]) for row in rows],
                    bar_tokens=[settings.bar_tokens] * len(rows),
                    tempo_changes=[{bar - view.start for bar in changes[row] if bar >= view.start} for row in rows],
                )
                continued = self._pass(
                    prompts,
                    [seed_of(requests[row].seed, number) for row in rows],
                    settings,
                    limits,
                    self._plan_in_view(plan, rows, view.start, settings),
                    None if bias is None else bias.since(rows, view.start),
                )
                for row, seen, song in zip(rows, prompts, continued, strict=True):
                    songs[row] += song[len(seen) :]
            written, number = view.stop, number + 1
        return songs

    def _plan_in_view(
        self, plan: tuple[Tensor, Tensor] | None, rows: list[int], first: int, settings: Settings
    ) -> tuple[Tensor, Tensor] | None:
        """Plans of some songs and their masks, from this bar on."""
        if plan is None:
            return None
        values, mask = (part[rows] for part in plan)
        if self._scope(settings) == "history":  # where the whole plan stands for music before the piece
            return values, mask
        places = [*range(self._outside), *range(self._outside + first, values.shape[1])]
        return values[:, places], mask[:, places]

    def _pass(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        settings: Settings,
        limits: Limits,
        plan: tuple[Tensor, Tensor] | None,
        bias: Bias | None,
    ) -> list[list[int]]:
        """Continue songs under an injection."""
        empty = any(map(self._has_empty_bar, prompts))
        grammar = Grammar(self.vocabulary, empty_bars=empty, steady_tempo=settings.steady_tempo)
        device = next(self.model.parameters()).device
        grammar.start(prompts, device, limits=limits)
        draw = partial(
            generate,
            self.model,
            prompts,
            seeds=seeds,
            grammar=grammar,
            bias=bias,
            decoding=UncachedDecoding if self._foreign else DecodingCache,
        )
        sampling = replace(settings.sampling, max_tokens=sys.maxsize)  # pieces end with their bars
        if plan is None:
            return draw(replace(sampling, logit_guidance=1.0))
        if self._foreign and settings.sampling.guided:
            raise InputError(
                "guidance on the logits needs a batch of two halves, which a foreign MuseFormer cannot have: "
                f"--logit-guidance must be 1 with it, received {settings.sampling.logit_guidance}"
            )
        values, mask = (part.to(device) for part in plan)
        if settings.sampling.guided:  # the second half of the batch goes without
            values, mask = torch.cat([values, values]), torch.cat([mask, torch.zeros_like(mask)])
        scope, layers = self._scope(settings), self._layers(settings)
        with inject(self.model, values, layers=layers, strength=settings.strength, scope=scope, mask=mask):
            return draw(sampling)

    def _has_empty_bar(self, prompt: Sequence[int]) -> bool:
        """Whether a song begins with bars of which one has no notes: the grammar must then let them pass."""
        tempi = self.vocabulary.range("t")
        return any(token in tempi and following == BAR_END for token, following in pairwise(prompt))

    def _piece(self, request: Request, song: list[int]) -> Piece:
        tokens = self.vocabulary.tokens(song)
        return Piece(request, tokens, remi.decode(remi.transpose(tokens, request.transposition)))


def _playable(request: Request) -> dict[int, range]:
    """By program, the pitches in the model's key that can be played where the finished piece is moved to."""
    shift = request.transposition
    moved = {
        program: range(sound.pitches.start - shift, sound.pitches.stop - shift) for program, sound in enumerate(SOUNDS)
    }
    return moved | {DRUMS: SOUNDS[DRUMS].pitches}


def _for_all(plan: Tensor | tuple[Tensor, Tensor], songs: int) -> tuple[Tensor, Tensor]:
    """One plan (bars, layers, dim) for several songs, and its mask; plans that come with a mask are as they are."""
    if isinstance(plan, tuple):
        return plan
    return plan.expand(songs, -1, -1, -1), plan.new_ones(songs, len(plan), dtype=torch.bool)


def vocabulary_of(model: AnyMuseFormer) -> Vocabulary:
    """The vocabulary a model was trained with.

    Raises:
        InputError: it is neither of the two that this package knows.
    """
    known = (vocabulary.published(), vocabulary.general())
    wanted = model.config.vocabulary_sha256
    for candidate in known:
        if candidate.sha256 == wanted if wanted else len(candidate) == model.config.vocabulary_size:
            return candidate
    raise InputError(
        f"a MuseFormer must use dict.txt ({known[0].sha256[:12]}) or general_use_dict.txt ({known[1].sha256[:12]}), "
        f"but this one was trained with {wanted[:12] or f'{model.config.vocabulary_size} symbols'}"
    )


def plan_of(model: AnyMuseFormer, midi: MidiFile) -> tuple[Tensor, int]:
    """The plan of an existing song: the oracle to compare a bridge with.

    Args:
        model: whose summaries to take.
        midi: six tracks in 4/4, as `merge_six_tracks` makes them.

    Returns:
        Summaries (bars, layers, dim), and the semitones by which the song was moved to C major or A minor for it.

    Raises:
        InputError: the song has tokens that the model does not know.
    """
    tokens = remi.encode(
        midi, "REMIGEN2", normalise_pitch=True, ignore_time_signature=True, instrument_order="six_tracks"
    )
    return summaries_of(model, tokens), remi.transposition(midi)


def summaries_of(model: AnyMuseFormer, tokens: Sequence[str]) -> Tensor:
    """Summaries (bars, layers, dim) of a song in the model's key.

    Raises:
        InputError: the song has tokens that the model does not know.
    """
    summaries, _ = extract(model, ids_of(model, tokens))
    return summaries[0]


def ids_of(model: AnyMuseFormer, tokens: Sequence[str]) -> Tensor:
    """What a model reads of a song: (1, tokens + 1) ids, BOS first, on its device.

    Raises:
        InputError: the song has tokens that the model does not know.
    """
    return torch.tensor([[BOS, *vocabulary_of(model).ids(tokens)]], device=next(model.parameters()).device)
