"""Variations of a passage: transposed, faster or slower, louder or softer, without some of its tracks.

They are made on tokens, where each is a shift of one kind of symbol, before anything is measured: what is said about a
variation is true of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.tokens import remi

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_LAST = {"t": 48, "v": 31}
_TEMPO_CODES = 6  # each is a twelfth of an octave: 6 are half as fast again, or two thirds
_VELOCITY_CODES = 6  # each is 4 MIDI velocities
_SEMITONES = 6
_DROPPING = 0.25


@dataclass(frozen=True)
class Augmentation:
    """What is done to a passage.

    Attributes:
        semitones: upwards, for all but drums.
        tempo: steps of a twelfth of an octave in quarters per minute.
        velocity: steps of 4 MIDI velocities.
        dropped: programs that are left out, 128 = drums.
    """

    semitones: int
    tempo: int
    velocity: int
    dropped: tuple[int, ...]

    @classmethod
    def draw(cls, programs: Sequence[int], rng: Random, *, keep_key: bool) -> Augmentation:
        """A random one for a passage with these programs; at least one of them stays.

        Args:
            programs: the passage's, 128 = drums.
            rng: the source of randomness.
            keep_key: transpose by octaves only, for songs that were normalised to C major or A minor.
        """
        if keep_key:
            semitones = 12 * rng.choice((-1, 0, 0, 1))
        else:
            semitones = rng.randint(-_SEMITONES, _SEMITONES) + 12 * rng.choice((-1, 0, 0, 0, 1))
        stays = rng.choice(sorted(programs))
        dropped = tuple(p for p in sorted(programs) if p != stays and rng.random() < _DROPPING)
        tempo = rng.randint(-_TEMPO_CODES, _TEMPO_CODES)
        return cls(semitones, tempo, rng.randint(-_VELOCITY_CODES, _VELOCITY_CODES), dropped)

    def apply(self, tokens: Sequence[str]) -> list[str]:
        """The varied passage, in the order that `remi.encode` gives tokens; tempo and velocity stop at their limits.

        Raises:
            InputError: no note is left.
        """
        kept = _without(tokens, self.dropped)
        if not any(token.startswith("p-") for token in kept):
            raise InputError(f"a passage must keep at least one of its instruments, but {self.dropped} were all it had")
        shifts = {"t": self.tempo, "v": self.velocity}
        shifted = [_shifted(token, shifts.get(token[0], 0)) for token in kept]
        return remi.transpose(shifted, self.semitones)


def programs(tokens: Sequence[str]) -> list[int]:
    """Programs that occur in a passage, 128 = drums."""
    return sorted({int(token[2:]) for token in tokens if token[0] == "i"})


def _shifted(token: str, by: int) -> str:
    if not by:
        return token
    kind, number = token.split("-")
    return f"{kind}-{min(max(int(number) + by, 0), _LAST[kind])}"


def _without(tokens: Sequence[str], dropped: Sequence[int]) -> list[str]:
    """Tokens without some instruments, and without the onsets (and REMIGEN's tempi after them) that are then bare."""
    kept: list[str] = []
    onset: list[str] = []  # an onset whose first instrument is still to come
    sounding = True
    for token in tokens:
        kind = token[0]
        if kind == "o":
            onset, sounding = [token], False
        elif kind == "t" and onset:
            onset.append(token)
        elif kind == "i":
            sounding = int(token[2:]) not in dropped
            if sounding:
                kept += [*onset, token]
                onset = []
        elif kind in "pdv":
            if sounding:
                kept.append(token)
        else:
            onset = []
            kept.append(token)
    return kept
