"""Tempo, key and metre as texts spell them: "102.25 bpm", "Tempo (BPM): 96", "F#m", 降E大调, "waltz", 四三拍."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from fairseq_meloformer.measures.tonality import PITCH_NAMES
from fairseq_meloformer.tokens.codes import TEMPI
from fairseq_meloformer.words.numerals import CHINESE, DECIMAL, ENGLISH, value
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
_TO: Final = r"\s*(?:[-–—~]|to|至|到)\s*"
_PER_MINUTE: Final = (
    r"(?:bpm|qpm|beats?\s*(?:per|a|/|in a|each|every)\s*min(?:ute)?s?|beats(?![a-z])|拍每分钟?|拍/分钟?)"
)
_NOTE_VALUES: Final = {
    "dotted quarter": 1.5, "dotted crotchet": 1.5, "附点四分音符": 1.5, "♩.": 1.5,
    "half": 2.0, "minim": 2.0, "二分音符": 2.0,
    "eighth": 0.5, "quaver": 0.5, "八分音符": 0.5, "♪": 0.5, "quarter": 1.0, "crotchet": 1.0, "四分音符": 1.0, "♩": 1.0,
}  # fmt: skip
_TEMPO: Final = re.compile(
    rf"(?<![\d.])(?P<a>{DECIMAL})(?:{_TO}(?P<to0>{DECIMAL}))?\s*{_PER_MINUTE}"
    rf"|(?<![a-z])(?P<b>{ENGLISH})\s+{_PER_MINUTE}"
    rf"|(?P<note>{'|'.join(map(re.escape, _NOTE_VALUES))})(?:\s+notes?)?"
    rf"\s*(?:=|等于|at)\s*(?:ca?\.)?\s*(?P<c>{DECIMAL})"
    rf"|每分钟{_ABOUT}(?P<d>{DECIMAL}|{CHINESE})\s*(?:拍|下)"
    rf"|(?:(?<![a-z])(?:bpm|qpm|tempo|metronome(?: mark(?:ing)?)?|m\.?m\.?|{_PER_MINUTE})|速度|节拍速度|拍速|节奏)"
    rf"\s*(?:\((?:bpm|qpm)\))?{_ABOUT}(?<!\d)(?P<e>{DECIMAL})(?:{_TO}(?P<to1>{DECIMAL}))?"
    r"(?![\d.]*\s*(?:小节|bars?|measures?|sec|秒|%|percent|/))"
    rf"|(?<![\d/])(?P<f>{DECIMAL}|(?<![第每前后零〇一二两三四五六七八九十百])(?=[一二两三四五六七八九]*[十百]){CHINESE})"
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
        if not refused_before(text, match.start()):
            yield Found(_quarters(match), match.start(), match.end())


def tempo_words(text: str) -> Iterator[Found]:
    """Every tempo of a lower-case text that is an Italian or Chinese word."""
    for match in _WORD_OF_TEMPO.finditer(text):
        if not refused_before(text, match.start()):
            yield Found(float(_TEMPO_WORDS[match[0]]), match.start(), match.end())


def playable(tempo: float) -> bool:
    """Whether tokens can say a tempo."""
    return bool(TEMPI[0] <= tempo <= TEMPI[-1])


def _quarters(match: re.Match[str]) -> float:
    given = value(next(match[name] for name in "abcdef" if match[name]))
    if upper := match["to0"] or match["to1"]:  # "90-100 bpm"
        given = (given + value(upper)) / 2
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
    r"|(?P<before>[升降])?(?<![A-Za-z])(?P<zh>[A-Ga-g])(?P<zhsign>[#♯♭b])?\s*(?:自然|和声|旋律)?(?P<zhmode>[大小])调"
    r"|(?<![A-Za-z])(?P<pitchbefore>[升降])?(?P<pitch>[A-G])(?P<pitchsign>[#♯♭b])?调(?![音制])"
    r"|(?<!\d)1\s*=\s*(?P<dosign>[升降#♯♭b])?(?P<do>[A-G])(?P<dosign2>[#♯♭b])?(?![A-Za-z])"
)


def keys(text: str) -> Iterator[Found]:
    """Every key that a text names (its own case: "A minor" is a key where "a minor" need not be)."""
    lower = text.lower()
    for match in _KEY.finditer(text):
        if refused_before(lower, match.start()):
            continue
        if match["note"] in ("a", "A") and not match["after"] and not _is_key_of_a(text, match):
            continue
        if match["bare"] == "A" and not match["baresign"] and not _stands_alone(text, match):
            continue
        yield Found(_key(match), match.start(), match.end())


def _key(match: re.Match[str]) -> str:
    letter = next(match[name] for name in ("note", "of", "bare", "inn", "zh", "pitch", "do") if match[name])
    signs = (
        "after",
        "ofsign",
        "baresign",
        "insign",
        "before",
        "zhsign",
        "pitchbefore",
        "pitchsign",
        "dosign",
        "dosign2",
    )
    sign = next((match[name] for name in signs if match[name]), "").strip(" -").lower()
    mode = (match["mode"] or "").strip(" -").lower()
    minor = bool(match["ofm"] or match["bare"]) or match["zhmode"] == "小" or mode.endswith(("minor", "min"))
    minor |= mode in ("dorian", "phrygian", "aeolian", "locrian")
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
    r"|华尔兹|圆舞曲|小步舞曲|玛祖卡|波罗乃兹|(?:^|[^\d四])三拍子?(?![一-鿿]*手)|四三拍|四分之三拍|3拍子|三拍",
    "6/8": r"six-eight|jig|tarantella|barcarolle?|siciliana|siciliano|gigue|吉格|塔兰泰拉|船歌|西西里舞"
    r"|八六拍|八分之六拍|六拍子|6拍子",
    "2/4": r"two-four|polka|波尔卡|四二拍|四分之二拍|[二两2]拍子",
    "4/4": r"four-four|common time|cut time|four on the floor|四四拍|四分之四拍|[四4]拍子",
}
_SIGNATURE: Final = re.compile(r"(?<![\d/])(\d{1,2})\s?/\s?(2|4|8|16)(?![\d/])")
_METRE_WORD: Final = re.compile(
    "|".join(
        rf"(?P<m{metre.replace('/', '_')}>(?<![a-z])(?:{words})(?![a-z]))" for metre, words in _METRE_WORDS.items()
    )
)
_OTHER_METRE: Final = re.compile(
    r"(?:四|八)([五七九])拍|([五七九5]|十二)拍子|(five-four|seven-eight|twelve-eight|nine-eight)"
)


def metres(text: str) -> Iterator[Found]:
    """Every metre that a lower-case text names, signatures before dances, also those that no piece can have."""
    for match in _SIGNATURE.finditer(text):
        if not refused_before(text, match.start()):
            name = f"{match[1]}/{match[2]}"
            yield Found({"2/2": "4/4", "8/8": "4/4"}.get(name, name), match.start(), match.end())
    for match in _METRE_WORD.finditer(text):
        if not refused_before(text, match.start()):
            yield Found(str(match.lastgroup)[1:].replace("_", "/"), match.start(), match.end())
    for match in _OTHER_METRE.finditer(text):
        yield Found(match[0], match.start(), match.end())
