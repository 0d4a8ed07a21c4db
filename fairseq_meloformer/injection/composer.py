"""From prompts to pieces: plan, injection, decoding, notes. The one place where bridge, hooks and sampler meet."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from miditoolkit import MidiFile
from torch import Tensor

from fairseq_meloformer.bridge.model import Bridge
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection.hooks import inject
from fairseq_meloformer.museformer.config import Scope
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.museformer.sampling import Sampling, generate
from fairseq_meloformer.music import remi, vocabulary
from fairseq_meloformer.music.grammar import Grammar, Limits
from fairseq_meloformer.music.vocabulary import BOS, Vocabulary
from fairseq_meloformer.prompts import Request

DEFAULT_BARS = 16  # of a piece that nothing says the length of


@dataclass(frozen=True)
class Settings:
    """How pieces are made.

    Attributes:
        sampling: how tokens are chosen.
        injected: whether the plan is injected at all; without it this is plain MuseFormer.
        scope: see `inject`; the model's own if None.
        layers: see `inject`.
        strength: see `inject`.
        guidance_scale: weight of the text in the bridge against no text.
        nfe: evaluations of the bridge's network.
        bar_tokens: most tokens in a bar.
    """

    sampling: Sampling = field(default_factory=Sampling)
    injected: bool = True
    scope: Scope | None = None
    layers: tuple[int, ...] | None = None
    strength: float = 1.0
    guidance_scale: float = 1.0
    nfe: int = 10
    bar_tokens: int = 512


@dataclass(frozen=True)
class Piece:
    """A composed piece: its tokens, and as MIDI after transposition."""

    request: Request
    tokens: list[str]
    midi: MidiFile


class Composer:
    """A MuseFormer, and the bridge that makes its plans.

    Raises:
        InputError: a bridge that was trained for a model of other sizes, or a model whose vocabulary is not known.
    """

    def __init__(self, model: MuseFormer, bridge: Bridge | None) -> None:
        self.model = model
        self.bridge = bridge
        self.vocabulary = vocabulary_of(model)
        wanted = (model.config.layers, model.config.dim)
        if bridge is not None and (bridge.config.layers, bridge.config.dim) != wanted:
            raise InputError(
                f"a bridge for this MuseFormer must make {wanted[0]} layers of {wanted[1]}, but was trained for "
                f"{bridge.config.layers} of {bridge.config.dim}: train it on a store that this model was extracted into"
            )

    def compose(self, requests: Sequence[Request], settings: Settings, oracle: Tensor | None = None) -> list[Piece]:
        """Compose a batch of pieces.

        Args:
            requests: what is wanted.
            settings: how.
            oracle: summaries (bars, layers, dim) that all pieces follow in place of the bridge's.
        """
        if not requests:
            return []
        plan = None
        if settings.injected:
            plan = self._plan(requests, settings) if oracle is None else _for_all(oracle, len(requests))
        bars = self._bars(requests, plan)
        songs = self._generate(requests, settings, bars, plan)
        return [self._piece(request, song) for request, song in zip(requests, songs, strict=True)]

    def _plan(self, requests: Sequence[Request], settings: Settings) -> tuple[Tensor, Tensor]:
        if self.bridge is None:
            raise InputError("composing from text needs a bridge: give --bridge, or compose with --no-injection")
        return self.bridge.plan(
            [request.text for request in requests],
            [None if request.bars is None else request.bars + self._outside for request in requests],
            seed=[request.seed for request in requests],
            guidance_scale=settings.guidance_scale,
            nfe=settings.nfe,
        )

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
        self, requests: Sequence[Request], settings: Settings, bars: list[int], plan: tuple[Tensor, Tensor] | None
    ) -> list[list[int]]:
        grammar = Grammar(self.vocabulary, empty_bars=False)
        device = self.model.layer_norm.weight.device
        most = [settings.bar_tokens] * len(requests)
        grammar.start(len(requests), device, limits=Limits(bars=bars, bar_tokens=most))
        prompts: list[list[int]] = [[] for _ in requests]
        seeds = [request.seed for request in requests]
        if plan is None:
            sampling = Sampling(**{**settings.sampling.__dict__, "logit_guidance": 1.0})
            return generate(self.model, prompts, sampling, seeds=seeds, grammar=grammar)
        values, mask = (part.to(device) for part in plan)
        if settings.sampling.guided:  # the second half of the batch goes without
            values, mask = torch.cat([values, values]), torch.cat([mask, torch.zeros_like(mask)])
        scope = settings.scope or self.model.config.scope
        with inject(self.model, values, layers=settings.layers, strength=settings.strength, scope=scope, mask=mask):
            return generate(self.model, prompts, settings.sampling, seeds=seeds, grammar=grammar)

    def _piece(self, request: Request, song: list[int]) -> Piece:
        tokens = self.vocabulary.tokens(song)
        return Piece(request, tokens, remi.decode(remi.transpose(tokens, request.transposition)))


def _for_all(plan: Tensor, songs: int) -> tuple[Tensor, Tensor]:
    """One plan (bars, layers, dim) for several songs, and its mask."""
    return plan.expand(songs, -1, -1, -1), plan.new_ones(songs, len(plan), dtype=torch.bool)


def vocabulary_of(model: MuseFormer) -> Vocabulary:
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


def plan_of(model: MuseFormer, midi: MidiFile) -> tuple[Tensor, int]:
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
    ids = torch.tensor([[BOS, *vocabulary_of(model).ids(tokens)]], device=model.layer_norm.weight.device)
    with torch.inference_mode():
        summaries, _ = model.summaries(ids, model.config.chunking)
    return summaries[0], remi.transposition(midi)
