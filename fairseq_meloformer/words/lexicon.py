"""The lexicon: which music a word such as "storm" or 流星雨 asks for, and which words fit music that was measured."""

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words.scenes import LANGUAGES, Scene, read_entries, read_modifiers, repeated

FOLDER: Final = Path(__file__).parent / "lexicon"

# How far towards an implied side music must lie, as a share of what the scene asks, to go by the scene's name.
_LEAST: Final = 1 / 3


class Lexicon:
    """All scenes, found by word or by fit to measured music."""

    def __init__(self, scenes: list[Scene]) -> None:
        """Index `scenes`; `load` reads them from files."""
        self.scenes = scenes

    @classmethod
    def load(cls, folder: Path = FOLDER) -> "Lexicon":
        """Read every theme of `folder`/scenes and compose it with `folder`/modifiers.yaml.

        Raises:
            InputError: entries break a rule; the message names file, entry and rule of all of them.
        """
        problems: list[str] = []
        entries = [
            entry for path in sorted((folder / "scenes").glob("*.yaml")) for entry in read_entries(path, problems)
        ]
        modifiers = list(read_modifiers(folder / "modifiers.yaml", entries, problems))
        problems += repeated(entries)
        if problems or not entries:
            listed = "\n".join(problems) or "there are no scenes/*.yaml"
            raise InputError(f"the lexicon in {folder} has {len(problems)} mistakes; mend these entries:\n{listed}")
        composed = (modifier.apply(entry) for modifier in modifiers for entry in entries)
        return cls(_distinct(entries + [scene for scene in composed if scene is not None]))

    @cached_property
    def words(self) -> dict[str, dict[str, Scene]]:
        """By language, every bare word (case-folded) and its scene."""
        return {
            lang: {word.text.casefold(): scene for scene in self.scenes for word in scene.words[lang]}
            for lang in LANGUAGES
        }

    def find(self, text: str) -> Scene | None:
        """The scene that `text` names in either language, with or without article; None when it is not in here."""
        bare = re.sub(r"^(a|an|the) ", "", text.strip().rstrip(".!?。！？").casefold())
        return next((self.words[lang][bare] for lang in LANGUAGES if bare in self.words[lang]), None)

    def profile(self, text: str) -> dict[str, float] | None:
        """Implied axes of a word of the lexicon, each in [-1, 1]; None for other texts."""
        scene = self.find(text)
        return dict(scene.profile) if scene else None

    @cached_property
    def profiles(self) -> NDArray[np.float64]:
        """(scenes, 8) in the order of AXES, 0 where an axis is not implied."""
        return np.array([[scene.profile.get(axis, 0.0) for axis in AXES] for scene in self.scenes])

    @cached_property
    def _asked(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Direction and strength of what scenes imply, (scenes, 8) each, and the sum of strengths, (scenes,)."""
        strength = np.abs(self.profiles)
        return np.sign(self.profiles), strength, strength.sum(axis=1)

    def match(self, positions: Mapping[str, float]) -> NDArray[np.float64]:
        """How well each scene fits a passage that lies at `positions` on the control axes, (scenes,).

        0 = does not fit: an implied axis is not measured, or the passage lies less than a third as far to the implied
        side as the scene asks. 1 = at least as far on every implied axis; in between, the share that is reached,
        averaged over the implied axes by how strongly they are implied.
        """
        place = np.array([positions.get(axis, 0.0) for axis in AXES])
        direction, strength, total = self._asked
        towards = direction * place
        fits = (towards >= _LEAST * strength).all(axis=1)
        matched: NDArray[np.float64] = np.where(fits, np.minimum(towards, strength).sum(axis=1) / total, 0.0)
        return matched

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """How often a fitting scene is chosen, (scenes,).

        Doubled per implied axis, since about half of all music lies on the asked side of each: so specific scenes are
        heard of as often as vague ones. The modified forms of an entry share the weight that the plain one has.
        """
        variants = Counter(scene.base for scene in self.scenes if scene.composed)
        share = np.array([1 / variants[scene.base] if scene.composed else 1.0 for scene in self.scenes])
        weights: NDArray[np.float64] = share * 2.0 ** (self.profiles != 0).sum(axis=1)
        return weights


@cache
def default_lexicon() -> Lexicon:
    """The lexicon that comes with MeloFormer, read once."""
    return Lexicon.load()


def _distinct(scenes: list[Scene]) -> list[Scene]:
    """Scenes without words that an earlier scene has; a scene left without words in a language goes."""
    seen: set[str] = set()
    kept: list[Scene] = []
    for scene in scenes:
        fresh = {
            lang: tuple(word for word in scene.words[lang] if word.text.casefold() not in seen) for lang in LANGUAGES
        }
        if all(fresh.values()):
            seen.update(word.text.casefold() for words in fresh.values() for word in words)
            kept.append(Scene(scene.id, scene.kind, scene.theme, scene.profile, fresh, scene.why, scene.base))
    return kept
