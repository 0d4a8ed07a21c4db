"""A number of bars that a text states outright: "16 bars", "thirty-two measures", 十六小节, 16 个小节."""

import re
import unicodedata

_UNITS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_WORDS = {word: number for number, word in enumerate(f"{_UNITS} eighteen nineteen".split(), start=1)}
_TENS = {word: 10 * number for number, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty"], start=2)}
_DIGITS = {digit: number for number, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}

_WORD = rf"(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(list(_WORDS)[:9])}))?|{'|'.join(sorted(_WORDS, key=len)[::-1])}"
_ENGLISH = re.compile(
    rf"(?<![\d.:/-])\b(\d{{1,4}}|{_WORD})[ -]?(?:bars?|measures?)\b(?![ -](?:phrase|intro|loop|pattern|motif|cycle))"
)
# Parts of a piece and places in it are no lengths: "the first 4 bars", "every two bars", 前四小节, 第八小节.
_PART = re.compile(r"\b(?:first|last|final|next|every|each|per|after|opening|closing)\s+$|[第前后每]\s*$")
_CHINESE = re.compile(r"(?<![\d.:/-])(\d{1,4}|[零〇一二两三四五六七八九十百]+)\s*个?\s*小节")


def stated(text: str) -> int | None:
    """Return the number of bars that a text asks for first, or None if it names none."""
    plain = unicodedata.normalize("NFKC", text).lower()
    for match in sorted((*_ENGLISH.finditer(plain), *_CHINESE.finditer(plain)), key=lambda match: match.start()):
        if not _PART.search(plain[: match.start()]):
            return _number(match[1]) or None
    return None


def _number(digits: str) -> int:
    if digits.isdecimal():
        return int(digits)
    if digits[0].isascii():
        return sum(_TENS.get(word) or _WORDS[word] for word in re.split("[- ]", digits))
    hundreds, hundred, rest = digits.rpartition("百")
    tens, ten, units = rest.rpartition("十")
    total = 100 * (_digit(hundreds) if hundreds else 1) if hundred else 0
    if ten:
        total += 10 * (_digit(tens) if tens.strip("零〇") else 1)
    return total + (_digit(units) if units else 0)


def _digit(digits: str) -> int:
    """Value of Chinese digits written one after the other, as in 三二."""
    return int("".join(str(_DIGITS.get(digit, 0)) for digit in digits))
