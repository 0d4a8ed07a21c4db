"""Sections by name: "intro (4 bars) - verse (8 bars)", 前奏4小节，主歌8小节, lines of `[Verse] 8 bars`, "AABA"."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from fairseq_meloformer.midi.metre import POSITIONS, length_of
from fairseq_meloformer.words.length import bars_of, lengths
from fairseq_meloformer.words.notation import METRES, metres, playable, tempi
from fairseq_meloformer.words.numerals import CHINESE, ENGLISH
from fairseq_meloformer.words.plain import plain
from fairseq_meloformer.words.scenes import read_yaml
from fairseq_meloformer.words.timeline import Section

FILE: Final = Path(__file__).with_name("form.yaml")
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
_USUAL_TEMPO: Final = 110.0
"""Quarters per minute at which sections of so many seconds are counted in bars where no tempo is asked for."""

_LETTERS: Final = re.compile(
    r"(?<![A-Za-z])(?P<form>[A-D](?:[ -]?[A-D]){1,8})(?:[ -]form(?![a-z])|\s*(?:曲式|结构|式结构))"
    r"|(?:(?<![a-z])(?:form|structure)|曲式|结构)\s*(?:of|is|[:：=]|为"
    r"|是)?\s*(?P<after>[A-D](?:[ -]?[A-D]){1,8})(?![A-Za-z])"
)
_FORMS: Final = {
    "rondo form": "ABACA",
    "回旋曲式": "ABACA",
    "ternary form": "ABA",
    "三段式": "ABA",
    "binary form": "AB",
    "二段式": "AB",
}
_MAIN: Final = {"verse", "chorus", "A", "exposition"}
"""Kinds that no list of sections is without."""

_JOIN: Final = re.compile(
    r"(?:\s|[-–—→>|,，、;；。.+/()\[\]]|(?<![a-z])(?:then|and|followed by|next|finally|ending with|with an?|an?"
    r"|the|of)(?![a-z])|然后|接着|接|再|和|最后)*"
)
_EDGE: Final = re.compile(r"^[\s\-–—→>|,，、;；。.+:：/()\[\]]+|[\s\-–—→>|,，、;；+:：/(\[]+$")
_SHEET: Final = re.compile(
    r"^\s*(?:title|tempo|bpm|beats per minute.*|key(?: signature)?|time signature|meter|metre|genre|style|mood"
    r"|instruments?|instrumentation|drums|percussion"
    r"|速度|节拍|拍号|调性?|调号|风格|情绪|乐器|配器|鼓|打击乐|标题)\s*[:：=]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Head:
    """The name of a section in a text, and what stands with it: bars (0 if none) or seconds, repeats, brackets.

    `number`: a bare one behind it, 0 if none; of a verse it may say which one, or how long.
    """

    kind: str
    start: int
    end: int
    bars: int
    seconds: float | None
    times: int
    bracketed: bool
    number: int


def read_form(text: str) -> tuple[Section, ...]:
    """Sections of a text that names them with lengths or one after the other; none for an ordinary text.

    A section sounds like what is said of it and of the whole; where nothing is said of it, like its kind (form.yaml).
    One without a length has that of another of its kind, else its share of the whole, else what is usual.
    """
    clean = plain(text)
    heads = _sections_of(clean)
    if not heads:
        return _in_letters(clean)
    own, whole = _descriptions(clean, heads)
    heads = _sized(heads, own, whole)
    parts = [(head.kind, head.bars, said) for head, said in zip(heads, own, strict=True) for _ in range(head.times)]
    return _sections(parts, whole, _language(clean))


def lengths_of_parts(text: str) -> list[tuple[int, int]]:
    """Where a text that is no form gives the length of a part of the piece only: "with a 4-bar intro"."""
    return [(head.start, head.end) for head in _heads(text) if head.kind not in ("verse", "chorus", "A")]


def seconds_of_parts(text: str) -> float | None:
    """How long the sections of a form are together: what it says of the whole, or else of each of them."""
    heads = list(_heads(text))
    said = [
        length.seconds
        for length in lengths(text.lower())
        if length.seconds and not any(head.start <= length.start < head.end for head in heads)
    ]
    of_each = [head.seconds and head.seconds * head.times for head in heads]
    return next(iter(said), None) or (sum(filter(None, of_each)) if heads and all(of_each) else None)


def _heads(text: str) -> Iterator[_Head]:
    tempo = next((float(found.value) for found in tempi(text.lower()) if playable(float(found.value))), _USUAL_TEMPO)
    metre = next((str(found.value) for found in metres(text.lower()) if found.value in METRES), METRES[0])
    quarters = length_of(metre) / POSITIONS
    for match in _head_pattern().finditer(text):
        length = next(iter(lengths((match["lead"] or match["trail"] or "").lower())), None)
        seconds = None if length is None else length.seconds
        bars = (length.bars if length else None) or (bars_of(seconds, tempo, quarters) if seconds else 0)
        times = int(match["times"] or 1) if not match["twice"] else 2
        name = match["name"].lower()
        kind = _kinds_by_name().get(name) or _kinds_by_name()[name.removesuffix("s")]
        number = int(match["which"] or match["bare"] or 0)
        yield _Head(kind, *match.span(), bars, seconds, max(1, min(times, 8)), bool(match["open"]), number)


def _sections_of(text: str) -> list[_Head]:
    """The names of sections, if the text is a form: lines of them, several with bars, or one after the other."""
    heads = list(_heads(text))
    if len(heads) < 2:
        return []
    if any(head.bars for head in heads):
        return heads
    lines = [head for head in heads if head.bracketed and _begins_line(text, head.start)]
    if len(lines) > 1:
        return lines
    if not _listed(text, heads):
        return []
    numbers = [head.number for head in heads]  # "verse 1, chorus 1, verse 2" counts them, "intro 8, verse 16" bars
    return [replace(head, bars=head.number) for head in heads] if min(numbers) > 1 and max(numbers) > 3 else heads


def _begins_line(text: str, place: int) -> bool:
    return not text[text.rfind("\n", 0, place) + 1 : place].strip()


def _listed(text: str, heads: Sequence[_Head]) -> bool:
    """Whether sections stand one after the other with nothing but separators between them."""
    between = (text[first.end : second.start] for first, second in pairwise(heads))
    kinds = {head.kind for head in heads}
    return len(kinds) > 1 and bool(kinds & _MAIN) and all(gap and _JOIN.fullmatch(gap) for gap in between)


def _descriptions(text: str, heads: Sequence[_Head]) -> tuple[list[str], str]:
    """What is said of each section, and of the whole."""
    ends = [*(head.start for head in heads[1:]), len(text)]
    chunks = [text[: heads[0].start], *(text[head.end : end] for head, end in zip(heads, ends, strict=True))]
    sheet = [line.strip() for chunk in chunks for line in chunk.splitlines() if _SHEET.match(line)]
    chunks = ["" if _JOIN.fullmatch(chunk) else chunk for chunk in chunks]
    bare = [_trimmed("\n".join(line for line in chunk.splitlines() if not _SHEET.match(line))) for chunk in chunks]
    before, own = bare[0], bare[1:]
    if own[-1] and not any(own[:-1]) and not heads[-1].bracketed:  # said of the last one, it would be of no other
        before, own[-1] = ", ".join(filter(None, [before, own[-1]])), ""
    return own, ", ".join(filter(None, [before, *sheet]))


def _sized(heads: Sequence[_Head], own: Sequence[str], whole: str) -> list[_Head]:
    """The heads with a number of bars each."""
    known = [
        head.bars or next((length.bars or 0 for length in lengths(said.lower())), 0)
        for head, said in zip(heads, own, strict=True)
    ]
    of_kind = {head.kind: bars for head, bars in zip(heads, known, strict=True) if bars}
    known = [bars or of_kind.get(head.kind, 0) for head, bars in zip(heads, known, strict=True)]
    total = next((length.bars or 0 for length in lengths(whole.lower())), 0)
    left = total - sum(bars * head.times for head, bars in zip(heads, known, strict=True))
    lacking = sum(head.times for head, bars in zip(heads, known, strict=True) if not bars)
    share = left // lacking if lacking and left >= lacking else 0
    return [
        replace(head, bars=bars or share or int(_kinds()[head.kind]["bars"]))
        for head, bars in zip(heads, known, strict=True)
    ]


def _in_letters(text: str) -> tuple[Section, ...]:
    """Sections of "AABA form"."""
    match = _LETTERS.search(text)
    named = next((form for name, form in _FORMS.items() if name in text.lower()), "")
    letters = re.sub(r"[^A-D]", "", match["form"] or match["after"]) if match else named
    if len(letters) < 2:
        return ()
    whole = _trimmed(text.replace(match[0], "") if match else text)
    total = next((length.bars or 0 for length in lengths(whole.lower())), 0)
    each = total // len(letters) if total >= len(letters) else int(_kinds()["A"]["bars"])
    return _sections([(letter, each, "") for letter in letters], whole, _language(text))


def _language(text: str) -> str:
    return "zh" if _HAN.search(text) else "en"


def _sections(parts: Sequence[tuple[str, int, str]], whole: str, lang: str) -> tuple[Section, ...]:
    sections: list[Section] = []
    for kind, bars, said in parts:
        first = sections[-1].last + 1 if sections else 1
        texts = [whole, said or str(_kinds()[kind]["sounds"][lang])]
        text = ("，" if lang == "zh" else ", ").join(filter(None, texts)) or str(_kinds()[kind][lang][0])
        sections.append(Section(first, first + bars - 1, text, kind))
    return tuple(sections)


def _trimmed(text: str) -> str:
    """A text without the separators at its ends, and without lengths that were read."""
    return _EDGE.sub("", text).strip()


@cache
def _kinds() -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(FILE)
    return content


@cache
def _kinds_by_name() -> dict[str, str]:
    return {str(name).lower(): kind for kind, row in _kinds().items() for name in (*row["en"], *row["zh"])}


@cache
def _head_pattern() -> re.Pattern[str]:
    names = sorted(_kinds_by_name(), key=len, reverse=True)
    english = "|".join(f"{re.escape(name)}s?" for name in names if name.isascii())
    chinese = "|".join(re.escape(name) for name in names if not name.isascii())
    length = (
        rf"(?:(?:\d{{1,3}}|{ENGLISH})[ -]?(?:bars?|measures?|seconds?|secs?|s)(?![a-z])"
        rf"|(?:\d{{1,3}}|{CHINESE})\s*(?:个?\s*小节|秒))"
    )
    return re.compile(
        rf"(?P<open>[\[【(]\s*)?(?:(?<![a-z\d])(?P<lead>{length})[ ]*(?:of|的)?[ ]*(?:the |an? )?)?"
        rf"(?P<name>(?<![a-z])(?:{english})(?![a-z])|{chinese})"
        rf"(?:[ ]*#?(?:(?P<which>[1-9])|[一二三])"
        rf"(?![\d一二三四五六七八九十百]|[ ]*-?[ ]*(?:个?小节|bar|measure|sec|s\b|秒)))?"
        rf"(?(lead)|(?:[ ]*[\])】]?[ ]*[-–—:=,(]?[ ]*(?:of |for |is |with |共|为|有)?(?P<trail>{length})"
        rf"|[ ]*[:=]?[ ]*(?P<bare>\d{{1,3}})(?=[ ]*(?:$|[,、;|>→\n-])))?)"
        rf"(?:[ ]*[\])】])*(?:[ ]*[(]?(?:x|×|\*)[ ]*(?P<times>[2-8])[)]?|[ ]*(?P<twice>twice|两遍|两次"
        rf"|重复一次))?(?:[ ]*[:])?",
        re.IGNORECASE,
    )
