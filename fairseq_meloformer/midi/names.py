"""Names of tracks, which a MIDI file stores as bytes of an encoding that it does not name."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_EVERYDAY: Final = {
    "gbk": re.compile(rb"[\xb0-\xd7][\xa1-\xfe]"),
    "big5": re.compile(rb"[\xa4-\xc6]."),
    "cp932": re.compile(rb"[\x88-\x97]."),
}
"""Where each encoding keeps the characters of everyday use (GB 2312 level 1, Big5 level 1, JIS X 0208 level 1)."""

_KANA: Final = re.compile(r"[ぁ-ヿ]+|[ｦ-ﾟ]{2,}")
"""Kana; of the half-width ones, which are single bytes, two or more: one alone is rather an accented letter."""

_ALONE: Final = r"(?<![^\x00-\x7f])[^\x00-\x7f](?![^\x00-\x7f])"
_ACCENTED: Final = re.compile(rf"(?<=[A-Za-z]){_ALONE}|{_ALONE}(?=[A-Za-z])")
"""One character glued to Latin letters: in truth an accented letter, which may have swallowed the letter after it."""

_MUSIC: Final = re.compile(
    "旋律|人声|人聲|主唱|伴奏|和声|和聲|钢琴|鋼琴|吉他|贝斯|貝斯|低音|弦乐|弦樂|提琴|笛|二胡|古筝|古箏|琵琶|鼓"
    "|メロディ|ボーカル|歌|ピアノ|ギター|ベース|ドラム|ストリング|オルガン"
)
"""Words that names of tracks are made of."""

_FEWEST_EVERYDAY: Final = 0.5


def decoded(names: Sequence[bytes]) -> list[str]:
    """Names of the tracks of one file: UTF-8, or else GBK, Big5, Shift-JIS or Latin-1.

    All names of the file that are not UTF-8 are judged together, as few characters say little: the encoding is the one
    in which they have words of music, or else most characters of everyday use; without half of these it is Latin-1.
    Detectors of encodings need longer texts than these.
    """
    foreign = b"\n".join(name for name in names if not _is(name, "utf_8"))
    encoding = max(_EVERYDAY, key=lambda encoding: _likelihood(foreign, encoding))
    if _likelihood(foreign, encoding) < (False, _FEWEST_EVERYDAY):
        encoding = "latin_1"
    return [_text(name, "utf_8" if _is(name, "utf_8") else encoding) for name in names]


def _is(name: bytes, encoding: str) -> bool:
    try:
        name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _text(name: bytes, encoding: str) -> str:
    return name.decode(encoding).strip("\0 ")


def _likelihood(names: bytes, encoding: str) -> tuple[bool, float]:
    """Whether the names have a word of music, and the share of everyday characters among those beyond ASCII."""
    if not _is(names, encoding):
        return False, -1.0
    text = names.decode(encoding)
    beyond = sum(not character.isascii() for character in text)
    plain = _ACCENTED.sub("", text)
    kana = sum(map(len, _KANA.findall(plain))) if encoding == "cp932" else 0
    everyday = sum(_EVERYDAY[encoding].fullmatch(character.encode(encoding)) is not None for character in plain)
    return bool(_MUSIC.search(unicodedata.normalize("NFKC", text))), (everyday + kana) / max(1, beyond)
