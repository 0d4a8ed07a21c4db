"""Texts in the one form that all readers read: full-width forms made plain, Traditional Chinese made Simplified."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Final

import opencc

_HAN: Final = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")


@cache
def _converter() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


@lru_cache(maxsize=4096)
def simplified(text: str) -> str:
    """A text with its Traditional Chinese characters as Simplified ones (OpenCC), everything else as it is."""
    converted: str = _converter().convert(text) if _HAN.search(text) else text
    return converted


def plain(text: str) -> str:
    """A text with compatibility forms (NFKC) and Traditional characters made plain, of the same case; 3½ is 3.5."""
    halved = re.sub(r"(?<!\d)(\d*)\s?½", lambda half: f"{half[1] or 0}.5", text) if "½" in text else text
    return simplified(unicodedata.normalize("NFKC", halved).replace("’", "'"))


def naming(english: Iterable[str], chinese: Iterable[str]) -> re.Pattern[str]:
    """Where a lower-case text has one of these regular expressions; English ones as whole words."""
    return re.compile(rf"(?<![a-z\d])(?:{'|'.join(english)})(?![a-z])|{'|'.join(chinese)}")
