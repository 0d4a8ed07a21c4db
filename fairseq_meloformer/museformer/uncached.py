"""Decoding without a cache: every token costs a pass over its whole song.

For models that cannot do better, such as upstream's own code, and as the measure of what `DecodingCache` gains.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.config import Chunking, MuseFormerConfig
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.tokens.vocabulary import BOS, PAD


class ForeignMuseFormer(nn.Module):
    """Somebody else's code in the place of ours, such as upstream's own: no cache, no look-ahead, one song at a time.

    Args:
        model: maps ids (1, length) to logits (1, length, vocabulary), alone or first of a tuple.
        config: what is known of it: vocabulary, layers and width; bars are split as in generation.
    """

    def __init__(self, model: nn.Module, config: MuseFormerConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, tokens: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the model makes of one song (1, length)."""
        output: Tensor | tuple[Tensor, ...] = self.model(tokens)
        return output


AnyMuseFormer = MuseFormer | ForeignMuseFormer


class UncachedDecoding:
    """A stand-in for `DecodingCache`: the same logits, from `model(tokens)` alone.

    Attributes:
        logits: (batch, vocabulary) of the token that follows each song so far.
        songs: which song of the original batch each row is, after `select`.
    """

    @torch.inference_mode()
    def __init__(self, model: nn.Module, prompts: Tensor, chunking: Chunking = "infer") -> None:
        """Read the prompts.

        Args:
            model: ours, or any that maps ids (1, length) to logits (1, length, vocabulary), alone or first of a tuple.
                Songs go through it one at a time: upstream's code finds the bars of one song only.
            prompts: (batch, length) ids: BOS, then the beginning of each song if any; padded on the right.
            chunking: of our models; others have their own.

        Raises:
            InputError: several songs for a foreign model, in which an injection cannot tell them apart.
        """
        if isinstance(model, ForeignMuseFormer) and len(prompts) > 1:
            raise InputError(
                "a foreign MuseFormer takes one song at a time, without the second one that guidance on the logits "
                f"needs (--logit-guidance must be 1), received {len(prompts)}"
            )
        self.model = model
        self.songs = list(range(len(prompts)))
        self._chunking = chunking
        self._tokens = [song[song != PAD] for song in prompts]
        self.logits = self._read()

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of what follows one more token (batch,) per song."""
        self._tokens = [torch.cat([song, token[None]]) for song, token in zip(self._tokens, tokens, strict=True)]
        self.logits = self._read()
        return self.logits

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        self.songs = [self.songs[row] for row in rows]
        self._tokens = [self._tokens[row] for row in rows]
        self.logits = self.logits[list(rows)]

    def _read(self) -> Tensor:
        return torch.stack([self._last(song, number) for song, number in zip(self._tokens, self.songs, strict=True)])

    def _last(self, song: Tensor, number: int) -> Tensor:
        if not isinstance(self.model, MuseFormer):
            output = self.model(song[None])
            return _logits(output)[0, -1]
        # An injection knows songs by their number in the batch: those before this one are there, and empty.
        batch = song.new_full((number + 1, len(song)), PAD)
        batch[:, 0] = BOS
        batch[number] = song
        return _logits(self.model(batch, chunking=self._chunking))[number, -1]


def _logits(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Of a model's output, which is a pair in fairseq."""
    return output if isinstance(output, Tensor) else output[0]
