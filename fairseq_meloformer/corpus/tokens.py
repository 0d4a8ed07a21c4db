"""Tokens of prepared music by the items' ids, read where they are needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import read_jsonl
from fairseq_meloformer.midi.metre import FOUR_FOUR
from fairseq_meloformer.tokens.vocabulary import Vocabulary


def metre_of(item: Mapping[str, Any]) -> str:
    """The metre of an item's bars, which its tokens need not say: the measured one, or 4/4 where there is none."""
    return str(item.get("attributes", {}).get("metre", FOUR_FOUR))


class TokenFile:
    """The songs of one subset that `meloformer prepare` wrote to a folder.

    Args:
        data: folder with `<subset>.tokens`, one song a line, and `<subset>.items.jsonl`.
        subset: its name.
        vocabulary: in which tokens are counted.

    Raises:
        InputError: a file is missing, or they do not have as many lines as each other.
    """

    def __init__(self, data: str | Path, subset: str, vocabulary: Vocabulary) -> None:
        self._path = Path(data) / f"{subset}.tokens"
        self._vocabulary = vocabulary
        if not self._path.is_file():
            raise InputError(f"{data} must be a folder that `meloformer prepare` wrote; it has no {self._path.name}")
        # Where each line begins: the file may be larger than memory.
        with self._path.open("rb") as file:
            starts = np.cumsum([0, *map(len, file)])[:-1].tolist()
        ids = [row.get("id") for row in read_jsonl(Path(data) / f"{subset}.items.jsonl")]
        if len(ids) != len(starts):
            raise InputError(
                f"{self._path} must have one line for each row of {subset}.items.jsonl, but has {len(starts)} for "
                f"{len(ids)}: run scripts/prepare.sh again"
            )
        self._starts = dict(zip(ids, starts, strict=True))

    def __getitem__(self, name: str) -> list[int]:
        """Ids of a song's tokens, without BOS or END.

        Raises:
            InputError: there is no such item, or a token is unknown.
        """
        if name not in self._starts:
            raise InputError(
                f"{self._path} must hold the items of the store, but lacks {name!r}: give the folder of prepared music "
                "that the store was extracted from"
            )
        with self._path.open("rb") as file:
            file.seek(self._starts[name])
            return self._vocabulary.ids(file.readline().decode().split())
