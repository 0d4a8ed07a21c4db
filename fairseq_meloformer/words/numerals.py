"""Numbers as people write them: 16, １６, thirty-two, a hundred and twenty, 三十二, 102.25, 七八十, "80 to 90"."""

import re
from typing import Final

_UNITS: Final = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_ALONE: Final = f"{_UNITS} seventeen eighteen nineteen".split()
_WORDS: Final = {word: value for value, word in enumerate(_ALONE, start=1)}
_TENS_WORDS: Final = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_TENS: Final = {word: 10 * value for value, word in enumerate(_TENS_WORDS, start=2)}
_CHINESE_DIGITS: Final = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}

_CHINESE_UNITS: Final = {"万": 10_000, "千": 1_000, "百": 100, "十": 10}

_BELOW_HUNDRED: Final = (
    rf"(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_ALONE[:9])}))?|{'|'.join(sorted(_WORDS, key=len)[::-1])}"
)

ENGLISH: Final = rf"(?:(?:a|one|two)[ -]hundred(?:[ -](?:and[ -])?(?:{_BELOW_HUNDRED}))?|{_BELOW_HUNDRED})"
"""Pattern of the numbers from one to 299 in lower-case words."""

CHINESE: Final = "[零〇一二两三四五六七八九十百千万]{1,12}"
"""Pattern of a number in Chinese characters, no longer than one can be: a prompt of nothing else takes linear time."""

DECIMAL: Final = r"\d{1,4}(?:\.\d{1,3})?"
"""Pattern of a number in digits, with or without a fraction."""


_TO: Final = r"\s*(?:[-–—~]|to|至|到)\s*"
# Two neighbouring digits with no unit between them are a range: 两三 is 2 to 3, 一百一二十 is 110 to 120.
_NEIGHBOURS: Final = re.compile(
    "(?<![零〇一二两三四五六七八九])(?:一[二两]|[二两]三|三[四五]|四五|五六|六七|七八|八九)(?![零〇一二两三四五六七八九])"
)


def ranged(pattern: str, name: str) -> str:
    """Pattern of one number of a pattern, or of a range of two: "90-100", 八到十, "between 80 and 90".

    The numbers are the groups `name` and `name_to`; `middle` reads them.
    """
    return (
        rf"(?P<{name}_between>(?<![a-z])between\s+)?(?<![\d.])(?P<{name}>{pattern})"
        rf"(?:(?({name}_between)\s+and\s+|{_TO})(?P<{name}_to>{pattern}))?"
    )


def middle(match: re.Match[str], name: str) -> float:
    """The number that `ranged` found, or the middle of its two."""
    return (value(match[name]) + value(match[f"{name}_to"] or match[name])) / 2


def number(written: str) -> int:
    """Value of decimal digits of any script, of `ENGLISH` or of `CHINESE`."""
    if written.isdecimal():
        return _integer(written)
    if written[0].isascii():
        return _english(written.replace("-", " ").split(" "))
    total, last, rest = 0, 1, written
    for sign, unit in _CHINESE_UNITS.items():
        several, found, after = rest.rpartition(sign)
        if found:
            total += unit * (number(several) if several.strip("零〇") else 1)
            last, rest = unit, after
    if len(rest) == 1 and last > 10:  # 一百二 is 120, 一百零二 is 102
        return total + _digits(rest) * last // 10
    return total + (_digits(rest) if rest else 0)


def value(written: str) -> float:
    """Value of `DECIMAL`, of what `number` reads, or the middle of what 七八十 leaves open."""
    if written[0].isdigit():
        return float(written)
    if pair := _NEIGHBOURS.search(written):
        low, high = tuple(pair[0])
        return (value(written.replace(pair[0], low)) + value(written.replace(pair[0], high))) / 2
    return float(number(written))


def _english(words: list[str]) -> int:
    if "hundred" in words:
        hundreds, rest = words[: words.index("hundred")], words[words.index("hundred") + 1 :]
        return 100 * _WORDS.get(hundreds[0], 1) + sum(map(_below_hundred, rest))
    return sum(map(_below_hundred, words))


def _below_hundred(word: str) -> int:
    return 0 if word == "and" else _TENS.get(word) or _WORDS[word]


def _digits(written: str) -> int:
    """Value of Chinese digits written one after the other, as in 三二."""
    return _integer("".join(str(_CHINESE_DIGITS.get(digit, 0)) for digit in written))


def _integer(digits: str) -> int:
    """Value of decimal digits; of thousands of them only that they are too many for anything."""
    return int(digits[:18])
