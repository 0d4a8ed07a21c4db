"""Titles and names of artists in a form in which spellings of one song are equal."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from fairseq_meloformer.corpus.sources.rows import HAN
from fairseq_meloformer.words.plain import simplified

# Brackets after NFKC, which makes full-width ones ASCII. 《》 and quotation marks enclose names, not remarks.
_REMARK: Final = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]|【([^【】]*)】|〔([^〔〕]*)〕|\{([^{}]*)\}")
_FEATURED: Final = re.compile(r"(?<![a-z])(?:feat|ft|prod)(?![a-z])\.?\s.*$")
_AFTER_DASH: Final = re.compile(r"\s[-–—~|]+\s.*$")
# What a version is called when no bracket sets it off: "后来 Live", "后来 伴奏版".
_VERSION: Final = re.compile(
    r"(?:[\s_-]+(?:live|remix|cover|demo|instrumental|acoustic|version|ver\.?|remaster(?:ed)?|piano|dj)"
    r"|[\s_-]*(?:伴奏|现场|纯音乐|钢琴|翻唱|翻自|混音|国语|粤语|完整|女声|男声|吉他|抖音|网络)版?)+$"
)
_BETWEEN_ARTISTS: Final = re.compile(
    r"\s*(?:[/、,&;|+×]|(?<![a-z])(?:feat|ft|vs|and|with)(?![a-z])\.?|\sx\s|和(?=\s))\s*|\s{2,}"
)


def fold(text: str) -> str:
    """One width, one case, simplified characters, no accents."""
    wide = unicodedata.normalize("NFKC", text).casefold()
    bare = "".join(char for char in unicodedata.normalize("NFD", wide) if not unicodedata.combining(char))
    return simplified(unicodedata.normalize("NFC", bare)).strip()


def _letters(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


@dataclass(frozen=True)
class Title:
    """A title that can be compared.

    Attributes:
        full: all its letters and digits.
        base: those that are left without remarks in brackets, featured artists and names of versions; never empty
            unless `full` is.
    """

    full: str
    base: str


def title(text: str) -> Title:
    """Read a title as a player or a file shows it."""
    folded = fold(text)
    outside = _REMARK.sub(" ", folded).strip() or folded
    named = re.search(r"《([^《》]+)》", outside)
    base = named[1] if named and outside.startswith("《") else outside
    for pattern in (_AFTER_DASH, _FEATURED, _VERSION):
        base = pattern.sub("", base).strip() or base
    return Title(_letters(folded), _letters(base) or _letters(folded))


def artists(text: str) -> frozenset[str]:
    """The artists of a credit, in no order; empty when it names nobody."""
    folded = _REMARK.sub(lambda match: f"/{next(filter(None, match.groups()), '')}", fold(text))
    return frozenset(filter(None, map(_letters, _BETWEEN_ARTISTS.split(folded))))


def script(text: str) -> str:
    """Return "han", "latin" or "mixed": names in two scripts cannot be compared by letters."""
    characters = len(HAN.findall(text))
    return "latin" if not characters else "han" if characters == len(text) else "mixed"
