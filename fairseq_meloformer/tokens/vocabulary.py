"""The two token vocabularies of MuseFormer, generated here instead of shipped as files.

A symbol is `<letter>-<number>`; all symbols of one letter ("kind") are consecutive, so a kind is one range of ids:
b bar line, o onset in 1/12 quarters, i instrument, p pitch, d duration code, v velocity / 4, s time signature, t tempo.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic

SPECIAL: Final = ("<s>", "<pad>", "</s>", "<unk>")
PAD: Final = 1
END: Final = 2
BOS: Final = END
"""A song starts with `</s>`: fairseq's language modelling moves the end of the line to its front."""
BAR_END: Final = 5
"""`b-1`, the same id in both vocabularies."""

_NUMBERED = re.compile(r"([a-z]+)-\d+")


class Vocabulary:
    """Symbols and their ids; ids 0..3 are `<s>`, `<pad>`, `</s>`, `<unk>` as fairseq's Dictionary has them.

    Args:
        symbols: the symbols after the four special ones, in the order of `dict.txt`.

    Raises:
        InputError: a symbol comes twice, `b-1` is not the second, or the symbols of one kind are not in one run.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols: tuple[str, ...] = (*SPECIAL, *symbols)
        self._index = {symbol: index for index, symbol in enumerate(self.symbols)}
        if len(self._index) != len(self.symbols):
            twice = next(s for i, s in enumerate(self.symbols) if self._index[s] != i)
            raise InputError(f"The symbols of a vocabulary must all differ, but {twice!r} comes more than once.")
        if self._index.get("b-1") != BAR_END:
            raise InputError(f"A vocabulary must begin with b-0, b-1, but begins with {list(self.symbols[4:6])}.")
        self._ranges = _kinds(self.symbols)

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def __hash__(self) -> int:
        return hash(self.symbols)

    def __contains__(self, token: str) -> bool:
        return token in self._index

    def ids(self, tokens: Sequence[str]) -> list[int]:
        """Ids of tokens; an unknown one raises InputError with its place (MuseFormer never saw `<unk>`)."""
        try:
            return [self._index[token] for token in tokens]
        except KeyError as error:
            token = error.args[0]
            raise InputError(
                f"Every token must be one of the {len(self)} symbols of the vocabulary, but token {tokens.index(token)}"
                f" is {token!r}. Tokens of arbitrary programs and metres need the general vocabulary (1024 symbols)."
            ) from None

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Symbols of ids; raises InputError for an id outside 0..len-1."""
        found = []
        for place, index in enumerate(ids):
            if not 0 <= index < len(self):
                raise InputError(f"Every id must be in 0..{len(self) - 1}, but id {place} is {index}.")
            found.append(self.symbols[index])
        return found

    def range(self, kind: str) -> range:
        """Ids of the symbols `<kind>-0`, `<kind>-1`, ...; empty when the vocabulary has none.

        The published vocabulary has only six instruments: there `range("i")[k]` is the k-th of them, not program k.
        """
        return self._ranges.get(kind, range(0))

    @cached_property
    def sha256(self) -> str:
        """Hash of the `dict.txt` form: two vocabularies are the same exactly if these are."""
        return hashlib.sha256(self._text()).hexdigest()

    def write(self, path: str | Path) -> None:
        """Write fairseq's `dict.txt` form: one `symbol 1` a line, special symbols left out."""
        write_atomic(Path(path), lambda file: file.write(self._text()))

    def _text(self) -> bytes:
        return "".join(f"{symbol} 1\n" for symbol in self.symbols[len(SPECIAL) :]).encode()

    @classmethod
    def of_dictionary(cls, symbols: Sequence[str]) -> "Vocabulary":
        """From all symbols, special ones included, as fairseq's dictionaries have them."""
        return cls(symbols[len(SPECIAL) :])

    @classmethod
    def read(cls, path: str | Path) -> "Vocabulary":
        """Read fairseq's `dict.txt` form.

        Raises:
            InputError: the file is missing, or a line is not `symbol count`.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"A vocabulary must be a readable dict.txt, but {path} is not: {error}.") from error
        symbols = []
        for number, line in enumerate(lines, start=1):
            symbol, _, count = line.rpartition(" ")
            if not symbol or not count.isdigit():
                raise InputError(
                    f"Every line of a dict.txt must be 'symbol count', but line {number} of {path} is {line!r}."
                )
            symbols.append(symbol)
        return cls(symbols)


def published() -> Vocabulary:
    """MuseFormer's vocabulary, 560 symbols: six instruments, 4/4 only."""
    return Vocabulary(
        [
            *_run("b", 2),
            *_run("o", 64),
            *(f"i-{program}" for program in (0, 25, 43, 48, 80, 128)),
            *_run("p", 256),
            *_run("d", 128),
            *_run("v", 32),
            *_run("t", 49),
            "<c>",
            "</c>",
            *_run("u", 17),
        ]
    )


def general() -> Vocabulary:
    """The general-use vocabulary, 1024 symbols: all programs and time signatures."""
    sizes = {"b": 2, "o": 128, "i": 129, "p": 256, "d": 128, "v": 32, "s": 254, "t": 49, "e": 2, "u": 40}
    return Vocabulary(symbol for kind, size in sizes.items() for symbol in _run(kind, size))


def _run(kind: str, size: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(size)]


def _kinds(symbols: Sequence[str]) -> dict[str, range]:
    ranges: dict[str, range] = {}
    for index, symbol in enumerate(symbols):
        match = _NUMBERED.fullmatch(symbol)
        if match is None:
            continue
        kind = match[1]
        start = ranges[kind].start if kind in ranges else index
        if kind in ranges and ranges[kind].stop != index:
            raise InputError(
                f"The symbols of one kind must be consecutive, but {symbol!r} comes apart from the other {kind!r}."
            )
        ranges[kind] = range(start, index + 1)
    return ranges
