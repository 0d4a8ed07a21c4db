"""How long a text wants a piece: "16 bars", 十六小节, "about 30 seconds", "a two-minute piece", 两分半钟."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from fairseq_meloformer.words.numerals import CHINESE, DECIMAL, ENGLISH, middle, ranged, value


class Length(NamedTuple):
    """A length in bars or in seconds, the other None, and where it stands."""

    bars: int | None
    seconds: float | None
    start: int
    end: int


# Parts of a piece, places in it and rates are no lengths: "the first 4 bars", "beats a minute", 前四小节, 第八小节.
_PART: Final = re.compile(
    r"(?<![a-z])(?:first|last|final|next|every|each|per|after|opening|closing|within|past|another|beats)\s+(?:the\s+)?$"
    r"|[第前后每隔过]\s*$"
)
_EN_COUNT: Final = ranged(r"\d{1,4}|" + ENGLISH, "en")
_ZH_COUNT: Final = ranged(r"\d{1,4}|" + CHINESE, "zh")
_BARS: Final = re.compile(
    # "verse 2 - 8 bars" has 8.
    rf"(?<!\d[:])(?<![\d./-])(?<![a-z])(?!\d+\s+-\s){_EN_COUNT}"
    r"[ -]?(?:bars?|measures?)(?![a-z])(?![ -](?:phrase|loop|pattern|motif|cycle)|\s+(?:per|each|a|for each)\s+chord)"
    rf"|(?<!\d[:])(?<![\d./-])(?!\d+\s+-\s){_ZH_COUNT}\s*个?\s*小节"
    # 一小节三拍 and 两小节一个和弦 are rates.
    r"(?!(?<=[一1]小节)[\d一二两三四五六七八九](?:拍|个?和弦)|[一1]个?和弦|换[一-鿿]{0,3}和弦)"
    r"|(?<![a-z])(?:(?:number of )?(?:bars|measures)|小节数?)\s*[:：=]\s*(?P<sheet>\d{1,4})(?![\d.:/]|\s*-\s*\d)"
)
_MINUTES: Final = rf"(?:{DECIMAL}[\s-]*|(?:half an?|half|an?|{ENGLISH})[\s-]+)"
_SECONDS: Final = rf"(?:(?:{DECIMAL})[\s-]*(?:seconds?|secs?|s)|(?:{ENGLISH})[\s-]+(?:seconds?|secs?))"
_TIME: Final = re.compile(
    rf"(?<![\d.:/])(?<![a-z])(?P<minutes>{_MINUTES})(?P<more>and[ -]a[ -]half[\s-]+)?"
    r"(?:(?P<hours>hours?|hrs?)|minutes?|mins?)(?![a-z])(?P<half> and a half)?"
    rf"(?:[\s,]*(?:and\s+)?(?P<rest>{_SECONDS})(?![a-z]))?"
    rf"|(?<![\d.:/])(?<![a-z])(?P<seconds>{_SECONDS})(?![a-z\d-])"
    rf"|(?<![每第])(?P<zhmin>{DECIMAL}|{CHINESE}|半)\s*分(?:钟"
    rf"|(?=[半零一二三四五六七八九十\d]))(?P<zhhalf>半钟?)?(?:(?P<zhrest>{DECIMAL}|{CHINESE})\s*秒钟?)?"
    rf"|(?P<zhhours>{DECIMAL}|{CHINESE}|半)\s*个?(?P<zhmore>半)?小时(?!候)(?P<zhrise>半)?"
    rf"|(?<![每第前后])(?P<zhsec>{DECIMAL}|{CHINESE})\s*秒钟?"
    r"|(?<![a-z])(?:length|duration|时长|长度|时间)\s*[:：=]?\s*(?:about |约)?(?P<clock>\d{1,2}:[0-5]\d)(?![\d:])"
    r"|(?<![\d:])(?P<long>\d{1,2}:[0-5]\d)(?=\s*(?:long|in length|min|piece|song|track|tune|loop|clip|cue))"
)
# "Five minutes before midnight", "a ten minute walk", "two minutes ago" are no lengths of music.
_NOT_MUSIC: Final = re.compile(
    r"[\s-]+(?:ago|later|before|after|to(?! \d)|past|late|early|away|from|walk|drive|ride|break|nap|warning"
    r"|speech|wait|run|hike|silence"
    r"|of (?:silence|fame|peace|rest)|in(?:to)? the)(?![a-z])|\s*(?:前|后|之前|之后|以前|以后|的(?:沉默|路|车"
    r"|休息|等待|步行)|路程|车程|热度)"
)
_UNSURE: Final = {"a", "an", "one"}
_CLEAR: Final = re.compile(
    r"[\s-]*(?:long|piece|song|track|tune|music|loop|clip|cue|in length|theme|jingle|intro|version|composition"
    r"|of (?:music|[a-z]+ music))|的?[一-鿿]{0,6}?(?:音乐|曲|歌)"
)
_CLOSED: Final = re.compile(r"\s*(?:$|[,.;:!?，。；、|\n)])")
# An hour is the length of what is told more often than of a piece, so it must be clear or all of its clause.
_OPEN: Final = re.compile(
    r"(?:^|[,.;:!?。、|\n(]|(?:piece|song|track|tune|music|length) of)"
    r"\s*(?:for |about |around |roughly |length |duration |时长|长|共|大?约|大概)*$"
)
# "80s pop" and "the 1980s" are decades, "80s of rain" and "a 60s loop" are not.
_DECADE: Final = re.compile(r"(?:[12]\d\d|[2-9])0s$")
_OF_DECADES: Final = re.compile(r"(?:'|-|\b(?:the|early|late|mid)\s+)$")
_OF_SECONDS: Final = re.compile(r"\s+(?:of|long|loop|clip|cue|jingle|intro|in length)(?![a-z])")


def lengths(text: str) -> list[Length]:
    """Every length that a lower-case text names, in its order; not those of parts, and not numbers of other things."""
    found = [*_bars(text)]
    found += [
        Length(None, _seconds(match), *match.span()) for match in _TIME.finditer(text) if _is_of_music(text, match)
    ]
    return sorted(
        (
            length
            for length in found
            if (length.bars or length.seconds) and not _PART.search(text[max(0, length.start - 20) : length.start])
        ),
        key=lambda length: length.start,
    )


def bars_of(seconds: float, tempo: float, quarters: float = 4.0) -> int:
    """The number of bars of so many quarters that lasts nearest to some seconds, at least 1."""
    return max(1, round(seconds * tempo / 60 / quarters))


def _bars(text: str) -> Iterator[Length]:
    """Lengths in bars, of "8-16 bars" the middle; ranges from bar 1 on and several of them are places in a piece."""
    matches = list(_BARS.finditer(text))
    several = sum(bool(match["en_to"] or match["zh_to"]) for match in matches) > 1
    for match in matches:
        name = next(name for name in ("en", "zh", "sheet") if match[name])
        if name == "sheet":
            yield Length(int(match[name]), None, *match.span())
        elif not match[f"{name}_to"] or not (several or value(match[name]) <= 1):
            yield Length(round(middle(match, name)), None, *match.span())


def _is_of_music(text: str, match: re.Match[str]) -> bool:
    """Whether a time is the length of a piece, and not "a minute's walk", "one second thought" or "80s pop"."""
    before, end = text[max(0, match.start() - 20) : match.start()], match.end()
    clear, closed = _CLEAR.match(text, end) is not None, _CLOSED.match(text, end) is not None
    if _NOT_MUSIC.match(text, end):
        return False
    if match["hours"] or match["zhhours"]:
        return clear or (closed and _OPEN.search(before) is not None)
    if _DECADE.match(match["seconds"] or ""):
        seconds = closed or _OF_SECONDS.match(text, end) is not None
        return seconds and len(match["seconds"]) < len("1980s") and not _OF_DECADES.search(before)
    unsure = (match["minutes"] or "").strip(" -") in _UNSURE and not (match["rest"] or match["half"] or match["more"])
    unsure |= bool(match["seconds"]) and not match["seconds"][0].isdigit()
    return not unsure or clear or closed


def _seconds(match: re.Match[str]) -> float:
    if clock := match["clock"] or match["long"]:
        minutes, seconds = clock.split(":")
        return 60.0 * int(minutes) + int(seconds)
    half = 0.5 * any(match[name] for name in ("half", "more", "zhhalf", "zhmore", "zhrise"))
    figure = _figure(match["minutes"] or match["zhmin"] or match["zhhours"]) + half
    unit = 3600 if match["hours"] or match["zhhours"] else 60
    return unit * figure + _figure(match["seconds"] or match["zhsec"] or match["rest"] or match["zhrest"])


def _figure(written: str | None) -> float:
    """The number before a unit, 0 if there is none."""
    number = re.sub(r"[\s-]*(?:seconds?|secs?|s)?$", "", written or "")
    if number.startswith("half") or number == "半":
        return 0.5
    return {"": 0.0, "a": 1.0, "an": 1.0}.get(number) or (value(number) if number else 0.0)
