"""Numbers as people write them: 16, １６, thirty-two, 三十二."""

from typing import Final

_UNITS: Final = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_ALONE: Final = f"{_UNITS} seventeen eighteen nineteen".split()
_WORDS: Final = {word: value for value, word in enumerate(_ALONE, start=1)}
_TENS: Final = {word: 10 * value for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty"], start=2)}
_CHINESE_DIGITS: Final = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}

ENGLISH: Final = rf"(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_ALONE[:9])}))?|{'|'.join(sorted(_WORDS, key=len)[::-1])}"
"""Pattern of the numbers from one to sixty-nine in lower-case words."""

CHINESE: Final = "[零〇一二两三四五六七八九十百]+"
"""Pattern of a number in Chinese characters."""


def number(written: str) -> int:
    """Value of decimal digits of any script, of `ENGLISH` or of `CHINESE`."""
    if written.isdecimal():
        return _integer(written)
    if written[0].isascii():
        return sum(_TENS.get(word) or _WORDS[word] for word in written.replace("-", " ").split(" "))
    hundreds, hundred, rest = written.rpartition("百")
    tens, ten, units = rest.rpartition("十")
    total = 100 * (_digits(hundreds) if hundreds else 1) if hundred else 0
    if ten:
        total += 10 * (_digits(tens) if tens.strip("零〇") else 1)
    return total + (_digits(units) if units else 0)


def _digits(written: str) -> int:
    """Value of Chinese digits written one after the other, as in 三二."""
    return _integer("".join(str(_CHINESE_DIGITS.get(digit, 0)) for digit in written))


def _integer(digits: str) -> int:
    """Value of decimal digits; of thousands of them only that they are too many for anything."""
    return int(digits[:18])
