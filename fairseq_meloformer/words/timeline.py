"""Timelines: prompts that say which bars should sound like what.

`1-8: calm morning | 9-24: storm`, `第1到8小节：宁静的早晨｜第9到24小节：暴风雨`: sections, one after the other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words.numerals import CHINESE, number

EXAMPLE: Final = "1-8: calm morning | 9-24: storm"

_NUMBER: Final = rf"\d+|{CHINESE}"
_BARS: Final = re.compile(
    rf"""\s* (?P<mark>第|(?:bars?|measures?)\b)? \s* (?P<first>{_NUMBER}) \s* (?:个?小节 \s*)?
    (?: (?:[-‐‑‒–—−－~～〜至到]|to\b|through\b) \s* 第? \s* (?P<last>{_NUMBER}) \s* )?
    (?P<unit>个?小节|(?:bars?|measures?)\b)? \s*""",
    re.VERBOSE | re.IGNORECASE,
)
_COLON: Final = re.compile(r"[:：﹕∶]\s*")
_HARD: Final = re.compile(r"[|｜¦\r\n]+")
_SOFT: Final = re.compile(r"[;；,，.。、]\s*")
"""Marks after which a section may begin, if its bars do follow; a sentence may hold them too."""


@dataclass(frozen=True)
class Section:
    """Some bars of a piece.

    Attributes:
        first, last: its bars, counted from 1, both included.
        text: what they should sound like.
        name: what the section is called, as "chorus", if the text names it.
    """

    first: int
    last: int
    text: str
    name: str = ""

    @property
    def bars(self) -> int:
        """How many bars it has."""
        return self.last - self.first + 1


def read_timeline(text: str) -> tuple[Section, ...]:
    """Sections of a timeline; none for an ordinary text.

    Sections begin with their bars and a colon, and stand apart by `|` or a line break; a semicolon, comma or full stop
    will do where bars from-to follow. Chinese and full-width forms are read too.

    Raises:
        InputError: it is a timeline, but parts of it have no bars, or see `checked`.
    """
    parts = [part for hard in _HARD.split(text) for part in _softly_cut(hard) if part.strip()]
    if not any(_head(part) for part in parts):
        return ()
    sections = []
    for part in parts:
        head = _head(part, bare=True)
        if head is None:
            raise InputError(f"{_must(text)} {part.strip()!r} does not begin with its bars")
        first, last, end = head
        sections.append(Section(first, last, part[end:].strip()))
    return checked(sections, text)


def checked(sections: Sequence[Section], where: str) -> tuple[Section, ...]:
    """The sections, if they follow one another from bar 1 and all say something.

    Raises:
        InputError: bars in no section or in two, a section that ends before it begins or says nothing.
    """
    expected = 1
    for section in sections:
        if section.last < section.first:
            raise InputError(f"{_must(where)} bars {section.first}-{section.last} end before they begin")
        if section.first > expected:
            missing = f"{expected}-{section.first - 1}" if section.first - expected > 1 else str(expected)
            hint = "; if no timeline is meant, put the numbers elsewhere in the text" if len(sections) == 1 else ""
            raise InputError(f"{_must(where)} no section has bar {missing}{hint}")
        if section.first < expected:
            what = f"bar {section.first} is in two sections" if section.first else "bars are counted from 1, not from 0"
            raise InputError(f"{_must(where)} {what}")
        if not section.text:
            raise InputError(f"{_must(where)} bars {section.first}-{section.last} do not say how they should sound")
        expected = section.last + 1
    return tuple(sections)


def bar_range(text: str) -> tuple[int, int] | None:
    """First and last bar of "9-16", "9", 第9到16小节 and the like; None for anything else."""
    match = _BARS.fullmatch(text)
    if match is None:
        return None
    first = number(match["first"])
    return first, number(match["last"]) if match["last"] else first


def written(sections: Sequence[Section]) -> str:
    """A timeline as text."""
    return " | ".join(f"{section.first}-{section.last}: {section.text}" for section in sections)


def _head(part: str, *, bare: bool = False) -> tuple[int, int, int] | None:
    """First bar, last bar and length of the beginning of a section; a lone number ("9:") only counts if `bare`."""
    match = _BARS.match(part)
    colon = _COLON.match(part, match.end()) if match else None
    if match is None or colon is None:
        return None
    first, last, mark, unit = match.group("first", "last", "mark", "unit")
    if last:  # 一到十：is no place in a piece, 一到十小节：is one
        counts = bool(unit) or (first.isdecimal() and last.isdecimal())
    elif mark == "第":  # 第一：is no place, 第一小节：is one
        counts = "小节" in match[0]
    else:  # "16 bars:" is a length
        counts = bool(mark) or (bare and not unit and first.isdecimal())
    return (number(first), number(last or first), colon.end()) if counts else None


def _softly_cut(text: str) -> list[str]:
    cuts = [0, *(mark.end() for mark in _SOFT.finditer(text) if _head(text[mark.end() :])), len(text)]
    parts = [text[begin:end] for begin, end in pairwise(cuts)]
    return [*(_SOFT_END.sub("", part) for part in parts[:-1]), parts[-1]]


_SOFT_END: Final = re.compile(rf"{_SOFT.pattern}$")


def _must(where: str) -> str:
    return f"a timeline must be sections one after the other from bar 1, such as {EXAMPLE!r}, but of {where!r}"
