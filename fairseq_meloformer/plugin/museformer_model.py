"""The model `museformer_lm` and its architectures, as upstream names them; the network is the core's."""

import argparse
from collections.abc import Callable
from typing import Any

from fairseq.models import (
    FairseqIncrementalDecoder,
    FairseqLanguageModel,
    register_model,
    register_model_architecture,
)
from torch import Tensor

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.arguments import ABSENT, ARCHITECTURES, MODEL_OPTIONS, config_from_arguments
from fairseq_meloformer.museformer.cache import DecodingCache
from fairseq_meloformer.museformer.config import Chunking, MuseFormerConfig
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.plugin import muon, native
from fairseq_meloformer.tokens.vocabulary import Vocabulary

_STATE = "museformer_cache"
_NO_LIMIT = 1_000_000_000


class MuseFormerDecoder(FairseqIncrementalDecoder, MuseFormer):
    """The core's network with the interface of a fairseq decoder; the names of its parameters begin with `decoder.`.

    Args:
        config: of the network.
        dictionary: fairseq's.
        longest: longest song in tokens, None for no limit.
    """

    def __init__(self, config: MuseFormerConfig, dictionary: Any, longest: int | None) -> None:  # noqa: ANN401
        # Not fairseq's __init__, which passes no configuration on; what it would set follows.
        MuseFormer.__init__(self, config)
        self.dictionary = dictionary
        self.onnx_trace = False
        self.adaptive_softmax = None
        self._longest = longest or _NO_LIMIT

    def forward(  # type: ignore[override]  # fairseq's interface, not the core's
        self,
        prev_output_tokens: Tensor,
        encoder_out: None = None,  # noqa: ARG002  fairseq passes it to every decoder
        incremental_state: dict[str, Any] | None = None,
        src_lengths: Tensor | None = None,  # noqa: ARG002  padding says the same
        chunking: Chunking | None = None,
        bars: int | None = None,
    ) -> tuple[Tensor, None]:
        """Logits (batch, length, vocabulary), with `incremental_state` only of what follows the last token (length 1).

        The second of the pair is for attention weights, which there are none of.

        Args:
            prev_output_tokens: (batch, length) ids: `</s>`, then tokens; padded on the right.
            encoder_out: there is no encoder.
            incremental_state: of one generation; tokens that an earlier call has seen are not computed again.
            src_lengths: (batch,).
            chunking: how to split the songs; as in generation if not given.
            bars: see `MuseFormer.forward`.
        """
        if incremental_state is None:
            return MuseFormer.forward(self, prev_output_tokens, chunking or self.config.chunking, bars), None
        if _STATE not in incremental_state:
            incremental_state[_STATE] = DecodingCache(self, prev_output_tokens, self.config.chunking)
        else:
            incremental_state[_STATE].step(prev_output_tokens[:, -1])
        # A copy: fairseq divides it by the temperature in place.
        return incremental_state[_STATE].logits[:, None].clone(), None

    def reorder_incremental_state(self, incremental_state: dict[str, Any], new_order: Tensor) -> None:
        """Follow the beams, and drop finished songs."""
        if _STATE in incremental_state:
            incremental_state[_STATE].select(new_order.tolist())

    def max_positions(self) -> int:
        """Longest song in tokens."""
        return self._longest


class MuseFormerLanguageModel(FairseqLanguageModel):
    """The model `museformer_lm`; its state dict is that of a published checkpoint."""

    @staticmethod
    def add_args(parser: argparse.ArgumentParser) -> None:
        """Upstream's options; those without support are accepted here and refused by name when the model is built."""
        for option in MODEL_OPTIONS:
            flag = f"--{option.name.replace('_', '-')}"
            published = "" if option.default is ABSENT else f" (published: {option.default})"
            parser.add_argument(flag, type=option.parse, metavar="X", help=option.help + published)
        parser.add_argument(
            "--injection-ahead",
            type=int,
            metavar="N",
            help="coming bars whose planned summaries tokens read in scope 'plan', in plan training as in composing "
            f"(default: {MuseFormerConfig.ahead}, in small architectures 1)",
        )

    @classmethod
    def build_model(cls, args: argparse.Namespace, task: Any) -> "MuseFormerLanguageModel":  # noqa: ANN401
        """Build the network that `args` describe for the task's dictionary.

        Raises:
            InputError: a variant that is not supported, or a model made for another vocabulary.
        """
        vocabulary = Vocabulary.of_dictionary(task.source_dictionary.symbols)
        made_for = getattr(args, "vocabulary_sha256", "")
        if made_for and made_for != vocabulary.sha256:
            raise InputError(
                f"the model and the data must share one dict.txt, but the model was made for {made_for[:12]} and the "
                f"data have {vocabulary.sha256[:12]} ({len(vocabulary)} symbols): binarise them with that of the model"
            )
        config = config_from_arguments(vars(args), vocabulary)
        decoder = MuseFormerDecoder(config, task.source_dictionary, getattr(args, "max_target_positions", None))
        muon.mark(decoder.layers)
        return cls(decoder)


def architecture(**sizes: Any) -> Callable[[argparse.Namespace], None]:  # noqa: ANN401
    """An architecture of fairseq: `sizes` and, for all else, the published values, unless given."""
    published = {option.name: option.default for option in MODEL_OPTIONS if option.default is not ABSENT}

    def fill(args: argparse.Namespace) -> None:
        for name, value in (published | sizes).items():
            setattr(args, name, getattr(args, name, value))

    return fill


if not native.in_use():
    register_model(native.MODEL)(MuseFormerLanguageModel)
    for _name, _sizes in ARCHITECTURES.items():
        register_model_architecture(native.MODEL, _name)(architecture(**_sizes))
