"""What the task `summary_bridge` does under fairseq-generate: compose pieces to a file of prompts."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import field, make_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from fairseq.dataclass import FairseqDataclass
from omegaconf import II
from torch import Tensor, nn

from fairseq_meloformer.composing.command import Order, add_arguments, is_controlled, numbers
from fairseq_meloformer.composing.composer import Composer, bridge_of
from fairseq_meloformer.composing.full_system import DecodingControl
from fairseq_meloformer.composing.piece import Piece, Settings
from fairseq_meloformer.composing.pieces import Job, PieceFolder, composed
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.museformer.precision import convert
from fairseq_meloformer.museformer.uncached import ForeignMuseFormer
from fairseq_meloformer.plugin.options import option
from fairseq_meloformer.summaries.extraction import core, sizes
from fairseq_meloformer.tokens.vocabulary import END, SPECIAL, Vocabulary, general, published

logger = logging.getLogger(__name__)
# What fairseq-generate has names of its own for, or what it does not write.
_FAIRSEQS = {"help", "text", "prompts", "output", "model", "device", "seed", "batch_size", "temperature", "top_k"}
_FAIRSEQS |= {"top_p", "no_audio", "no_picture"}


def _compose() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser


def _field(action: argparse.Action) -> tuple[str, Any, Any]:
    """An option of `meloformer compose` as a field of a configuration class."""
    flag = action.option_strings[0]
    kind: Any = action.type if action.type in (int, float) else str
    alias = {} if flag == f"--{action.dest.replace('_', '-')}" else {"argparse_alias": flag}
    if action.nargs == 0:
        kind = bool
    elif action.default is None or action.dest == "bridge":
        kind = Optional[kind]
    default = None if action.dest == "bridge" else action.default
    text = str(action.help).replace(" (default: embedded)", "") if action.dest == "bridge" else action.help
    meaning = text and text % {"default": action.default}
    return action.dest, kind, field(default=default, metadata={"help": meaning, **alias})


_OPTIONS = [_field(action) for action in _compose()._actions if action.dest not in _FAIRSEQS]  # noqa: SLF001  no other way
ComposingConfig: Any = make_dataclass(
    "ComposingConfig",
    [
        *_OPTIONS,
        ("midi_dir", Optional[str], option(None, "folder for the pieces <id>-<k>.mid and manifest.jsonl")),
        ("path", Optional[str], field(default=II("common_eval.path"))),
        ("process", int, field(default=II("distributed_training.distributed_rank"))),
        ("processes", int, field(default=II("distributed_training.distributed_world_size"))),
    ],
    bases=(FairseqDataclass,),
)
"""Options of fairseq-generate: those of `meloformer compose`, under the same names and with the same defaults.

Only `--bridge` has none: without it the text is not heard, as with `--no-injection`.
"""


class PromptDataset(FairseqDataset):
    """The pieces that are to be composed; a batch names them, the task knows them."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        self.sizes = np.ones(len(self.jobs), dtype=np.int64)
        self.kept = np.arange(len(self.jobs))

    def ordered_indices(self) -> np.ndarray[Any, Any]:
        """Pieces of this process."""
        return self.kept

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> int:
        return index

    def collater(self, samples: Sequence[int]) -> dict[str, Any]:
        """A batch: numbers of the pieces, and for fairseq a source and no target."""
        source = torch.full((len(samples), 1), END)
        return {
            "id": torch.tensor(samples),
            "nsentences": len(samples),
            "ntokens": len(samples),
            "net_input": {"src_tokens": source, "src_lengths": torch.ones(len(samples), dtype=torch.long)},
            "target": None,
        }

    def num_tokens(self, index: int) -> int:
        """Every prompt counts alike."""
        return int(self.sizes[index])

    def size(self, index: int) -> int:
        """Every prompt counts alike."""
        return int(self.sizes[index])


class ComposingPart:
    """Composing, for a task whose configuration is a `ComposingConfig` and whose data is a file of prompts."""

    cfg: Any
    datasets: dict[str, Any]

    @cached_property
    def source_dictionary(self) -> Dictionary:
        """Tokens of the MuseFormer; empty until there is one, since fairseq takes the dictionary before the model."""
        return Dictionary()

    @property
    def target_dictionary(self) -> Dictionary:
        """The same."""
        return self.source_dictionary

    def set_vocabulary(self, model_config: Any) -> None:  # noqa: ANN401  a Namespace or omegaconf
        """Take the vocabulary that a MuseFormer's arguments name, or the published one of its size."""
        known: list[Vocabulary] = [published(), general()]
        named, size = getattr(model_config, "vocabulary_sha256", ""), getattr(model_config, "vocabulary_size", 0)
        alike = [one for one in known if (one.sha256 == named if named else len(one) == size)]
        vocabulary = alike[0] if alike else known[0]
        for symbol in vocabulary.symbols[len(SPECIAL) :]:
            self.source_dictionary.add_symbol(symbol)

    def prompts(self, path: Path, seed: int) -> PromptDataset:
        """The pieces that a file of prompts, or an existing piece, asks for."""
        if self.cfg.midi_dir is None:
            raise InputError("fairseq-generate needs a folder for the pieces: give --midi-dir DIR")
        given = {name: getattr(self.cfg, name) for name, _, _ in _OPTIONS}
        given |= {"prompts": str(path), "seed": seed, "output": self.cfg.midi_dir}
        given["no_injection"] = self.cfg.no_injection or not (self.cfg.bridge or self.cfg.plan_from)
        layers = self.cfg.inject_layers
        given["inject_layers"] = None if layers is None else numbers(layers)
        self._args = argparse.Namespace(**(vars(_compose().parse_args(["", "--output", ""])) | {"text": []} | given))
        self._order = Order.of(self._args)
        return PromptDataset(self._order.jobs)

    def get_batch_iterator(
        self,
        dataset: FairseqDataset,
        num_shards: int = 1,
        shard_id: int = 0,
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401  fairseq's
        """Batches of this process's pieces, every `num_shards`-th one: shares of whole batches leave processes idle."""
        if isinstance(dataset, PromptDataset):
            dataset.kept = np.arange(len(dataset))[shard_id::num_shards]
            if not len(dataset.kept):  # fairseq would divide by the time that it took, 0
                logger.info("process %d of %d has nothing to do", shard_id + 1, num_shards)
                sys.exit(0)
            num_shards, shard_id = 1, 0
        parent: Any = super()
        return parent.get_batch_iterator(dataset, num_shards=num_shards, shard_id=shard_id, **options)

    def build_generator(self, models: Sequence[nn.Module], args: Any, **_: Any) -> "PieceGenerator":  # noqa: ANN401
        """What composes; see fairseq's tasks.

        Raises:
            InputError: more than one model, or one that is no MuseFormer.
        """
        if len(models) != 1:
            raise InputError(f"composing takes one MuseFormer in --path, received {len(models)} models")
        model = core(models[0]) or self._foreign(models[0])
        args_of_all = self._sampled(args)
        controlled = is_controlled(args_of_all)
        if controlled and isinstance(model, ForeignMuseFormer):
            logger.warning("--museformer-native: the plan alone steers, for that code takes one piece at a time")
            controlled = False
        bridge, device = self.cfg.bridge, next(model.parameters()).device
        if bridge is not None and not (args_of_all.no_injection or args_of_all.plan_from):
            bridge = bridge_of(model, bridge, device, another_museformer=self.cfg.another_museformer)
        else:
            bridge = None
        control = None
        if controlled:
            control = DecodingControl.from_pretrained(self.cfg.probe, self.cfg.path, self.cfg.tilt, self.cfg.best_of)
        if isinstance(model, MuseFormer):
            model = convert(model, self.cfg.dtype)
        composer, settings = Composer(model, bridge, control), self._order.settings(args_of_all)
        folder = PieceFolder(
            self.cfg.midi_dir,
            self._order.made_with(args_of_all, settings, composer),
            picture=False,
            sound=False,
            score=self.cfg.score,
            page=self.cfg.html,
            share=(self.cfg.process, self.cfg.processes),
        )
        return PieceGenerator(composer, self._order, settings, folder)

    def _foreign(self, model: nn.Module) -> ForeignMuseFormer:
        """The user's own MuseFormer (`--museformer-native`)."""
        layers, dim = sizes(model)
        vocabulary = Vocabulary.of_dictionary(self.source_dictionary.symbols)
        config = MuseFormerConfig(
            vocabulary_size=len(vocabulary),
            layers=layers,
            dim=dim,
            heads=1,  # nobody asks how its attention is made
            vocabulary_sha256=vocabulary.sha256,
        )
        return ForeignMuseFormer(model, config)

    def inference_step(
        self,
        generator: "PieceGenerator",
        _models: Sequence[nn.Module],
        sample: dict[str, Any],
        **_: Any,  # noqa: ANN401
    ) -> list[list[dict[str, Any]]]:
        """Compose a batch and write its pieces; the tokens, for fairseq to print."""
        (dataset,) = self.datasets.values()
        return generator.generate([dataset.jobs[index] for index in sample["id"].tolist()])

    def _sampled(self, args: Any) -> argparse.Namespace:  # noqa: ANN401  fairseq's generation configuration
        """The arguments with fairseq's own options of drawing."""
        sampled = {
            # Nobody knows whether fairseq's usual one was given: it leaves an existing piece's.
            "temperature": None if args.temperature == 1 else args.temperature,
            "top_k": max(args.sampling_topk, 0) if args.sampling else 1,
            "top_p": args.sampling_topp if args.sampling and args.sampling_topp > 0 else 1.0,
        }
        return argparse.Namespace(**(vars(self._args) | sampled))


class PieceGenerator:
    """In the place of fairseq's sequence generator."""

    symbols_to_strip_from_output = frozenset({END})

    def __init__(self, composer: Composer, order: Order, settings: Settings, folder: PieceFolder) -> None:
        self._composer = composer
        self._passage = order.passage
        self._oracle = order.oracle(composer)
        self._settings = settings
        self._folder = folder

    def generate(self, jobs: Sequence[Job]) -> list[list[dict[str, Any]]]:
        """Compose what is not there yet of these pieces and write it; hypotheses in fairseq's form."""
        missing = self._folder.missing(jobs)
        songs: dict[str, list[str]] = {}
        with self._folder.manifest:
            for (prompt, number, _), piece in zip(missing, self._compose(missing), strict=True):
                row = self._folder.write(prompt, number, piece)
                songs[row["piece"]] = piece.tokens
                logger.info("%s", self._folder.directory / row["files"]["midi"])
        vocabulary = self._composer.vocabulary
        return [
            [_hypothesis(torch.tensor([*vocabulary.ids(songs.get(f"{prompt.id}-{number}", [])), END]))]
            for prompt, number, _ in jobs
        ]

    def _compose(self, jobs: Sequence[Job]) -> Iterator[Piece]:
        """Pieces of a batch, candidates counted; a foreign model takes one at a time."""
        control, foreign = self._composer.control, isinstance(self._composer.model, ForeignMuseFormer)
        together = 1 if foreign else max(1, len(jobs) // (control.best_of if control else 1))
        for first in range(0, len(jobs), together):
            requests = [request for _, _, request in jobs[first : first + together]]
            yield from composed(self._composer, requests, self._settings, self._oracle, self._passage)


def _hypothesis(tokens: Tensor) -> dict[str, Any]:
    """A song for fairseq to print; it has no score, since the grammar and the guidance chose with the model."""
    return {"tokens": tokens, "score": 0.0, "positional_scores": torch.zeros(len(tokens)), "alignment": None}
