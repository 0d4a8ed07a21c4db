"""Passages of music written down bar by bar."""

import numpy as np

from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.tokens.codes import duration_code


def passage(*bars):
    """Each bar is a list of (position in twelfths of a quarter, notes as tokens)."""
    tokens = []
    for bar in bars:
        tokens.append("t-30")
        for position, notes in bar:
            tokens += [f"o-{position}", *notes.split()]
        tokens.append("b-1")
    return Song(tokens).passage()


def line(program, *pitches, step=6, first=0):
    """One voice in even steps, legato."""
    return [(first + place * step, note(program, pitch, step)) for place, pitch in enumerate(pitches)]


def together(*pitches, program=0, length=12, position=0):
    """Notes of one moment."""
    return [(position, " ".join(note(program, pitch, length) for pitch in pitches))]


def note(program, pitch, length):
    """A note's tokens; length in twelfths of a quarter."""
    return f"i-{program} p-{pitch} d-{int(duration_code(np.int64(length)))} v-20"
