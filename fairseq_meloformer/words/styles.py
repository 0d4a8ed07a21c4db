"""Styles by name (jazz, 中国风, techno): who plays in them, how fast, what they are like and how they move."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import ALL_AXES
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.tokens.codes import TEMPI
from fairseq_meloformer.words.instruments import ROLES
from fairseq_meloformer.words.plain import naming
from fairseq_meloformer.words.refusals import refused_before
from fairseq_meloformer.words.scenes import LANGUAGES, are_texts, read_yaml

FILE: Final = Path(__file__).with_name("styles.yaml")
TRAITS: Final = frozenset({"swing", "pentatonic", "kick"})


@dataclass(frozen=True)
class Style:
    """A style that a text names; styles.yaml explains the fields.

    Attributes:
        name: in English.
        players: General MIDI programs of tracks of the six, by the six's own programs.
        tempo: the slowest and the fastest usual one, quarters per minute.
        profile: what it is like, from -1 to 1 on some of `attributes.ALL_AXES`.
        traits: some of `TRAITS`.
    """

    name: str
    players: Mapping[int, int]
    tempo: tuple[float, float]
    profile: Mapping[str, float]
    traits: frozenset[str]

    def tempo_at(self, position: float) -> float:
        """A tempo within the usual ones, which are -1 (the slowest) to 1."""
        slowest, fastest = self.tempo
        return float(slowest * (fastest / slowest) ** ((1 + max(-1.0, min(1.0, position))) / 2))


def style(text: str) -> Style | None:
    """The first style that a lower-case text names and does not refuse; of several that begin there the longest."""
    found = [(start, -end, one) for start, end, one in _named(text) if not refused_before(text, start, end)]
    return min(found, key=lambda place: place[:2])[2] if found else None


def styles_at(text: str) -> list[tuple[int, int]]:
    """Where a lower-case text names styles, from the first to behind the last character; the refused ones too."""
    return [(start, end) for start, end, _ in _named(text)]


def _named(text: str) -> Iterator[tuple[int, int, Style]]:
    for one, pattern in _styles():
        yield from ((*match.span(), one) for match in pattern.finditer(text))


@cache
def _styles() -> tuple[tuple[Style, re.Pattern[str]], ...]:
    """The content of styles.yaml.

    Raises:
        InputError: an entry that is not of the form that the file explains.
    """
    content = read_yaml(FILE)
    return tuple(_read(str(name), entry, content["music"]) for name, entry in content["styles"].items())


def _read(name: str, entry: Mapping[str, Any], music: str) -> tuple[Style, re.Pattern[str]]:
    players, tempo, traits = entry.get("players", {}), entry.get("tempo", (0, 0)), frozenset(entry.get("traits", ()))
    profile = entry.get("profile", {})
    holds = (
        set(entry) <= {*LANGUAGES, "players", "tempo", "profile", "traits"}
        and all(are_texts(entry.get(lang)) for lang in LANGUAGES)
        and all(role in ROLES and program in range(DRUMS) for role, program in players.items())
        and len(set(players.values())) == len(players)
        and TEMPI[0] <= tempo[0] < tempo[1] <= TEMPI[-1]
        and set(profile) <= set(ALL_AXES)
        and all(-1 <= value <= 1 for value in profile.values())
        and traits <= TRAITS
    )
    if not holds:
        raise InputError(f"{FILE}, style {name!r}: must be as the file explains at its top, received {entry}")
    pattern = naming([one.replace("{music}", music) for one in entry["en"]], entry["zh"])
    roles = {ROLES[role]: program for role, program in players.items()}
    return Style(name, roles, tuple(tempo), profile, traits), pattern
