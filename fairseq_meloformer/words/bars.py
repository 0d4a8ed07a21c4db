"""A number of bars that a text states outright: "16 bars", "thirty-two measures", 十六小节, 16 个小节."""

import re
import unicodedata

from fairseq_meloformer.words.numerals import CHINESE, ENGLISH, number

_ENGLISH = re.compile(
    rf"(?<![\d.:/-])\b(\d{{1,4}}|{ENGLISH})[ -]?(?:bars?|measures?)\b(?![ -](?:phrase|intro|loop|pattern|motif|cycle))"
)
# Parts of a piece and places in it are no lengths: "the first 4 bars", "every two bars", 前四小节, 第八小节.
_PART = re.compile(r"\b(?:first|last|final|next|every|each|per|after|opening|closing)\s+$|[第前后每]\s*$")
_CHINESE = re.compile(rf"(?<![\d.:/-])(\d{{1,4}}|{CHINESE})\s*个?\s*小节")


def stated(text: str) -> int | None:
    """Return the number of bars that a text asks for first, or None if it names none."""
    plain = unicodedata.normalize("NFKC", text).lower()
    for match in sorted((*_ENGLISH.finditer(plain), *_CHINESE.finditer(plain)), key=lambda match: match.start()):
        if not _PART.search(plain[: match.start()]):
            return number(match[1]) or None
    return None
