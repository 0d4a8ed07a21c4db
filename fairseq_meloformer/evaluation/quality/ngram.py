"""An n-gram model of tokens: the least that a language model of music should beat."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from fairseq_meloformer.errors import InputError

_END: Final = -1


class NGram:
    """Interpolated Witten-Bell smoothing (Witten & Bell 1991, IEEE Trans. Inf. Theory 37), down to a uniform model.

    Args:
        songs: token ids of each song.
        order: tokens that are looked at, the foretold one included; at least 1.
        vocabulary_size: tokens that there could be; the end of a song is one more.

    Raises:
        InputError: an order below 1, or no song.
    """

    def __init__(self, songs: Iterable[Sequence[int]], order: int, vocabulary_size: int) -> None:
        if order < 1:
            raise InputError(f"an n-gram model must have order 1 or more, received {order}")
        self._order = order
        self._uniform = 1 / (vocabulary_size + 1)
        self._counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for song in songs:
            for context, token in self._events(song):
                for start in range(len(context) + 1):
                    self._counts[context[start:]][token] += 1
        if not self._counts:
            raise InputError("an n-gram model must be made of at least one song, received none")
        self._totals = {context: following.total() for context, following in self._counts.items()}

    def probability(self, context: tuple[int, ...], token: int) -> float:
        """Of a token after a context; a context that was never seen says no more than its end does."""
        shorter = self.probability(context[1:], token) if context else self._uniform
        total = self._totals.get(context)
        if total is None:
            return shorter
        following = self._counts[context]
        return (following[token] + len(following) * shorter) / (total + len(following))

    def nats(self, song: Sequence[int]) -> list[float]:
        """What each token of a song costs, and its end."""
        return [-math.log(self.probability(context, token)) for context, token in self._events(song)]

    def _events(self, song: Sequence[int]) -> Iterable[tuple[tuple[int, ...], int]]:
        padded = [*song, _END]
        for place, token in enumerate(padded):
            yield tuple(padded[max(0, place - self._order + 1) : place]), token
