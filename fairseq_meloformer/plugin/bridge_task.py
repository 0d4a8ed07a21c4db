"""The task `summary_bridge`: fairseq-train trains a bridge on a store, fairseq-generate composes to prompts."""

import logging
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Optional

import torch
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING
from torch import distributed, nn

from fairseq_meloformer.bridge.model import Bridge
from fairseq_meloformer.composing.composer import vocabulary_of
from fairseq_meloformer.corpus.tokens import TokenFile
from fairseq_meloformer.encoders import registry
from fairseq_meloformer.encoders.embeddings import EmbeddingCache
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.plugin.bridge_dataset import BridgeDataset
from fairseq_meloformer.plugin.bridge_model import MODEL, SummaryBridgeModel
from fairseq_meloformer.plugin.composing import ComposingConfig, ComposingPart
from fairseq_meloformer.plugin.options import refuse_half_precision
from fairseq_meloformer.summaries.extraction import STATISTICS, fingerprint
from fairseq_meloformer.summaries.statistics import Statistics, principal_components
from fairseq_meloformer.summaries.store import SummaryStore

logger = logging.getLogger(__name__)
_SAMPLE = 2000  # texts from which their mean and deviation are taken
TRAIN = "train"


@dataclass
class SummaryBridgeConfig(ComposingConfig):
    """Options of training; those of composing are inherited."""

    data: str = field(default=MISSING, metadata={"help": "store of summaries to train on, or file of prompts"})
    text_encoder: str = field(
        default="e5-small", metadata={"help": "frozen text encoder: e5-small, hf:<id or directory> or dummy:<dim>"}
    )
    text_cache: Optional[str] = field(
        default=None, metadata={"help": "folder for what the encoder made of texts; in the store if not given"}
    )
    museformer: Optional[str] = field(
        default=None, metadata={"help": "frozen MuseFormer through which --method prefix is trained"}
    )
    songs: Optional[str] = field(
        default=None, metadata={"help": "folder of prepared music that the store was made of, for --method prefix"}
    )
    seed: int = II("common.seed")
    cpu: bool = II("common.cpu")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")


@register_task(MODEL, dataclass=SummaryBridgeConfig)
class SummaryBridgeTask(ComposingPart, FairseqTask):
    """Stage B, and stage C where data is a file."""

    @cached_property
    def store(self) -> SummaryStore:
        """The store to train on.

        Raises:
            InputError: there is none.
        """
        if not Path(self.cfg.data).exists():
            raise InputError(
                f"{self.cfg.data} must be a store of summaries to train on, or a file of prompts to compose to; there "
                "is no such folder or file"
            )
        return SummaryStore(self.cfg.data)

    @cached_property
    def encoder(self) -> EmbeddingCache:
        """The text encoder behind its cache."""
        cache = self.cfg.text_cache or Path(self.cfg.data) / "texts"
        device = "cuda" if torch.cuda.is_available() and not self.cfg.cpu else "cpu"
        return EmbeddingCache(
            registry.load(self.cfg.text_encoder, device), cache, batch=256 if device == "cuda" else 32
        )

    @cached_property
    def museformer(self) -> MuseFormer:
        """The frozen MuseFormer; no part of what is trained.

        Raises:
            InputError: none is named, or not the one of the store.
        """
        if self.cfg.museformer is None or self.cfg.songs is None:
            raise InputError(
                "--method prefix is trained through the MuseFormer, on tokens: give --museformer, and --songs, the "
                "folder of prepared music that the store was extracted from"
            )
        model = MuseFormer.from_pretrained(self.cfg.museformer).requires_grad_(requires_grad=False)
        if fingerprint(model) != self.store.header.model_sha256:
            raise InputError(f"{self.cfg.museformer} must be the MuseFormer that the store was extracted with")
        return model

    def load_dataset(self, split: str, combine: bool = False, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Load a subset of the store and read its texts, or load the prompts.

        Raises:
            InputError: no such subset, or prompts that cannot be used.
        """
        if Path(self.cfg.data).is_file():
            self.datasets[split] = self.prompts(Path(self.cfg.data), self.cfg.seed)
            return
        tokens = None if self.cfg.songs is None else TokenFile(self.cfg.songs, split, vocabulary_of(self.museformer))
        dataset = BridgeDataset(
            self.store.subset(split), self.encoder, seed=self.cfg.seed, vary=split.startswith(TRAIN), tokens=tokens
        )
        logger.info("%s: %d songs", split, len(dataset.kept))
        together = distributed.is_available() and distributed.is_initialized()
        share = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
        self.encoder.fill(dataset.texts(), *share)
        self.datasets[split] = dataset

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:  # noqa: ANN401
        """Build a bridge for training, or a MuseFormer for composing.

        Raises:
            InputError: training in half precision in fairseq's ways.
        """
        if not str(getattr(cfg, "_name", "") or getattr(cfg, "arch", "")).startswith(MODEL):
            self.set_vocabulary(cfg)
        elif not from_checkpoint:
            refuse_half_precision(self.cfg, "bridge")
        model: nn.Module = super().build_model(cfg, from_checkpoint)
        return model

    def sizes(self) -> dict[str, Any]:
        """What the store and the encoder fix of a `BridgeConfig`."""
        header = self.store.header
        return {
            "layers": header.layers,
            "dim": header.dim,
            "text_dim": self.encoder.dim,
            "encoder": self.cfg.text_encoder,
            "encoder_identity": self.encoder.identity,
            "museformer": header.model_sha256,
        }

    def fit(self, bridge: Bridge) -> None:
        """Give a new bridge the statistics of the training subset's summaries and texts.

        Raises:
            InputError: the store is not finished, or lacks what the bridge is to be told.
        """
        path = self.store.directory / TRAIN / STATISTICS
        if not path.is_file():
            raise InputError(f"the store must be finished, but has no {path}: run scripts/extract.sh to its end")
        statistics = Statistics.load(path)
        songs = self.store.subset(TRAIN)
        if bridge.asked is not None and not any("positions" in songs.metadata(i) for i in range(len(songs))):
            raise InputError(
                f"--attributes needs a store whose songs say where they lie in their corpus (positions), but none in "
                f"{self.store.directory} does: prepare the data again with this version, and extract it to a new store"
            )
        components = None
        if bridge.config.components:
            kept = bridge.summaries.kept
            items = (statistics.normalise(song.summaries.float())[:, kept] for song in songs)
            components = principal_components(items, bridge.config.components)
        bridge.summaries.fit(statistics, components)
        if bridge.config.method == "prefix":
            _ = self.museformer  # what it lacks is said now, not in the first step
        if bridge.config.method == "retrieval":
            step = -(-len(songs) // bridge.config.bank)
            chosen = range(0, len(songs), step)
            bridge.retrieval.fill(bridge.summaries.normalise(songs[i].summaries.float()) for i in chosen)
        dataset = BridgeDataset(songs, self.encoder, seed=0, vary=True)
        step = max(1, sum(1 for _ in dataset.texts()) // _SAMPLE)
        bridge.text.fit(self.encoder.encode(list(islice(dataset.texts(), 0, None, step))))

    def optimizer_step(self, optimizer: Any, model: nn.Module, update_num: int) -> None:  # noqa: ANN401
        """Step, and let the average follow."""
        super().optimizer_step(optimizer, model, update_num)
        bridges = [module for module in model.modules() if isinstance(module, SummaryBridgeModel)]
        for trained in bridges:
            trained.ema.update(trained.bridge)

    def max_positions(self) -> None:
        """There is no limit."""
