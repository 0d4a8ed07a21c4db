"""How long a text wants a piece: "16 bars", 十六小节, "about 30 seconds", "a two-minute piece", 两分半钟."""

import re
from typing import Final, NamedTuple

from fairseq_meloformer.words.numerals import CHINESE, DECIMAL, ENGLISH, value


class Length(NamedTuple):
    """A length in bars or in seconds, the other None, and where it stands."""

    bars: int | None
    seconds: float | None
    start: int
    end: int


# Parts of a piece and places in it are no lengths: "the first 4 bars", "every two bars", 前四小节, 第八小节.
_PART: Final = re.compile(
    r"(?<![a-z])(?:first|last|final|next|every|each|per|after|opening|closing|within|past|another)\s+(?:the\s+)?$"
    r"|[第前后每隔过]\s*$"
)
_BARS: Final = re.compile(
    rf"(?<!\d[:])(?<![\d./-])(?<![a-z])(?P<en>\d{{1,4}}|{ENGLISH})[ -]?(?:bars?|measures?)(?![a-z])"
    r"(?![ -](?:phrase|loop|pattern|motif|cycle))"
    rf"|(?<!\d[:])(?<![\d./-])(?P<zh>\d{{1,4}}|{CHINESE})\s*个?\s*小节"
    r"|(?<![a-z])(?:(?:number of )?(?:bars|measures)|小节数?)\s*[:：=]\s*(?P<sheet>\d{1,4})(?![\d.:/]|\s*-\s*\d)"
)
_MINUTES: Final = rf"(?:{DECIMAL}[\s-]*|(?:half an?|half|an?|{ENGLISH})[\s-]+)"
_SECONDS: Final = rf"(?:(?:{DECIMAL})[\s-]*(?:seconds?|secs?|s)|(?:{ENGLISH})[\s-]+(?:seconds?|secs?))"
_TIME: Final = re.compile(
    rf"(?<![\d.:/])(?<![a-z])(?P<minutes>{_MINUTES})(?:minutes?|mins?)(?![a-z])(?P<half> and a half)?"
    rf"(?:[\s,]*(?:and\s+)?(?P<rest>{_SECONDS})(?![a-z]))?"
    rf"|(?<![\d.:/])(?<![a-z])(?P<seconds>{_SECONDS})(?![a-z\d-])"
    rf"|(?<![每第])(?P<zhmin>{DECIMAL}|{CHINESE}|半)\s*分(?:钟"
    rf"|(?=[半零一二三四五六七八九十\d]))(?P<zhhalf>半钟?)?(?:(?P<zhrest>{DECIMAL}|{CHINESE})\s*秒钟?)?"
    rf"|(?<![每第前后])(?P<zhsec>{DECIMAL}|{CHINESE})\s*秒钟?"
    r"|(?<![a-z])(?:length|duration|时长|长度|时间)\s*[:：=]?\s*(?:about |约)?(?P<clock>\d{1,2}:[0-5]\d)(?![\d:])"
    r"|(?<![\d:])(?P<long>\d{1,2}:[0-5]\d)(?=\s*(?:long|in length|min))"
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
    r"|of (?:music|[a-z]+ music))|\s*(?:$|[,.;:!?，。；、|\n)])"
)


def lengths(text: str) -> list[Length]:
    """Every length that a lower-case text names, in its order; not those of parts, and not numbers of other things."""
    found = [Length(int(value(_first(match))), None, *match.span()) for match in _BARS.finditer(text)]
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


def _is_of_music(text: str, match: re.Match[str]) -> bool:
    """Whether a time is the length of a piece, and not "a minute's walk" or "one second thought"."""
    unsure = (match["minutes"] or "").strip(" -") in _UNSURE and not match["rest"] and not match["half"]
    unsure |= bool(match["seconds"]) and not match["seconds"][0].isdigit()
    return not _NOT_MUSIC.match(text, match.end()) and (not unsure or _CLEAR.match(text, match.end()) is not None)


def _seconds(match: re.Match[str]) -> float:
    if clock := match["clock"] or match["long"]:
        minutes, seconds = clock.split(":")
        return 60.0 * int(minutes) + int(seconds)
    minutes = _figure(match["minutes"] or match["zhmin"]) + 0.5 * bool(match["half"] or match["zhhalf"])
    return 60 * minutes + _figure(match["seconds"] or match["zhsec"] or match["rest"] or match["zhrest"])


def _figure(written: str | None) -> float:
    """The number before a unit, 0 if there is none."""
    number = re.sub(r"[\s-]*(?:seconds?|secs?|s)?$", "", written or "")
    if number.startswith("half") or number == "半":
        return 0.5
    return {"": 0.0, "a": 1.0, "an": 1.0}.get(number) or (value(number) if number else 0.0)


def _first(match: re.Match[str]) -> str:
    return str(next(filter(None, match.groups())))
