"""Drawing songs from a MuseFormer, many at a time, each with its own randomness."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.cache import DecodingCache
from fairseq_meloformer.museformer.config import Chunking
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.museformer.recall import Recall
from fairseq_meloformer.museformer.uncached import UncachedDecoding
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, END, PAD

if TYPE_CHECKING:
    from fairseq_meloformer.tokens.grammar import Grammar

_DRAWS = 256  # random numbers that are made at a time


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: divides the logits.
        top_k: only so many of the likeliest tokens; 0 for all, 1 for greedy decoding.
        top_p: only the likeliest tokens that together have this probability.
        logit_guidance: W of u + W (c - u), with c the logits under injection and u those without; 1 is plain injection.
        max_tokens: a song is cut off at so many, prompt included.
    """

    temperature: float = 1.0
    top_k: int = 32
    top_p: float = 0.98
    logit_guidance: float = 1.0
    max_tokens: int = 20480

    def __post_init__(self) -> None:
        """Report everything that is wrong at once.

        Raises:
            InputError: a value out of its range.
        """
        checks = (
            (
                0.01 <= self.temperature <= 100,
                f"temperature must be from 0.01 to 100, received {self.temperature} (top_k 1 is greedy)",
            ),
            (self.top_k >= 0, f"top_k must be at least 0, received {self.top_k}"),
            (0 < self.top_p <= 1, f"top_p must be in (0, 1], received {self.top_p}"),
            (
                abs(self.logit_guidance) <= 100,
                f"logit_guidance must be from -100 to 100, received {self.logit_guidance}",
            ),
            (self.max_tokens >= 1, f"max_tokens must be at least 1, received {self.max_tokens}"),
        )
        if problems := [text for holds, text in checks if not holds]:
            raise InputError("sampling: " + "; ".join(problems))

    @property
    def guided(self) -> bool:
        """Whether every song needs a second row that is not injected."""
        return self.logit_guidance != 1


class Decoding(Protocol):
    """What songs are drawn from: `DecodingCache`, or `UncachedDecoding` where a model has no cache."""

    logits: Tensor

    def step(self, tokens: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of what follows one more token (batch,) per song."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""


class _Uniform:
    """Uniform random numbers of several songs, so that a song does not depend on the batch it is in."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._device = device
        self._drawn = torch.empty(len(seeds), 0)
        self._next = 0

    def draw(self) -> Tensor:
        if self._next >= self._drawn.shape[1]:
            draws = [torch.rand(_DRAWS, generator=generator) for generator in self._generators]
            self._drawn = torch.stack(draws).to(self._device)
            self._next = 0
        self._next += 1
        return self._drawn[:, self._next - 1]

    def select(self, rows: Sequence[int]) -> None:
        self._generators = [self._generators[row] for row in rows]
        self._drawn = self._drawn[list(rows)]


@torch.inference_mode()
def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    seeds: Sequence[int] | None = None,
    grammar: "Grammar | None" = None,
    chunking: Chunking | None = None,
    bias: Bias | None = None,
    recall: Recall | None = None,
    on_bar: Callable[[int, list[int]], None] | None = None,
) -> list[list[int]]:
    """Continue songs until they end.

    Args:
        model: in eval mode; one that is not ours has no cache. An injection around the call stays in force. With
            `sampling.guided` the batch that the model sees is twice as long, and its second half should go without.
        prompts: token ids with which each song begins, without BOS; empty for a free beginning.
        sampling: how tokens are chosen.
        seeds: one per song; 0, 1, ... if None.
        grammar: started for these prompts; tokens that it forbids are never chosen. It says when a song may end.
        chunking: the model's own if None.
        bias: added to the logits; it needs a grammar, which knows the bars.
        recall: lets earlier bars return.
        on_bar: told the number of a song, and its ids, whenever it has finished a bar.

    Returns:
        Per song the prompt and what follows, without BOS and END.

    Raises:
        InputError: a bias without a grammar.
    """
    if bias is not None and grammar is None:
        raise InputError("a bias needs a grammar, which knows in which bar a song is; received none")
    device = next(model.parameters()).device
    songs = [list(prompt) for prompt in prompts]
    batch = pad_sequence([torch.tensor([BOS, *prompt]) for prompt in prompts], batch_first=True, padding_value=PAD).to(
        device
    )
    read = torch.cat([batch, batch]) if sampling.guided else batch
    cache: Decoding
    if isinstance(model, MuseFormer):
        cache = DecodingCache(model, read, chunking or model.config.chunking)
    else:
        cache = UncachedDecoding(model, read)
    uniform = _Uniform(range(len(songs)) if seeds is None else seeds, device)
    active = list(range(len(songs)))
    biased = None if bias is None else bias.start(prompts, device)
    recalling = None if recall is None else recall.start(prompts)
    followers = [follower for follower in (grammar, biased, recalling) if follower is not None]
    while True:
        logits = _guided(cache.logits, sampling)
        if recalling is not None:
            logits = recalling.mixed(logits)
        if biased is not None and grammar is not None:
            logits = logits + biased.now(grammar.bars)
        tokens = choose(_allowed_logits(logits, grammar), uniform.draw(), sampling)
        going = _extend(songs, active, tokens.tolist(), sampling, on_bar)
        if not going:
            break
        if len(going) < len(active):
            uniform.select(going)
            cache.select([*going, *(row + len(active) for row in going)] if sampling.guided else going)
            active, tokens = [active[row] for row in going], tokens[going]
            for follower in followers:
                follower.select(going)
        for follower in followers:
            follower.advance(tokens)
        cache.step(torch.cat([tokens, tokens]) if sampling.guided else tokens)
    return songs


def choose(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token per song by inverting the cumulative distribution.

    Args:
        logits: (batch, vocabulary); -inf for what must not come.
        uniform: (batch,) random numbers in [0, 1).
        sampling: temperature, top_k, top_p.

    Returns:
        (batch,) token ids.
    """
    count = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
    values, ids = (logits.float() / sampling.temperature).topk(count)
    probabilities = values.softmax(-1)
    cumulative = probabilities.cumsum(-1)
    if sampling.top_p < 1:
        probabilities = probabilities.masked_fill(cumulative - probabilities >= sampling.top_p, 0)
        cumulative = probabilities.cumsum(-1)
    below = (cumulative <= uniform[:, None] * cumulative[:, -1:]) & (probabilities > 0)
    # Rounding may leave the number above the last step: then the last possible token is meant.
    place = below.sum(-1).clamp(max=(probabilities > 0).sum(-1) - 1)
    return ids.gather(1, place[:, None])[:, 0]


def _guided(logits: Tensor, sampling: Sampling) -> Tensor:
    if not sampling.guided:
        return logits
    conditional, unconditional = logits.chunk(2)
    return unconditional + sampling.logit_guidance * (conditional - unconditional)


def _allowed_logits(logits: Tensor, grammar: "Grammar | None") -> Tensor:
    if grammar is not None:
        return logits.masked_fill(~grammar.allowed(), -torch.inf)
    logits = logits.clone()
    logits[:, PAD] = -torch.inf
    return logits


def _extend(
    songs: list[list[int]],
    active: list[int],
    tokens: list[int],
    sampling: Sampling,
    on_bar: Callable[[int, list[int]], None] | None,
) -> list[int]:
    """Add the tokens to their songs; rows whose songs go on."""
    going = []
    for row, (song, token) in enumerate(zip(active, tokens, strict=True)):
        if token == END or len(songs[song]) >= sampling.max_tokens:  # a prompt may be so long by itself
            continue
        songs[song].append(token)
        if token == BAR_END and on_bar is not None:
            on_bar(song, songs[song])
        if len(songs[song]) < sampling.max_tokens:
            going.append(row)
    return going
