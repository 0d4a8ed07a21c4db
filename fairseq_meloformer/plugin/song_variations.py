"""What training makes of a song anew in every epoch: a passage of it, in another octave, tempo or loudness."""

from bisect import bisect
from collections.abc import Sequence
from random import Random

from torch import Tensor

from fairseq_meloformer.corpus.augment import Augmentation, programs
from fairseq_meloformer.tokens.vocabulary import BAR_END, END


class SongVariations:
    """A function of songs, of which epoch and number decide the outcome.

    Args:
        symbols: of the vocabulary.
        seed: of all that is drawn.
        varied: share of songs to vary: octave, tempo, loudness, and tracks that are left out.
        longest: of longer songs (ids) take so many from a bar on that is drawn: every second time the first, otherwise
            any other. None for songs as they are.
    """

    def __init__(self, symbols: Sequence[str], seed: int, varied: float, longest: int | None) -> None:
        self._symbols = symbols
        self._ids = {symbol: number for number, symbol in enumerate(symbols)}
        self._seed = seed
        self._varied = varied
        self._longest = longest

    def __call__(self, song: Tensor, epoch: int, index: int) -> Tensor:
        """What becomes of a song (ids,) in an epoch; it is not longer."""
        rng = Random(f"{self._seed}/{epoch}/{index}")
        if self._longest is not None and len(song) > self._longest and rng.random() < 0.5:
            song = song[self._begin(song, self._longest, rng) :]
        return self._vary(song, rng) if rng.random() < self._varied else song

    @staticmethod
    def _begin(song: Tensor, longest: int, rng: Random) -> int:
        """A bar's first place, such that what follows reaches so far or, once, to the end."""
        begins = ((song == BAR_END).nonzero()[:-1, 0] + 1).tolist()
        place: int = rng.choice(begins[: bisect(begins, len(song) - longest) + 1] or [0])
        return place

    def _vary(self, song: Tensor, rng: Random) -> Tensor:
        tokens = [self._symbols[token] for token in song[song != END].tolist()]
        played = programs(tokens)
        if not played:
            return song
        varied = Augmentation.draw(played, rng, keep_key=True).apply(tokens)
        return song.new_tensor([*(self._ids[token] for token in varied), END])
