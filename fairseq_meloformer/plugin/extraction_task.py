"""The task `summary_extraction`: fairseq-generate runs the frozen model over songs and keeps their summaries."""

import argparse
import hashlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.data import data_utils
from fairseq.tasks import TASK_REGISTRY, register_task

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import JsonlLog, read_jsonl
from fairseq_meloformer.museformer.arguments import TASK
from fairseq_meloformer.plugin import museformer_task  # noqa: F401  registers the task that this one derives from
from fairseq_meloformer.plugin.museformer_dataset import MuseFormerDataset
from fairseq_meloformer.stamps import sha256_file
from fairseq_meloformer.summaries.extraction import core, extract, fingerprint, finish, sizes
from fairseq_meloformer.summaries.store import DTYPES, StoreHeader, SummaryStore
from fairseq_meloformer.summaries.writer import StoreWriter
from fairseq_meloformer.tokens.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Base: Any = TASK_REGISTRY[TASK]
"""Ours, or that of the user's own MuseFormer, which knows how to build its model."""


@register_task("summary_extraction")
class SummaryExtractionTask(Base):
    """Writes the summaries of `--gen-subset` to `--summary-store`; goes on where an earlier run was stopped.

    With `--distributed-world-size N --distributed-rank r`, process r of N takes every N-th song, for one common store.
    """

    @classmethod
    def add_args(cls, parser: argparse.ArgumentParser) -> None:
        """The options of language modelling, and where summaries go."""
        super().add_args(parser)
        parser.add_argument(
            "--summary-store", metavar="DIR", required=True, help="the store to write to or to go on with"
        )
        parser.add_argument("--summary-dtype", choices=DTYPES, default="float32", help="how numbers are kept")

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Load whole songs, and the descriptions of them that `meloformer prepare` laid beside them.

        Raises:
            InputError: there is no such split, or the descriptions are not one for each song.
        """
        directory = Path(utils.split_paths(self.args.data)[0])
        songs = data_utils.load_indexed_dataset(str(directory / split), self.source_dictionary, None)
        if songs is None:
            there = sorted({entry.stem for entry in directory.glob("*.idx")})
            raise InputError(f"{directory} must hold the split {split!r} ({split}.bin and .idx), but has {there}")
        self.datasets[split] = MuseFormerDataset(songs, songs.sizes, chunking="infer", shortest=2)
        self.subset = split
        path = directory / f"{split}.items.jsonl"
        self.ids = _ids(path, len(songs))
        self.items = JsonlLog(path)
        self.source = _hash_of(directory / f"{split}.bin", path)

    @property
    def store(self) -> Path:
        """Directory of the store."""
        return Path(self.args.summary_store)

    def get_batch_iterator(
        self,
        dataset: MuseFormerDataset,
        num_shards: int = 1,
        shard_id: int = 0,
        **options: Any,  # noqa: ANN401
    ) -> "_Batches":
        """Batches of this process's songs that are not in the store yet.

        Whose a song is depends on its number alone: processes start at different times and see different stores.
        """
        self.wanted = [self.ids[index] for index in dataset.kept]
        done = SummaryStore.finished(self.store, self.subset)
        mine = [index for index in dataset.kept.tolist() if index % num_shards == shard_id]
        dataset.kept = np.array([index for index in mine if self.ids[index] not in done], dtype=np.int64)
        self.rank = shard_id
        logger.info("%s: %d of %d songs to extract", self.subset, len(dataset.kept), len(mine))
        return _Batches(super().get_batch_iterator(dataset, **options), self.finish)

    def build_generator(self, models: Sequence[torch.nn.Module], args: object, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Open the store for the model; nothing is generated.

        Raises:
            InputError: more than one model, or a store that another model, vocabulary or version has made or that is
                made of other songs or descriptions.
        """
        if len(models) != 1:
            raise InputError(f"summaries are extracted from one model, received {len(models)} in --path")
        (layers, dim), ours = sizes(models[0]), core(models[0])
        header = StoreHeader(
            model_sha256=fingerprint(models[0]),
            vocabulary_sha256=Vocabulary.of_dictionary(self.source_dictionary.symbols).sha256,
            layers=layers,
            dim=dim,
            chunking=ours.config.chunking if ours is not None else "infer",
            dtype=self.args.summary_dtype,
        )
        self.writer = StoreWriter(self.store, self.subset, header, rank=self.rank, source=self.source)

    def inference_step(
        self,
        _generator: None,
        models: Sequence[torch.nn.Module],
        sample: dict[str, Any],
        **_: Any,  # noqa: ANN401
    ) -> list[list[dict[str, torch.Tensor]]]:
        """Hand a batch's summaries to the store; what is returned lets fairseq count the tokens."""
        tokens = sample["net_input"]["src_tokens"]
        # Whole, since every copy of a part waits for the device.
        summaries, mask = (part.cpu() for part in extract(models[0], tokens, sample["net_input"]["bars"]))
        bars = mask.sum(dim=1).tolist()
        for row, index in enumerate(sample["id"].tolist()):
            name = self.ids[index]
            about = self.items[name] if name in self.items.done else {"id": name}
            self.writer.put(name, summaries[row, : bars[row]], about)
        sample["id"] = sample["id"][:0]  # so that fairseq prints no song
        return [[{"tokens": song}] for song in tokens]

    def finish(self) -> None:
        """Wait for the disk, write the statistics if this process was the last one, and end the command.

        fairseq would go on to score translations, and stumble over there being none.
        """
        self.writer.close()
        statistics = finish(self.store, self.subset, self.wanted)
        if statistics is None:
            logger.info("%s: this process is done; others have still to finish", self.subset)
        else:
            logger.info("%s: complete, %d songs and %d bars", self.subset, len(self.wanted), statistics.bars)
        sys.exit(0)


class _Batches:
    """fairseq's batches, and what happens after the last one."""

    def __init__(self, batches: Any, at_end: Callable[[], None]) -> None:  # noqa: ANN401
        self._batches = batches
        self._at_end = at_end

    def next_epoch_itr(self, **options: Any) -> "_Batches":  # noqa: ANN401
        """As fairseq's."""
        return _Batches(self._batches.next_epoch_itr(**options), self._at_end)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._batches
        self._at_end()


def _hash_of(*paths: Path) -> str:
    """One hash of the content of all these files that are there."""
    return hashlib.sha256("".join(sha256_file(path) for path in paths if path.is_file()).encode()).hexdigest()


def _ids(path: Path, songs: int) -> list[str]:
    """The id of every song by its description; numbers for songs that were not prepared by us."""
    if not path.exists():
        return [str(index) for index in range(songs)]
    ids = [str(row.get("id")) for row in read_jsonl(path)]
    if len(ids) != songs or len(set(ids)) != songs:
        raise InputError(
            f"{path} must have one row with an id of its own for each of the {songs} songs of its split, but has "
            f"{len(ids)} rows and {len(set(ids))} ids: run scripts/prepare.sh again"
        )
    return ids
