"""Songs of a summary store with their texts, for fairseq to train the bridge on."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer.corpus.tokens import TokenFile
from fairseq_meloformer.encoders.embeddings import TextEncoder
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import ALL_AXES
from fairseq_meloformer.plugin.museformer_dataset import SortedDataset
from fairseq_meloformer.summaries.store import Subset
from fairseq_meloformer.tokens.vocabulary import PAD


class BridgeDataset(SortedDataset):
    """Items of one subset that have a text, each with one of its texts.

    What is drawn for an item (text, and through `seeds` time and noise) depends on the seed, the epoch and the item
    alone: not on its batch, its process, or where training was resumed.

    Args:
        songs: the subset.
        encoder: of the texts; a cache in front of it.
        seed: of all that is drawn.
        vary: another text and noise in every epoch, for training; else always the first text.
        tokens: of the same songs, for soft prompts.
    """

    def __init__(
        self, songs: Subset, encoder: TextEncoder, *, seed: int, vary: bool, tokens: TokenFile | None = None
    ) -> None:
        self._songs = songs
        self._encoder = encoder
        self._seed = seed
        self._vary = self.shuffle = vary
        self._tokens = tokens
        self.sizes = np.asarray(songs.bars, dtype=np.int64)
        self.kept = np.flatnonzero([bool(songs.metadata(i).get("captions")) for i in range(len(songs))])
        if not len(self.kept):
            raise InputError(
                f"a bridge is trained on songs with captions, but of the {len(songs)} songs of the subset "
                f"{songs.directory.name!r} in {songs.directory.parent} none has any: give meloformer prepare "
                "--describe K, or --captions FILE with songs of this subset, and extract them to a new store"
            )

    def texts(self) -> Iterator[str]:
        """Every text that can be drawn, read anew: there may be more of them than memory should hold."""
        for index in self.kept.tolist():
            captions = self._songs.metadata(index)["captions"]
            yield from (caption["text"] for caption in (captions if self._vary else captions[:1]))

    def __len__(self) -> int:
        return len(self._songs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        key = f"{self._seed}|{self._epoch if self._vary else 0}|{index}"
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7])
        item = self._songs[int(index)]
        captions = item.metadata["captions"]
        text = captions[seed % len(captions) if self._vary else 0]["text"]
        places = item.metadata.get("positions", {})
        attributes = torch.tensor([places.get(axis, torch.nan) for axis in ALL_AXES])
        sample = {"id": index, "summaries": item.summaries.float(), "text": text, "seed": seed}
        if self._tokens is not None:
            sample["song"] = torch.tensor(self._tokens[item.id])
        return {**sample, "attributes": attributes}

    def collater(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A batch: summaries (batch, bars, layers, dim), bars (batch,), text, attributes (batch, axes), seeds.

        With tokens also songs (batch, length), padded with PAD.
        """
        if not samples:
            return {}
        states, mask, pooled = self._encoder.encode([sample["text"] for sample in samples])
        bars = torch.tensor([len(sample["summaries"]) for sample in samples])
        songs = {}
        if self._tokens is not None:
            songs["songs"] = pad_sequence([sample["song"] for sample in samples], batch_first=True, padding_value=PAD)
        return {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": int(bars.sum()),
            "net_input": {
                "summaries": pad_sequence([sample["summaries"] for sample in samples], batch_first=True),
                "bars": bars,
                "states": states,
                "mask": mask,
                "pooled": pooled,
                "attributes": torch.stack([sample["attributes"] for sample in samples]),
                "seeds": [sample["seed"] for sample in samples],
                **songs,
            },
        }
