"""Pieces longer than a model knows are composed in passes, each of which reads the end of what is written.

A model numbers bars, and is lost among numbers that its training hardly had: it forgets the plan, and its bars grow
empty. A pass shows it a part of the piece, whose bars it numbers from 0 on.
"""

from typing import Final

from fairseq_meloformer.tokens.vocabulary import BAR_END

_READ: Final = 0.6
"""Share of the bars in view that are read again: of 20 the last 12, so that the first new bar finds five of the eight
earlier ones that tokens read note by note."""

_STREAM: Final = 32
"""Bits by which the random numbers of passes are apart."""


def in_view(written: int, bars: int, most: int | None) -> range:
    """The bars of the next pass, numbered in the piece.

    Args:
        written: bars that the piece has.
        bars: that it shall have.
        most: that the model knows; None for any number.
    """
    if most is None or bars <= most:
        return range(bars)
    first = max(0, written - int(_READ * most))
    return range(first, min(bars, first + most))


def from_bar(song: list[int], bar: int) -> list[int]:
    """The tokens of a song from this bar on, counted from 0."""
    ends = [place for place, token in enumerate(song) if token == BAR_END]
    return song[ends[bar - 1] + 1 :] if bar else list(song)


def seed_of(seed: int, number: int) -> int:
    """The seed of a song's pass: of pass 0 its own, later far from those of other songs."""
    return seed + (number << _STREAM)
