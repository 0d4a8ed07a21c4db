"""What the task `summary_bridge` does under fairseq-generate: compose pieces to a file of prompts."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from fairseq.dataclass import FairseqDataclass
from omegaconf import II
from torch import Tensor, nn

from fairseq_meloformer.bridge import checkpoints as bridges
from fairseq_meloformer.composing.command import numbers
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.piece import Piece, Settings
from fairseq_meloformer.composing.pieces import Job, PieceFolder, made_with
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.config import SCOPES, MuseFormerConfig
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.museformer.uncached import ForeignMuseFormer
from fairseq_meloformer.plugin.options import option
from fairseq_meloformer.summaries.extraction import core, sizes
from fairseq_meloformer.tokens.vocabulary import END, SPECIAL, Vocabulary, general, published
from fairseq_meloformer.words.prompt_files import read_prompts
from fairseq_meloformer.words.prompts import Request

logger = logging.getLogger(__name__)
_DEFAULT = Settings()


@dataclass
class ComposingConfig(FairseqDataclass):
    """Options of fairseq-generate; `meloformer compose` has the same under the same names."""

    bridge: Optional[str] = option(None, "bridge that makes plans: a directory; without it this is plain MuseFormer")
    midi_dir: Optional[str] = option(None, "folder for the pieces <id>-<k>.mid and manifest.jsonl")
    count: int = option(1, "pieces per prompt")
    bars: Optional[int] = option(None, "length in bars; what the text suggests if not given")
    transpose: int = option(0, "semitones by which pieces are moved")
    inject_scope: Optional[str] = option(None, f"where the plan acts: {', '.join(SCOPES)} (default: the model's best)")
    inject_layers: Optional[str] = option(None, "layers it acts in, 0,1,...; the bridge's if not given")
    inject_strength: float = option(_DEFAULT.strength, "1 replaces the model's own summaries, 0 leaves them")
    guidance_scale: float = option(_DEFAULT.guidance_scale, "of the bridge: weight of the text against no text")
    logit_guidance: float = option(_DEFAULT.sampling.logit_guidance, "u + W (c - u) of logits with and without plan")
    nfe: int = option(_DEFAULT.nfe, "steps of the bridge")
    no_recall: bool = option(False, "what was written does not help to foretell what comes")
    process: int = II("distributed_training.distributed_rank")
    processes: int = II("distributed_training.distributed_world_size")


class PromptDataset(FairseqDataset):
    """The pieces that are to be composed; a batch names them, the task knows them."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        self.sizes = np.ones(len(self.jobs), dtype=np.int64)

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
        """The pieces that a file of prompts asks for."""
        if self.cfg.midi_dir is None:
            raise InputError("fairseq-generate needs a folder for the pieces: give --midi-dir DIR")
        defaults = Request("", seed=seed, bars=self.cfg.bars, transposition=self.cfg.transpose)
        prompts = read_prompts(path)
        return PromptDataset([(p, k, p.request(k, defaults)) for p in prompts for k in range(self.cfg.count)])

    def build_generator(self, models: Sequence[nn.Module], args: Any, **_: Any) -> "PieceGenerator":  # noqa: ANN401
        """What composes; see fairseq's tasks.

        Raises:
            InputError: more than one model, or one that is no MuseFormer.
        """
        if len(models) != 1:
            raise InputError(f"composing takes one MuseFormer in --path, received {len(models)} models")
        model = core(models[0]) or self._foreign(models[0])
        device = next(model.parameters()).device
        bridge = None if self.cfg.bridge is None else bridges.load(self.cfg.bridge, device)
        composer = Composer(model, bridge)
        settings = self._settings(args)
        share = self.cfg.process, self.cfg.processes
        folder = PieceFolder(self.cfg.midi_dir, made_with(settings, composer), picture=False, sound=False, share=share)
        return PieceGenerator(composer, settings, folder)

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

    def _settings(self, args: Any) -> Settings:  # noqa: ANN401  fairseq's generation configuration
        sampling = Sampling(
            temperature=args.temperature,
            top_k=max(args.sampling_topk, 0) if args.sampling else 1,
            top_p=args.sampling_topp if args.sampling and args.sampling_topp > 0 else 1.0,
            logit_guidance=self.cfg.logit_guidance,
        )
        return Settings(
            sampling=sampling,
            injected=self.cfg.bridge is not None,
            scope=self.cfg.inject_scope,
            layers=None if self.cfg.inject_layers is None else numbers(self.cfg.inject_layers),
            strength=self.cfg.inject_strength,
            guidance_scale=self.cfg.guidance_scale,
            nfe=self.cfg.nfe,
            recall=not self.cfg.no_recall,
        )


class PieceGenerator:
    """In the place of fairseq's sequence generator."""

    symbols_to_strip_from_output = frozenset({END})

    def __init__(self, composer: Composer, settings: Settings, folder: PieceFolder) -> None:
        self._composer = composer
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
        """Pieces of a batch; a foreign model takes one at a time."""
        together = 1 if isinstance(self._composer.model, ForeignMuseFormer) else max(1, len(jobs))
        for first in range(0, len(jobs), together):
            requests = [request for _, _, request in jobs[first : first + together]]
            yield from self._composer.compose(requests, self._settings)


def _hypothesis(tokens: Tensor) -> dict[str, Any]:
    """A song for fairseq to print; it has no score, since the grammar and the guidance chose with the model."""
    return {"tokens": tokens, "score": 0.0, "positional_scores": torch.zeros(len(tokens)), "alignment": None}
