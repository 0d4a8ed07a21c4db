"""The task `museformer_language_modeling`, as upstream names it: training, validation and generation of whole songs."""

import argparse
import logging
import math
from collections.abc import Callable, Sequence
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
from fairseq_meloformer.injection.attribute_training import positions
from fairseq_meloformer.injection.hooks import summary_projections
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.museformer import checkpoints
from fairseq_meloformer.museformer.arguments import PLAN_TRAINING, SIZES, TASK, TASK_OPTIONS, arguments_from_config
from fairseq_meloformer.museformer.config import CHUNKINGS, FEWEST_BARS, Chunking, MuseFormerConfig
from fairseq_meloformer.museformer.precision import autocast
from fairseq_meloformer.plugin import native
from fairseq_meloformer.plugin.museformer_dataset import MuseFormerDataset
from fairseq_meloformer.plugin.options import refuse_half_precision
from fairseq_meloformer.plugin.song_variations import SongVariations
from fairseq_meloformer.tokens.vocabulary import Vocabulary

logger = logging.getLogger(__name__)
_SAMPLE = 2000  # training songs whose bars are counted
Sample = dict[str, Any]
Result = tuple[Tensor, int, dict[str, Any]]
Criterion = Callable[[Any, Sample], Result]


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
    """Language modelling of songs, one binarised line each (`fairseq-preprocess --only-source`).

    Attributes:
        quantiles: set by a criterion that asks where training songs lie on the control axes within a corpus.
    """

    quantiles: Quantiles | None = None

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
            "--vary-train",
            type=float,
            default=0.0,
            metavar="SHARE",
            help="of training songs, drawn in every epoch, to put into another octave, tempo and loudness and to take "
            "tracks from",
        )
        parser.add_argument(
            "--crop-train",
            action="store_true",
            help="of a training song longer than --truncate-train take, every second time, a part from a drawn bar on",
        )
        parser.add_argument(
            "--train-summary-projections-only",
            action="store_true",
            help="train nothing but the projections through which summaries are read (sum_key2_proj, sum_value2_proj)",
        )

    def build_model(self, args: argparse.Namespace, from_checkpoint: bool = False) -> Any:  # noqa: ANN401
        """Build the model; with `--train-summary-projections-only` all other parameters are frozen.

        Where training begins from another model, that one's sizes count, whatever the architecture says.

        Raises:
            InputError: no such model, or training in half precision in fairseq's ways.
        """
        if not from_checkpoint:  # whose own options say how it was trained: published ones were in half precision
            refuse_half_precision(self.args, "MuseFormer")
            self._note_training(args, self._start(args))
        model = super().build_model(args, from_checkpoint)
        self.config: MuseFormerConfig = model.decoder.config
        if getattr(self.args, "train_summary_projections_only", False):
            model.requires_grad_(requires_grad=False)
            for projection in chain.from_iterable(summary_projections(model).values()):
                projection.requires_grad_(requires_grad=True)
        return model

    def _start(self, args: argparse.Namespace) -> MuseFormerConfig | None:
        """The model that training begins from, if any; its sizes become those of `args`."""
        path = getattr(args, "finetune_from_model", None)
        if not path:
            return None
        # With the symbols of the data: in no others could it be trained on them.
        start = checkpoints.load(path, Vocabulary.of_dictionary(self.dictionary.symbols)).config
        known = arguments_from_config(start)
        for name in SIZES:
            setattr(args, name, known[name])
            setattr(self.args, name, known[name])
        return start

    def _note_training(self, args: argparse.Namespace, start: MuseFormerConfig | None) -> None:
        """Let the checkpoints say in which scope this training makes plans heard, and how many bars it makes known."""
        planned = args.criterion == PLAN_TRAINING
        args.injection_scope = "plan" if planned else start.scope if start else MuseFormerConfig.scope
        known = [FEWEST_BARS, (start and start.most_bars) or 0, self._bars_of_songs()]
        args.most_bars = max(*known, args.first_bar_below - 1 if planned else 0)

    def _bars_of_songs(self) -> int:
        """The number of bars that one in twenty of the training songs has, as they are cut."""
        directory = str(Path(utils.split_paths(self.args.data)[0]) / "train")
        songs = data_utils.load_indexed_dataset(directory, self.dictionary, getattr(self.args, "dataset_impl", None))
        if songs is None:
            return 0
        step = -(-len(songs) // _SAMPLE)
        bar = self.dictionary.index(self.args.eob_token)
        cut = getattr(self.args, "truncate_train", None)
        bars = sorted(int((songs[index][:cut] == bar).sum()) for index in range(0, len(songs), step))
        return bars[int(0.95 * len(bars))]

    def train_step(self, sample: Sample, model: Any, criterion: Criterion, *more: Any, **others: Any) -> Result:  # noqa: ANN401
        """Forward and backward, with products in bfloat16 where that is faster."""
        result: Result = super().train_step(sample, model, _cast(criterion), *more, **others)
        return result

    def valid_step(self, sample: Sample, model: Any, criterion: Criterion, **others: Any) -> Result:  # noqa: ANN401
        """Loss of a batch, computed as in training."""
        result: Result = super().valid_step(sample, model, _cast(criterion), **others)
        return result

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
        truncate = getattr(self.args, f"truncate_{kind}", None)
        dataset = MuseFormerDataset(
            songs,
            songs.sizes,
            chunking=self.chunking,
            truncate=truncate,
            # A prompt may be empty, but from an empty song there is nothing to learn.
            shortest=1 if kind == "test" else 2,
            longest=getattr(self.args, f"max_size_{kind}", None),
            shuffle=kind == "train",
            vary=self._variations(truncate) if kind == "train" else None,
            measure=self._measure if kind == "train" and self.quantiles is not None else None,
        )
        self.datasets[split] = dataset
        logger.info("%s: %d of %d songs", split, len(dataset.kept), len(songs))
        return dataset

    def _variations(self, truncate: int | None) -> SongVariations | None:
        varied, cropped = getattr(self.args, "vary_train", 0.0), getattr(self.args, "crop_train", False)
        if not 0 <= varied <= 1:
            raise InputError(f"--vary-train must be in [0, 1], received {varied}")
        if cropped and truncate is None:
            raise InputError("--crop-train needs --truncate-train, the length of the parts")
        if not varied and not cropped:
            return None
        return SongVariations(
            self.dictionary.symbols, getattr(self.args, "seed", 1), varied, truncate if cropped else None
        )

    def _measure(self, song: Tensor) -> Tensor:
        """Where the bars of a song (ids,) lie on the control axes: (bars, axes)."""
        assert self.quantiles is not None  # noqa: S101  for the type checker
        return positions([self.dictionary.symbols[token] for token in song.tolist()], self.quantiles)

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


def _cast(criterion: Criterion) -> Criterion:
    """The criterion under autocast; the backward pass, which follows what the forward pass did, needs none."""

    def forward(model: Any, sample: Sample) -> Result:  # noqa: ANN401  fairseq's
        with autocast(sample["net_input"]["src_tokens"].device):
            return criterion(model, sample)

    return forward


if not native.in_use():
    register_task(TASK)(MuseFormerLanguageModelingTask)
