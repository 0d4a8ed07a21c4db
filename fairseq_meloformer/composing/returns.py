"""Form: which bars of a piece return to which earlier ones, drawn phrase by phrase as often as in real songs."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from fairseq_meloformer.composing.sections import same
from fairseq_meloformer.words.prompts import seed_of
from fairseq_meloformer.words.timeline import Section

_PHRASE: Final = 4
"""Bars of a phrase."""

# Of 359 passages of 16 bars of songs of the training data, cut anywhere: at least two bars of the lead are those of an
# earlier phrase in 10 % of second phrases and in 26 % of third and fourth ones. Counted from a song's beginning it is
# more, since most returns are of eight bars, which such a passage has once; a piece of two phrases has one chance.
_RETURNS: Final = (0.25, 0.4)  # of second phrases, and of later ones
# How many phrases back, as often as it was found: 16 times in 137 the one before, else mostly the one before that.
_BACK: Final = {1: 0.25, 2: 0.65, 3: 0.1}
# How many of its bars return before it goes another way.
_BARS: Final = {4: 0.5, 3: 0.2, 2: 0.3}

Returns = Mapping[int, int]
"""By bar, from 0, the earlier one that it returns to."""


def drawn(bars: int, seed: int, sections: Sequence[Section] = (), asked: float = 0.0) -> Returns:
    """The form of a piece.

    Args:
        bars: of it.
        seed: of it.
        sections: of it. What returns in one is of the same, but a section that comes back is all returned.
        asked: whether phrases are to return always (1), as often as in songs (0), or never (-1).
    """
    returns: dict[int, int] = {}
    for number, section in enumerate(sections):
        begin = section.first - 1
        earlier = next(other for other in sections if same(section, other))
        if earlier is section:
            own = _phrases(section.bars, seed_of(seed, "form", number), asked)
            returns.update({begin + bar: begin + source for bar, source in own.items()})
        else:
            again = range(min(section.bars, earlier.bars))
            returns.update({begin + bar: earlier.first - 1 + bar for bar in again})
    if not sections:
        returns.update(_phrases(bars, seed_of(seed, "form", 0), asked))
    return {bar: _first(returns, bar) for bar in returns}


def _phrases(bars: int, seed: int, asked: float) -> Returns:
    """Phrases that return, or their first bars."""
    rng, returns = Random(seed), {}
    for phrase in range(1, bars // _PHRASE):
        near = [back for back in _BACK if back <= phrase]
        (back,) = rng.choices(near, [_BACK[one] for one in near])
        (length,) = rng.choices(list(_BARS), list(_BARS.values()))
        chance = _RETURNS[phrase > 1]
        if rng.random() < chance + asked * (1 - chance if asked > 0 else chance):
            begin = phrase * _PHRASE
            returns.update({bar: bar - back * _PHRASE for bar in range(begin, begin + length)})
    return returns


def since(returns: Returns, first: int) -> Returns:
    """The form of a piece's bars from this one on, by their numbers from there."""
    return {bar - first: earlier - first for bar, earlier in returns.items() if earlier >= first}


def _first(returns: Returns, bar: int) -> int:
    """The bar that returned bars return to."""
    while bar in returns:
        bar = returns[bar]
    return bar
