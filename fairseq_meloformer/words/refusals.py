"""Words before and after a name that say that it is not wanted: "no", "without", 不要, "Drums: none"."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words.plain import naming
from fairseq_meloformer.words.scenes import LANGUAGES, are_texts, read_yaml

GRAMMAR: Final = Path(__file__).with_name("stated.yaml")
_AFTER: Final = re.compile(
    r"(?:[- ](?:free|less)\b"
    r"|(?:\s+section)?\s+(?:left |be |is |are |stays? |should |must |sits? this one )*(?:out|silent|muted|off|absent)\b"
    r"|\s+(?:(?:is|are)(?:n't| not)|not)\s+(?:needed|wanted|required|necessary|welcome)\b"
    r"|(?:声|声部|手)?(?:就|也|先|(?P<all>都|全部|统统))?(?:不要|不用|不需要|别|去掉|缺席|静音|拿掉|不响|停|免了|休息|歇着)"
    r"(?!太|过|那么|这么|很|老|总)"
    r"|\s*[:=]\s*(?:none|no|off|0|nil|n/a|without|false|absent|silent|muted?|无|没有|不要|不用|关|静音|否)(?![a-z\d]))"
)
_NEEDED: Final = re.compile(r"\s+enough\b|[^,.;!?。]{0,12}?不(?:行|可|成)(?![一-鿿])")
"""What takes a refusal back: "not jazzy enough", 没有钢琴不行, 非钢琴不可."""
_REACH: Final = 60
"""Characters that are looked back: refusals are short, and long texts are read in linear time."""


def refused_before(text: str, start: int, end: int) -> bool:
    """Whether what stands from `start` to `end` of a lower-case text is refused by the words before it.

    Two denials at a stretch take each other back ("never without"), and so do words that follow ("not ... enough").
    """
    if _NEEDED.match(text, end):
        return False
    pattern, kinds = _grammar()
    denied = False
    for word in reversed(list(pattern.finditer(text, max(0, start - _REACH), start))):
        kind = kinds.get(word["known"], "")
        if kind not in ("denial", "between"):
            break
        denied ^= kind == "denial"
    return denied


def refused_after(text: str, place: int) -> tuple[int, bool]:
    """Where words end that refuse what ends at a place of a lower-case text ("drums off"); there, if none do.

    With it whether they refuse the whole list that ends there: 钢琴和鼓都不要.
    """
    match = _AFTER.match(text, place)
    return (place, False) if match is None else (match.end(), match["all"] is not None)


def read_grammar(path: Path, parts: Iterable[str]) -> dict[str, Any]:
    """Content of a grammar, the words of each of these parts by language.

    Raises:
        InputError: it lacks words.
    """
    content = read_yaml(path)
    missing = [
        f"{part}, {lang}"
        for part in parts
        for lang in LANGUAGES
        if not isinstance(content, dict) or not are_texts((content.get(part) or {}).get(lang))
    ]
    if missing:
        raise InputError(f"{path} must have lists of words for {'; '.join(missing)}")
    return dict(content)


@cache
def _grammar() -> tuple[re.Pattern[str], dict[str, str]]:
    """One word after the other, of which `known` are those of the grammar, longest first; and what these are.

    Raises:
        InputError: the grammar lacks words.
    """
    listed = {
        "void": "void",
        "deny": "denial",
        "excess": "between",
        "strongly": "between",
        "between": "between",
        "refuse": "denial",
    }
    content = read_grammar(GRAMMAR, listed)
    kinds = {word.lower(): kind for part, kind in listed.items() for lang in LANGUAGES for word in content[part][lang]}
    words = sorted(kinds, key=len, reverse=True)
    known = naming(map(re.escape, filter(str.isascii, words)), (word for word in words if not word.isascii()))
    return re.compile(rf"(?P<known>{known.pattern})|[a-z]+|\S"), kinds
