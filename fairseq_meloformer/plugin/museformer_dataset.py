"""Songs for fairseq: a binarised line is one song, tokens and `</s>`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.data import FairseqDataset
from torch import Tensor

from fairseq_meloformer.museformer.config import Chunking
from fairseq_meloformer.tokens.vocabulary import BOS, PAD

Indices = npt.NDArray[np.int64]


class MuseFormerDataset(FairseqDataset):
    """Source `</s>` + tokens, target tokens + `</s>`; batches are padded on the right with PAD, which costs no loss.

    Args:
        songs: one tensor of ids per song, which ends with `</s>`.
        sizes: (songs,) number of ids of each.
        chunking: handed to the model with every batch.
        truncate: keep only so many ids of source and target.
        shortest, longest: leave out songs that have fewer or more ids (before truncation).
        shuffle: batches are made of songs of like length, in random order among equals.
    """

    def __init__(
        self,
        songs: Sequence[Tensor],
        sizes: Sequence[int],
        *,
        chunking: Chunking,
        truncate: int | None = None,
        shortest: int = 1,
        longest: int | None = None,
        shuffle: bool = False,
    ) -> None:
        self.songs = songs
        full = np.asarray(sizes, dtype=np.int64)
        self.sizes: Indices = full if truncate is None else np.minimum(full, truncate)
        self.chunking = chunking
        self.shuffle = shuffle
        kept = full >= shortest
        if longest is not None:
            kept &= full <= longest
        self.kept: Indices = np.flatnonzero(kept)

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        size = int(self.sizes[index])
        song = self.songs[index].long()
        source = torch.cat([song.new_tensor([BOS]), song[: size - 1]])
        return {"id": index, "source": source, "target": song[:size]}

    def collater(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A batch: src_tokens and target (batch, length), src_lengths (batch,), and how the model splits songs."""
        if not samples:
            return {}
        source, target = (
            torch.nn.utils.rnn.pad_sequence([sample[key] for sample in samples], batch_first=True, padding_value=PAD)
            for key in ("source", "target")
        )
        lengths = torch.tensor([len(sample["source"]) for sample in samples])
        return {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": int(lengths.sum()),
            "net_input": {"src_tokens": source, "src_lengths": lengths, "chunking": self.chunking},
            "target": target,
        }

    def num_tokens(self, index: int) -> int:
        """Length of a sample, for `--max-tokens`."""
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Indices) -> Indices:
        """Lengths of samples, for `--max-tokens`."""
        return self.sizes[indices]

    def size(self, index: int) -> int:
        """Length of a sample, for the model's maximum."""
        return int(self.sizes[index])

    def ordered_indices(self) -> Indices:
        """Samples from short to long, so that a batch has little padding; drawn anew for every epoch's batches."""
        order = np.random.permutation(self.kept) if self.shuffle else self.kept  # noqa: NPY002  fairseq seeds this one
        return order[np.argsort(self.sizes[order], kind="stable")]

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Whether one set of batches serves all epochs; with it, songs would never meet other ones of their length."""
        return not self.shuffle
