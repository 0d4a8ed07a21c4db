"""The task `museformer_language_modeling`, as upstream names it: training, validation and generation of whole songs."""

import argparse
import logging
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from fairseq import utils
from fairseq.data import data_utils
from fairseq.sequence_generator import SequenceGenerator
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingTask
from torch import Tensor

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection.hooks import summary_projections
from fairseq_meloformer.museformer.arguments import TASK, TASK_OPTIONS
from fairseq_meloformer.museformer.config import CHUNKINGS, Chunking, MuseFormerConfig
from fairseq_meloformer.plugin import native
from fairseq_meloformer.plugin.museformer_dataset import MuseFormerDataset

logger = logging.getLogger(__name__)


class PromptGenerator(SequenceGenerator):
    """fairseq's generator; `--min-len` also holds for a prompt that is shorter than others in its batch."""

    def _prefix_tokens(
        self, step: int, lprobs: Tensor, scores: Tensor, tokens: Tensor, prefix_tokens: Tensor, beam_size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        if step < self.min_len:
            beyond = prefix_tokens[:, step].eq(self.pad).repeat_interleave(beam_size)
            lprobs[beyond, self.eos] = -math.inf
        forced: tuple[Tensor, Tensor, Tensor] = super()._prefix_tokens(
            step, lprobs, scores, tokens, prefix_tokens, beam_size
        )
        return forced


class MuseFormerLanguageModelingTask(LanguageModelingTask):
    """Language modelling of songs, one binarised line each (`fairseq-preprocess --only-source`)."""

    @classmethod
    def add_args(cls, parser: argparse.ArgumentParser) -> None:
        """Upstream's options, and how training splits a song."""
        parser.add_argument("data", metavar="DATA", help="directory made by fairseq-preprocess --only-source")
        for option in TASK_OPTIONS:
            flag = f"--{option.name.replace('_', '-')}"
            parser.add_argument(flag, type=option.parse, default=option.default, metavar="X", help=option.help)
        parser.add_argument(
            "--chunking",
            choices=CHUNKINGS,
            default="infer",
            help="how songs are split into bars in training and validation: as in generation (default); 'train' as "
            "upstream does, where the begin-of-song token reads all of bar 0 and lets its future leak; or 'bosbar', "
            "which --take-bos-as-bar implies",
        )
        parser.add_argument(
            "--train-summary-projections-only",
            action="store_true",
            help="train nothing but the projections through which summaries are read (sum_key2_proj, sum_value2_proj)",
        )

    def build_model(self, args: argparse.Namespace, from_checkpoint: bool = False) -> Any:  # noqa: ANN401
        """Build the model; with `--train-summary-projections-only` all other parameters are frozen."""
        model = super().build_model(args, from_checkpoint)
        self.config: MuseFormerConfig = model.decoder.config
        if getattr(self.args, "train_summary_projections_only", False):
            model.requires_grad_(requires_grad=False)
            for projection in chain.from_iterable(summary_projections(model).values()):
                projection.requires_grad_(requires_grad=True)
        return model

    @property
    def chunking(self) -> Chunking:
        """How training and validation split a song."""
        if getattr(self.args, "take_bos_as_bar", False):
            return "bosbar"
        chunking: Chunking = getattr(self.args, "chunking", "infer")
        return chunking

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **_: Any) -> MuseFormerDataset:  # noqa: ANN401
        """Load `split`; names that begin with train and valid have their own limits, all others those of test.

        Raises:
            InputError: there is no such split.
        """
        paths = utils.split_paths(self.args.data)
        directory = Path(paths[(epoch - 1) % len(paths)])
        songs = data_utils.load_indexed_dataset(
            str(directory / split), self.dictionary, getattr(self.args, "dataset_impl", None), combine=combine
        )
        if songs is None:
            there = sorted({entry.stem for entry in directory.glob("*.idx")})
            raise InputError(f"{directory} must hold the split {split!r} ({split}.bin and .idx), but has {there}")
        kind = next((kind for kind in ("train", "valid") if split.startswith(kind)), "test")
        dataset = MuseFormerDataset(
            songs,
            songs.sizes,
            chunking=self.chunking,
            truncate=getattr(self.args, f"truncate_{kind}", None),
            # A prompt may be empty, but from an empty song there is nothing to learn.
            shortest=1 if kind == "test" else 2,
            longest=getattr(self.args, f"max_size_{kind}", None),
            shuffle=kind == "train",
        )
        self.datasets[split] = dataset
        logger.info("%s: %d of %d songs", split, len(dataset.kept), len(songs))
        return dataset

    def build_dataset_for_inference(
        self, src_tokens: Sequence[Tensor], src_lengths: Sequence[int], **_: object
    ) -> MuseFormerDataset:
        """Prompts of fairseq-interactive: lines of tokens, or empty lines.

        Raises:
            InputError: a token that the vocabulary does not have.
        """
        for number, line in enumerate(src_tokens):
            unknown = (line == self.dictionary.unk()).nonzero()
            if len(unknown):
                raise InputError(
                    "every token of a prompt must be in dict.txt, "
                    f"but token {int(unknown[0])} of prompt {number} is not"
                )
        return MuseFormerDataset(src_tokens, src_lengths, chunking=self.chunking)

    def build_generator(self, models: Sequence[Any], args: Any, seq_gen_cls: Any = None, **others: Any) -> Any:  # noqa: ANN401
        """The generator of fairseq-generate and fairseq-interactive."""
        return super().build_generator(models, args, seq_gen_cls=seq_gen_cls or PromptGenerator, **others)


if not native.in_use():
    register_task(TASK)(MuseFormerLanguageModelingTask)
