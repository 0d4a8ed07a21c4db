"""Tempo, key and metre as texts spell them: "102.25 bpm", "Tempo (BPM): 96", "F#m", 降E大调, "waltz", 四三拍."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from fairseq_meloformer.measures.tonality import PITCH_NAMES
from fairseq_meloformer.tokens.codes import TEMPI
from fairseq_meloformer.words.numerals import CHINESE, DECIMAL, ENGLISH, middle, number, ranged, value
from fairseq_meloformer.words.refusals import refused_before


class Found(NamedTuple):
    """What a text says of one matter, and where: tempo in quarters per minute, key as "D minor", metre as "3/4"."""

    value: float | str
    start: int
    end: int


_ABOUT: Final = (
    r"(?:\s|of|is|at|[=:~≈(]|about|around|approximately|approx\.?|roughly|circa|ca?\.|set to"
    r"|为|是|在|约|大约|大概|设为|设置为|设定为|左右)*"
)
_PER_MINUTE: Final = (
    r"(?:bpm|qpm|beats?\s*(?:per|a|/|in a|each|every)\s*min(?:ute)?s?|beats(?![a-z])|拍每分钟?|拍/分钟?)"
)
_NOTE_VALUES: Final = {
    "dotted quarter": 1.5, "dotted crotchet": 1.5, "附点四分音符": 1.5, "♩.": 1.5,
    "half": 2.0, "minim": 2.0, "二分音符": 2.0,
    "eighth": 0.5, "quaver": 0.5, "八分音符": 0.5, "♪": 0.5, "quarter": 1.0, "crotchet": 1.0, "四分音符": 1.0, "♩": 1.0,
}  # fmt: skip
# Tempi in words: 十分快 is none, nor is "tempo: one third slower".
_SPOKEN: Final = (
    rf"(?:(?<![第每前后之零〇一二两三四五六七八九十百])(?=[一二两三四五六七八九]*[十百]){CHINESE}(?=$|[^一-鿿]|[的左上拍每到至])"
    rf"|(?<![a-z])(?=(?:a|one|two)[ -]hundred|[a-z]{{3,5}}ty){ENGLISH}(?![a-z]))"
)
_TEMPO: Final = re.compile(
    rf"{ranged(DECIMAL, 'a')}\s*{_PER_MINUTE}"
    rf"|(?<![a-z])(?P<b>{ENGLISH})\s+{_PER_MINUTE}"
    rf"|(?P<note>{'|'.join(map(re.escape, _NOTE_VALUES))})(?:\s+notes?)?"
    rf"\s*(?:=|等于|at)\s*(?:ca?\.)?\s*(?P<c>{DECIMAL})"
    rf"|每分钟{_ABOUT}(?P<d>{DECIMAL}|{CHINESE})\s*(?:拍|下)"
    rf"|(?:(?<![a-z])(?:bpm|qpm|tempo|metronome(?: mark(?:ing)?)?|m\.?m\.?|{_PER_MINUTE})|速度|节拍速度|拍速|节奏)"
    rf"\s*(?:\((?:bpm|qpm)\))?{_ABOUT}{ranged(f'{DECIMAL}|{_SPOKEN}', 'e')}"
    r"(?![\d.]*\s*(?:小节|bars?|measures?|sec|秒|%|percent|/))"
    rf"|(?<![\d.])(?P<f>{DECIMAL}|{_SPOKEN})\s*(?:左右)?的(?:速度|拍速)"
    rf"|(?<![\d/之])(?!十二八拍)(?P<g>{DECIMAL}|{_SPOKEN})"
    r"\s*拍(?=$|[^一-鿿]|的|左右|每)"
)
# Middles of what metronomes print beside these words.
_TEMPO_WORDS: Final = {
    "grave": 40, "largo": 50, "larghetto": 62, "lento": 56, "adagio": 70, "andante": 86, "andantino": 94,
    "moderato": 110, "allegretto": 118, "allegro": 136, "vivace": 164, "presto": 184, "prestissimo": 204,
    "广板": 50, "慢板": 66, "柔板": 70, "小行板": 94, "行板": 86, "中板": 108, "小快板": 118, "快板": 136, "急板": 180,
    "最急板": 204,
}  # fmt: skip
_WORD_OF_TEMPO: Final = re.compile(
    # "grave" is a tempo only where it stands alone.
    rf"(?<![a-z])(?:(?:{'|'.join(word for word in _TEMPO_WORDS if word.isascii() and word != 'grave')})(?![a-z])"
    r"|(?:(?<=tempo )|(?<=tempo: )|(?<![^,;:.!?|\n] )(?<![^\s,;:.!?|]))grave(?=\s*(?:$|[,;:.!?|\n])))"
    rf"|(?:{'|'.join(sorted((word for word in _TEMPO_WORDS if not word.isascii()), key=len, reverse=True))})(?!书)"
)


def tempi(text: str) -> Iterator[Found]:
    """Every tempo in figures of a lower-case text, also those that no token can say."""
    for match in _TEMPO.finditer(text):
        if not refused_before(text, *match.span()):
            yield Found(_quarters(match), match.start(), match.end())


def tempo_words(text: str) -> Iterator[Found]:
    """Every tempo of a lower-case text that is an Italian or Chinese word."""
    for match in _WORD_OF_TEMPO.finditer(text):
        if not refused_before(text, *match.span()):
            yield Found(float(_TEMPO_WORDS[match[0]]), match.start(), match.end())


def playable(tempo: float) -> bool:
    """Whether tokens can say a tempo."""
    return bool(TEMPI[0] <= tempo <= TEMPI[-1])


def _quarters(match: re.Match[str]) -> float:
    name = next(name for name in "abcdefg" if match[name])
    given = middle(match, name) if name in "ae" else value(match[name])
    return given * _NOTE_VALUES.get(match["note"] or "", 1.0)


_ACCIDENTALS: Final = {"": 0, "#": 1, "♯": 1, "sharp": 1, "升": 1, "b": -1, "♭": -1, "flat": -1, "降": -1}
_NATURALS: Final = dict(zip("cdefgab", (0, 2, 4, 5, 7, 9, 11), strict=True))
_SIGN: Final = r"[\s-]?(?:sharp|flat|Sharp|Flat)|[#♯♭]|b"
_END: Final = r"(?=\s*(?:$|[,，.。;；:!?！？、|\n()]|(?:at|with|for|and|in|on|using|key)\b|[一-鿿]))"
_MODE: Final = (
    r"[\s-]?(?i:(?:natural |harmonic |melodic )?minor|major|maj|min"
    r"|dorian|phrygian|lydian|mixolydian|aeolian|ionian|locrian)"
)
_KEY: Final = re.compile(
    rf"(?<![A-Za-z\d])(?P<note>[A-Ga-g])(?P<after>{_SIGN})?(?:(?P<mode>{_MODE}))(?![a-z])"
    r"(?!\s+(?:chords?|third|harmon|seventh))"
    r"|(?i:\bkey(?: signature)?|调性|调号|调|主音)\s*(?i:of|is|in|[=:]|为|是|\s)*(?i:the\s+)?(?<![A-Za-z])"
    rf"(?P<of>[A-G])(?P<ofsign>{_SIGN})?(?P<ofm>m)?(?![A-Za-z#♯♭]|{_MODE}|[\s-]?(?:sharp|flat)|\s*[大小]调)"
    r"|(?<![A-Za-z\d/|-])(?P<bare>[A-G])(?P<baresign>[#♯♭b])?m(?![A-Za-z\d/|])"
    rf"|\b[Ii]n\s+(?:the key of\s+)?(?P<inn>[A-G])(?P<insign>{_SIGN})?(?![A-Za-z#♯♭']){_END}"
    rf"|(?i:\bkey(?: signature)?\s*(?:of|[:=])\s*)(?P<low>[a-g])(?P<lowsign>{_SIGN})?(?P<lowm>m)?{_END}"
    r"|(?:(?P<before>[升降#♯♭]|(?<![A-Za-z])b)|(?<![A-Za-z]))(?P<zh>[A-Ga-g])(?P<zhsign>[#♯♭b])?\s*(?:自然|和声|旋律)?(?P<zhmode>[大小])调"
    r"|(?<![A-Za-z])(?P<pitchbefore>[升降#♯♭b])?(?P<pitch>[A-G])(?P<pitchsign>[#♯♭b])?调(?![音制])"
    r"|(?<!\d)1\s*=\s*(?P<dosign>[升降#♯♭b])?(?P<do>[A-G])(?P<dosign2>[#♯♭b])?(?![A-Za-z])"
)


def keys(text: str) -> Iterator[Found]:
    """Every key that a text names (its own case: "A minor" is a key where "a minor" need not be)."""
    lower = text.lower()
    for match in _KEY.finditer(text):
        if refused_before(lower, *match.span()):
            continue
        if match["note"] in ("a", "A") and not match["after"] and not _is_key_of_a(text, match):
            continue
        if match["bare"] == "A" and not match["baresign"] and not _stands_alone(text, match):
            continue
        yield Found(_key(match), match.start(), match.end())


def _key(match: re.Match[str]) -> str:
    letter = next(match[name] for name in ("note", "of", "low", "bare", "inn", "zh", "pitch", "do") if match[name])
    signs = (
        *("after", "ofsign", "lowsign", "baresign", "insign", "before", "zhsign"),
        *("pitchbefore", "pitchsign", "dosign", "dosign2"),
    )
    sign = next((match[name] for name in signs if match[name]), "").strip(" -").lower()
    mode = (match["mode"] or "").strip(" -").lower()
    minor = any(match[name] for name in ("ofm", "lowm", "bare")) or match["zhmode"] == "小"
    minor |= mode.endswith(("minor", "min")) or mode in ("dorian", "phrygian", "aeolian", "locrian")
    return f"{PITCH_NAMES[(_NATURALS[letter.lower()] + _ACCIDENTALS[sign]) % 12]} {'minor' if minor else 'major'}"


def _is_key_of_a(text: str, match: re.Match[str]) -> bool:
    """Whether "a minor" is the key, and not "a minor disaster"."""
    before, after = text[: match.start()], text[match.end() :]
    closed = not after.strip() or after.lstrip()[0] in ",.;:!?)|，。、；\n"
    return closed and (match["note"] == "A" or bool(re.search(r"\b(?:in|of|key:?)\s+$", before.lower())))


def _stands_alone(text: str, match: re.Match[str]) -> bool:
    before, after = text[: match.start()].rstrip(), text[match.end() :].lstrip()
    return (not before or before[-1] in ",.;:!?(|，。、；：" or before.lower().endswith((" in", "key"))) and (
        not after or after[0] in ",.;:!?)|，。、；"
    )


METRES: Final = ("4/4", "3/4", "6/8", "2/4")
"""Metres that pieces can have."""

_METRE_WORDS: Final = {
    "3/4": r"waltz(?:es)?|valse|three-four|minuet|mazurka|ländler|landler|polonaise|sarabande"
    r"|华尔兹|圆舞曲|小步舞曲|玛祖卡|波罗乃兹",
    "6/8": r"six-eight|jig|tarantella|barcarolle?|siciliana|siciliano|gigue|吉格|塔兰泰拉|船歌|西西里舞",
    "2/4": r"two-four|polka|波尔卡",
    "4/4": r"four-four|common time|cut time|four on the floor",
    "5/4": r"five-four|in (?:five|5)(?=\s*(?:$|[,.;:!?\n)]))",
    "7/8": r"seven-eight|in (?:seven|7)(?=\s*(?:$|[,.;:!?\n)]))",
    "12/8": "twelve-eight",
    "9/8": "nine-eight",
}
_METRE_WORD: Final = re.compile(
    "|".join(
        rf"(?P<m{metre.replace('/', '_')}>(?<![a-z])(?:{words})(?![a-z]))" for metre, words in _METRE_WORDS.items()
    )
)
_SIGNATURE: Final = re.compile(r"(?<![\d/])(?P<over>\d{1,2})\s?/\s?(?P<under>2|4|8|16)(?![\d/])")
_BEATS: Final = "(?:十[一二三五]?|[二两三四五六七八九]|1\\d|[2-9])"
_CHINESE_METRES: Final = [
    re.compile(rf"(?<![\d零〇一二两三四五六七八九十百第每前后之]){form}")
    for form in (
        rf"(?P<under>[二四八248])分之(?P<over>{_BEATS})拍",
        "(?P<under>[四八])(?P<over>[二三四五六七九])拍",
        "(?P<over>十二|[二三五六七九])(?P<under>[四八])拍",
        rf"(?P<over>{_BEATS})拍子",
        "(?P<over>三)拍(?!子|[一-鿿]*手)",
    )
]
_UNDER: Final = {6: 8, 9: 8, 12: 8}
"""What 六拍子 counts in; others are in quarters."""


def metres(text: str) -> Iterator[Found]:
    """Every metre that a lower-case text names, signatures before dances, also those that no piece can have."""
    for pattern in (_SIGNATURE, *_CHINESE_METRES):
        for match in pattern.finditer(text):
            if not refused_before(text, *match.span()):
                over = number(match["over"])
                under = match.groupdict().get("under")
                name = f"{over}/{number(under) if under else _UNDER.get(over, 4)}"
                yield Found({"2/2": "4/4", "8/8": "4/4"}.get(name, name), *match.span())
    for match in _METRE_WORD.finditer(text):
        if not refused_before(text, *match.span()):
            yield Found(str(match.lastgroup)[1:].replace("_", "/"), *match.span())
