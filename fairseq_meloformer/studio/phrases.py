"""What a sentence says outright, said otherwise: whoever changes a chip changes the sentence."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from fairseq_meloformer.words import notation
from fairseq_meloformer.words.instruments import instruments
from fairseq_meloformer.words.plain import plain
from fairseq_meloformer.words.timeline import read_timeline, written

Spans = Sequence[tuple[int, int]]
_HAN: Final = re.compile(r"[\u3400-\u9fff]")
_EDGES: Final = re.compile(r"^[\s,;，；、]+|[\s,;，；、]+$")
_LOOSE: Final = re.compile(r"(?:\s*[,，、;；]\s*){2,}")


def with_tempo(text: str, tempo: float | None) -> str:
    """The text with this tempo, quarters per minute, in the place of those that it names; without any if None.

    Every section of a timeline has a tempo of its own, so that all of them say it.

    Raises:
        InputError: a timeline with gaps.
    """
    if sections := read_timeline(text):
        return written([replace(one, text=_at_tempo(one.text, tempo) or "…") for one in sections])
    return _at_tempo(text, tempo)


def _at_tempo(text: str, tempo: float | None) -> str:
    text = plain(text)
    found = [*notation.tempi(text.lower()), *notation.tempo_words(text.lower())]
    return _said(text, [(one.start, one.end) for one in found], None if tempo is None else f"{tempo:g} bpm")


def with_key(text: str, key: str | None) -> str:
    """The text with this key, "D minor"."""
    text = plain(text)
    return _said(text, [(one.start, one.end) for one in notation.keys(text)], key)


def with_metre(text: str, metre: str | None) -> str:
    """The text with this metre, "3/4"."""
    text = plain(text)
    return _said(text, [(one.start, one.end) for one in notation.metres(text.lower())], metre)


def with_instrument(text: str, name: str) -> str:
    """The text with one instrument more."""
    return _said(plain(text), [], name)


def without_instrument(text: str, program: int) -> str:
    """The text without what it says of an instrument, whether that is wanted or not."""
    text = plain(text)
    return _said(text, [(one.start, one.end) for one in instruments(text.lower()) if one.program == program], None)


def _said(text: str, spans: Iterable[tuple[int, int]], phrase: str | None) -> str:
    """The text without these places, and with a phrase in the first of them, or else at the end."""
    ordered = sorted(spans)
    comma = "，" if _HAN.search(text) else ", "
    if not ordered:
        return comma.join(filter(None, [_EDGES.sub("", text), phrase]))
    out, place = [], 0
    for number, (start, end) in enumerate(ordered):
        out += [text[place:start], phrase or "" if number == 0 else ""]
        place = max(place, end)
    whole = "".join([*out, text[place:]])
    return _EDGES.sub("", _LOOSE.sub(comma, whole))
