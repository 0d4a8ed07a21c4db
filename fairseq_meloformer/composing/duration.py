"""Bars and tempo of a piece, so that it lasts the seconds that it is asked to last."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fairseq_meloformer.composing.parts import Part, counted, metre_of
from fairseq_meloformer.midi.metre import POSITIONS, length_of
from fairseq_meloformer.tokens.codes import TEMPI
from fairseq_meloformer.words.length import bars_of
from fairseq_meloformer.words.prompts import MOST_BARS, Request
from fairseq_meloformer.words.wishes import read

# From how far on a length is another than the asked one.
_NEAR: Final = 0.1


def timed(request: Request, parts: Sequence[Part], usual: float) -> tuple[Request, list[Part]]:
    """A request with its bars, where its text says how long it is, and its parts with the tempi that they need for it.

    A tempo that is asked for is kept, and so are bars. What is left open is set: bars to the number that lasts nearest
    to the seconds, then the tempo so that they last just as long.

    Args:
        request: in whose text sections by name last so many seconds together, and each of a timeline its own.
        parts: of the request.
        usual: tempo of the piece, in quarters per minute, if nothing is asked.
    """
    whole = read(request.text)
    quarters = length_of(metre_of(parts)) / POSITIONS
    if request.sections:
        if whole.sections:
            return request, _lasting(parts, whole.seconds, quarters, None)
        return request, [one for part in parts for one in _lasting([part], part.wishes.seconds, quarters, None)]
    (part,) = parts = counted(request, parts)
    bars = request.bars or whole.bars
    if bars is None and whole.seconds is not None:
        bars = min(MOST_BARS, bars_of(whole.seconds, part.tempo or usual, quarters))
    return replace(request, bars=bars), _lasting(parts, whole.seconds, quarters, bars)


def _lasting(parts: Sequence[Part], seconds: float | None, quarters: float, bars: int | None) -> list[Part]:
    """Parts with tempi of which all together last some seconds, as near as that can be.

    Args:
        parts: one after the other.
        seconds: to last; None for whatever comes.
        quarters: in a bar.
        bars: of a part that does not say where it ends.
    """
    if seconds is None:
        return list(parts)
    counts = [bars or 0 if part.last is None else part.last - part.first for part in parts]
    beats = [quarters * count for count in counts]
    free = sum(length for part, length in zip(parts, beats, strict=True) if part.tempo is None)
    given = sum(60 * length / part.tempo for part, length in zip(parts, beats, strict=True) if part.tempo)
    left = seconds - given
    tempo = min(max(60 * free / left, TEMPI[0]), TEMPI[-1]) if left > 0 else TEMPI[-1]
    lasts = given + 60 * free / tempo
    made = [part if part.tempo else replace(part, tempo=round(float(tempo), 2)) for part in parts]
    if abs(lasts - seconds) > _NEAR * seconds:
        count = sum(counts)
        made[0] = made[0].but(
            f"{seconds:g} seconds ({count} bar{'s'[: count != 1]} at "
            f"{' and '.join(f'{part.tempo:g}' for part in made)} bpm last {lasts:.3g} seconds)"
        )
    return made
