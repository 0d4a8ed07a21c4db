"""Songs for fairseq: a binarised line is one song, tokens and `</s>`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.data import FairseqDataset
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from fairseq_meloformer.museformer.config import Chunking
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, PAD

Indices = npt.NDArray[np.int64]


class SortedDataset(FairseqDataset):
    """Items that come in batches of like size: `sizes` of all in tokens or bars, and those that are `kept`."""

    sizes: Indices
    kept: Indices
    shuffle: bool
    _epoch = 1

    def set_epoch(self, epoch: int) -> None:
        """Items are drawn anew."""
        self._epoch = epoch

    def num_tokens(self, index: int) -> int:
        """Size of an item, for `--max-tokens`."""
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Indices) -> Indices:
        """Sizes of items, for `--max-tokens`."""
        return self.sizes[indices]

    def size(self, index: int) -> int:
        """Size of an item, for the model's maximum."""
        return int(self.sizes[index])

    def ordered_indices(self) -> Indices:
        """Items from short to long, so that a batch has little padding; drawn anew for every epoch's batches."""
        order = np.random.permutation(self.kept) if self.shuffle else self.kept  # noqa: NPY002  fairseq seeds this one
        return order[np.argsort(self.sizes[order], kind="stable")]

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Whether one set of batches serves all epochs; with it, songs would never meet other ones of their length."""
        return not self.shuffle


class MuseFormerDataset(SortedDataset):
    """Source `</s>` + tokens, target tokens + `</s>`; batches are padded on the right with PAD, which costs no loss.

    Args:
        songs: one tensor of ids per song, which ends with `</s>`.
        sizes: (songs,) number of ids of each.
        chunking: handed to the model with every batch.
        truncate: keep only so many ids of source and target.
        shortest, longest: leave out songs that have fewer or more ids (before truncation).
        shuffle: batches are made of songs of like length, in random order among equals.
        vary: what becomes of a song, no longer than it was, in an epoch; of song, epoch and its number.
        measure: of the bars of a song (ids,) to (bars, values), which become `positions` of a batch, NaN where there is
            no bar.
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
        vary: Callable[[Tensor, int, int], Tensor] | None = None,
        measure: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.songs = songs
        full = np.asarray(sizes, dtype=np.int64)
        self.sizes = full if truncate is None else np.minimum(full, truncate)
        self.chunking = chunking
        self.shuffle = shuffle
        self._vary = vary
        self._measure = measure
        kept = full >= shortest
        if longest is not None:
            kept &= full <= longest
        self.kept = np.flatnonzero(kept)

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        song = self.songs[index].long()
        if self._vary is not None:
            song = self._vary(song, self._epoch, index)
        target = song[: int(self.sizes[index])]
        sample = {"id": index, "source": torch.cat([song.new_tensor([BOS]), target[:-1]]), "target": target}
        if self._measure is not None:
            outside = self.chunking == "bosbar"  # a bar of the begin-of-song token alone, in which nothing is measured
            sample["positions"] = pad(self._measure(target[:-1]), (0, 0, int(outside), 0), value=torch.nan)
        return sample

    def collater(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A batch: src_tokens and target (batch, length), src_lengths (batch,), how songs are split, and most bars."""
        if not samples:
            return {}
        source, target = (
            pad_sequence([sample[key] for sample in samples], batch_first=True, padding_value=PAD)
            for key in ("source", "target")
        )
        lengths = torch.tensor([len(sample["source"]) for sample in samples])
        batch = {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": int(lengths.sum()),
            "net_input": {
                "src_tokens": source,
                "src_lengths": lengths,
                "chunking": self.chunking,
                "bars": int((source == BAR_END).sum(1).max()),
            },
            "target": target,
        }
        if self._measure is not None:
            measured = [sample["positions"] for sample in samples]
            batch["positions"] = pad_sequence(measured, batch_first=True, padding_value=torch.nan)
        return batch
