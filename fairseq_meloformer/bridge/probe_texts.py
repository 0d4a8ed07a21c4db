"""Texts for training the probe: words of the lexicon, outright requests, and captions of imagined passages."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
import torch
from torch import Tensor

from fairseq_meloformer.bridge.requests import Requests
from fairseq_meloformer.music.attributes import AXES, Attributes
from fairseq_meloformer.music.captions import Captioner
from fairseq_meloformer.music.levels import Levels
from fairseq_meloformer.music.lexicon import Lexicon
from fairseq_meloformer.music.passage import DRUMS
from fairseq_meloformer.music.scenes import LANGUAGES

# How much it counts that an axis is silent: a request that leaves it out does not ask for it, while the lexicon only
# says what is plainest in a scene.
_SILENT: Final = 1.0
_SILENT_SCENE: Final = 0.05
_RANGES: Final = {
    "tempo": (45.0, 195.0),  # qpm
    "density": (0.0, 40.0),  # onsets per bar
    "register": (30.0, 95.0),  # MIDI pitch
    "leaps": (0.0, 12.0),  # semitones
    "sustain": (0.0, 2.0),  # of the gap to the next onset
    "loudness": (10.0, 127.0),  # MIDI velocity
    "mode": (-1.0, 1.0),
    "drums": (0.0, 1.0),
}
_NOTES: Final = ("C", "D", "E", "F", "G", "A", "B", "Bb", "Eb", "F#")


@dataclass(frozen=True)
class Example:
    """A text with what it asks of the axes; `scene` is the plain lexicon entry it names, if any."""

    text: str
    profile: dict[str, float]
    scene: str | None = None

    def target(self) -> tuple[Tensor, Tensor]:
        """Values (8,) in [-1, 1] in the order of AXES, and how much each counts (8,)."""
        silent = _SILENT if self.scene is None else _SILENT_SCENE
        values = torch.tensor([self.profile.get(axis, 0.0) for axis in AXES])
        weights = torch.tensor([1.0 if axis in self.profile else silent for axis in AXES])
        return values, weights


def plain_words(lexicon: Lexicon) -> Iterator[Example]:
    """Every bare word of the lexicon that no modifier is part of."""
    for scene in lexicon.scenes:
        if not scene.composed:
            for lang in LANGUAGES:
                yield from (Example(word.text, dict(scene.profile), scene.base) for word in scene.words[lang])


def modified_words(lexicon: Lexicon, count: int) -> Iterator[Example]:
    """Bare words with modifiers, as many of one language as of the other."""
    composed = [scene for scene in lexicon.scenes if scene.composed]
    rng = Random("modified")
    for index, scene in enumerate(rng.sample(composed, min(count, len(composed)))):
        word = rng.choice(scene.words[LANGUAGES[index % 2]])
        yield Example(word.text, dict(scene.profile), scene.base)


def outright(count: int) -> Iterator[Example]:
    """Requests from requests.yaml, as many of one language as of the other."""
    requests = Requests()
    for index in range(count):
        request = requests.draw(index, LANGUAGES[index % 2])
        yield Example(request.text, request.profile)


def captions(lexicon: Lexicon, count: int) -> Iterator[Example]:
    """Captions of imagined passages, evenly spread over all axes, in every style and language."""
    levels = Levels({axis: np.linspace(*_RANGES[axis], 201).tolist() for axis in AXES}, 201)
    captioner = Captioner(levels, lexicon)
    bases = {scene.id: scene.base for scene in lexicon.scenes}
    styles = ("sentence", "phrase", "labels", "scene", "scene")
    for index in range(count):
        rng = Random(f"caption {index}")
        lang = "mixed" if rng.random() < 0.1 else LANGUAGES[index % 2]
        caption = captioner.caption(_passage(rng), lang=lang, style=rng.choice(styles), seed=index)
        yield Example(caption.text, caption.profile, bases[caption.scene] if caption.scene else None)


def _passage(rng: Random) -> Attributes:
    """What could have been measured of a passage; every second one has no drums."""
    attributes: Attributes = {axis: rng.uniform(low, high) for axis, (low, high) in _RANGES.items()}
    attributes["drums"] = rng.choice((0.0, rng.uniform(0.05, 1.0)))
    attributes["key"] = f"{rng.choice(_NOTES)} {'major' if float(str(attributes['mode'])) > 0 else 'minor'}"
    attributes["bars"] = float(rng.choice((8, 16, 24, 32)))
    attributes["metre"] = rng.choice(("4/4", "4/4", "3/4"))
    attributes["instruments"] = rng.sample(range(100), rng.randint(1, 4)) + ([DRUMS] if attributes["drums"] else [])
    return attributes
