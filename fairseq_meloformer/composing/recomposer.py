"""What composes the same bars of a piece anew, to any number of requests."""

from collections.abc import Sequence
from dataclasses import dataclass

from fairseq_meloformer.composing.composer import Composer, Piece, Settings
from fairseq_meloformer.composing.full_system import FullSystem
from fairseq_meloformer.composing.regeneration import Infilling
from fairseq_meloformer.words.prompts import Request


@dataclass(frozen=True)
class Recomposer:
    """What composes the same bars of a piece to any number of requests, in the place of a composer.

    Attributes:
        composer: what composes.
        passage: the bars.
        full: if given, the new bars get its tilt, exact tempo and instruments; neither another key nor a choice among
            candidates, which are matters of a whole piece.
    """

    composer: Composer
    passage: Infilling
    full: FullSystem | None = None

    def compose(self, requests: Sequence[Request], settings: Settings, _oracle: object = None) -> list[Piece]:
        """Compose the bars once for each request."""
        bias = None if self.full is None or not requests else self.full.bias(self.full.understand(requests))
        return self.composer.recompose(requests, settings, self.passage, bias=bias)
