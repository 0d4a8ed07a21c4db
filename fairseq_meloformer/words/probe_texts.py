"""Texts for training the probe: words of the lexicon, moments of life, and outright requests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words.lexicon import Lexicon
from fairseq_meloformer.words.moments import moments
from fairseq_meloformer.words.requests import Requests
from fairseq_meloformer.words.scenes import LANGUAGES

# How much more a moment counts than another text: there are fewer of them, and they are more like prompts.
_LIVED: Final = 6.0
# How much it counts that an axis is silent: a request that leaves it out does not ask for it, while the lexicon only
# says what is plainest in a scene.
_SILENT: Final = 1.0
_SILENT_SCENE: Final = 0.05


@dataclass(frozen=True)
class Example:
    """A text with what it asks of the axes; `scene`: it paints one, which leaves open what it does not name.

    `weight`: how much it counts in training.
    """

    text: str
    profile: dict[str, float]
    scene: bool = False
    weight: float = 1.0

    def target(self) -> tuple[Tensor, Tensor]:
        """Values (8,) in [-1, 1] in the order of AXES, and how much each counts (8,)."""
        silent = _SILENT_SCENE if self.scene else _SILENT
        values = torch.tensor([self.profile.get(axis, 0.0) for axis in AXES])
        weights = torch.tensor([1.0 if axis in self.profile else silent for axis in AXES])
        return values, self.weight * weights


def plain_words(lexicon: Lexicon) -> Iterator[Example]:
    """Every bare word of the lexicon that no modifier is part of."""
    for scene in lexicon.scenes:
        if not scene.composed:
            for lang in LANGUAGES:
                yield from (Example(word.text, dict(scene.profile), scene=True) for word in scene.words[lang])


def outright(count: int) -> Iterator[Example]:
    """Requests from requests.yaml, as many of one language as of the other."""
    requests = Requests()
    for index in range(count):
        request = requests.draw(index, LANGUAGES[index % 2])
        yield Example(request.text, request.profile)


def lived() -> Iterator[Example]:
    """Moments from moments.yaml."""
    for text, profile in moments():
        yield Example(text, profile, scene=True, weight=_LIVED)
