"""What a prompt asks for exactly: a tempo, a key, instruments that play or do not. Bars are read by `bridge.bars`."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fairseq_meloformer.measures.tonality import PITCH_NAMES
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import BASS, GUITAR, LEAD, PIANO, STRINGS
from fairseq_meloformer.tokens.codes import TEMPI
from fairseq_meloformer.words.numerals import CHINESE, number

SIX: Final = frozenset({LEAD, DRUMS, BASS, GUITAR, PIANO, STRINGS})
_MELODIC: Final = SIX - {DRUMS, BASS}

_NUMBER: Final = r"(\d{2,3})"
_TEMPO: Final = re.compile(
    rf"{_NUMBER}\s*(?:bpm|qpm|beats?\s+(?:per|a)\s+minute|拍每分钟)|每分钟\s*({CHINESE}|\d{{2,3}})\s*拍|bpm\s*(?:of|=|:|为|是)?\s*{_NUMBER}"
    rf"|\btempo\s*(?:of|=|:|is|at)?\s*{_NUMBER}\b|速度\s*(?:为|是|=|:)?\s*{_NUMBER}(?!\s*小节)"
    rf"|(?:quarter(?:\s+note)?|crotchet|四分音符|♩)\s*=\s*{_NUMBER}|(?<![\d/]){_NUMBER}\s*拍(?!子|手)"
)
# Middles of what metronomes print beside these words.
_TEMPO_WORDS: Final = {
    "grave": 40, "largo": 50, "larghetto": 62, "lento": 56, "adagio": 70, "andante": 86, "andantino": 94,
    "moderato": 110, "allegretto": 118, "allegro": 136, "vivace": 164, "presto": 184, "prestissimo": 204,
    "广板": 50, "慢板": 66, "柔板": 70, "小行板": 94, "行板": 86, "中板": 108, "小快板": 118, "快板": 136, "急板": 180,
    "最急板": 204,
}  # fmt: skip
_WORD_OF_TEMPO: Final = re.compile(
    rf"\b({'|'.join(word for word in _TEMPO_WORDS if word.isascii())})\b"
    rf"|({'|'.join(sorted((word for word in _TEMPO_WORDS if not word.isascii()), key=len, reverse=True))})"
)

_ACCIDENTALS: Final = {"": 0, "#": 1, "♯": 1, "sharp": 1, "升": 1, "b": -1, "♭": -1, "flat": -1, "降": -1}
_NATURALS: Final = dict(zip("cdefgab", (0, 2, 4, 5, 7, 9, 11), strict=True))
_KEY: Final = re.compile(
    r"\b(?P<note>[A-Ga-g])(?:[\s-]?(?P<after>sharp|flat|#|♯|♭|b))?(?:[\s-]?(?P<mode>major|minor|maj|min)\b)"
    r"(?!\s+(?:key|tonality|mode|scale|chords?|mood|tune|piece|feel|third|harmon))"
    r"|(?P<before>[升降])?(?P<zh>[A-Ga-g])(?P<sign>[#♯♭b])?(?P<mode_zh>[大小])调"
)

# By role of the six: English and Chinese names. What no role can play (an organ, say) is not asked for.
_NAMES: Final = {
    PIANO: (r"pianos?|pianists?|pianoforte|harpsichords?", "钢琴|羽管键琴"),
    GUITAR: (r"guitars?|guitarists?|ukuleles?|banjo|mandolin|lute", "吉他|琵琶|古筝|尤克里里"),
    BASS: (
        r"(?:double |bass )?bass(?: guitar| ?line| player)?(?! *(?:register|clef|range|drum|notes?|voice|end))",
        "贝斯|贝司",
    ),
    STRINGS: (
        r"(?<!guitar )(?<!piano )strings(?! of)|string (?:quartet|section|pad)|violins?|violas?|cellos?|harps?",
        "弦乐|[小中大]提琴|二胡|竖琴",
    ),
    LEAD: (
        r"lead synth|synth lead|synthesi[sz]er|flutes?|piccolo|saxophones?|sax|clarinets?|oboes?|trumpets?",
        "长笛|竹笛|短笛|笛子|萨克斯|单簧管|双簧管|小号|合成主音",
    ),
    DRUMS: (
        r"drums?|drum ?(?:kit|set|machine|loop)|drummers?|drumming|percussion|percussionists?|snare|cymbals?|hi-?hats?",
        "鼓(?![励舞吹起掌楼浪瑟])|打击乐器?|架子鼓|镲",
    ),
}
_INSTRUMENT: Final = re.compile(
    "|".join(rf"(?P<role{role}>\b(?:{english})\b|{chinese})" for role, (english, chinese) in _NAMES.items())
)
_GAP: Final = re.compile(
    r"\s*(?:,|、|，|/|&|\band\b|\bor\b|\bnor\b|和|与|或|及|也不要|跟)*\s*(?:(?:the|a|any|some)\s+)?"
)
"""Between names of one list."""
_REFUSED_BEFORE: Final = re.compile(
    r"\b(?:no|not|without|never|less|fewer|avoid|drop|mute|remove|omit|skip|minus|cut|silence|lose|delete|hush|forget"
    r"|leave out|turn off|take (?:out|away)|keep out|free of|instead of|rather than|except(?: for)?|hold|don'?t use"
    r"|get rid of)\b\s*(?:(?:the|any|a|an|more|of|use|using|from|for|need|want|all|in|at)\s+)*$"
    r"|(?:不要|没有|不用|别用|无|去掉|除去|除了|避免|不加|不带|少用|删掉|删除|拿掉|撤掉|关掉|不需要|不想要|别|免)"
    r"(?:有|任何|用|加|让|是)*$"
)
_REFUSED_AFTER: Final = re.compile(
    r"(?:[- ](?:free|less)\b|\s+(?:left |be |is |are |stays? |should be |must be )*(?:out|silent|muted|off|absent)\b"
    r"|(?:声|声部|手)?(?:都|全部|也|先)?(?:不要|别|去掉|缺席|静音|拿掉|不响|停))"
)
_ONLY: Final = re.compile(
    r"\b(?:only|solo|alone|unaccompanied|just|nothing but|nothing else|exclusively)\b"
    r"|只有|只用|只要|独奏|仅|光用|单用|无伴奏"
)


@dataclass(frozen=True)
class Exact:
    """What a text asks for exactly.

    Attributes:
        tempo: quarters per minute.
        key: as `attributes.key` names it, "D minor".
        playing: programs of the six that are named.
        absent: programs of the six that must not play.
        only: whether nothing but the named ones is to play: the text says so, or it names a melodic instrument.
    """

    tempo: float | None = None
    key: str | None = None
    playing: frozenset[int] = frozenset()
    absent: frozenset[int] = frozenset()
    only: bool = False

    @property
    def programs(self) -> frozenset[int] | None:
        """Programs that may play; None if any may."""
        if self.only:
            return self.playing
        return SIX - self.absent if self.absent else None


def read(text: str) -> Exact:
    """Read what a text (Chinese or English) asks for exactly."""
    plain = unicodedata.normalize("NFKC", text)
    lower = plain.lower()
    named = list(_instruments(lower))
    refused = frozenset(role for role, wanted in named if not wanted)
    playing = frozenset(role for role, wanted in named if wanted) - refused
    only = bool(playing) and (not playing.isdisjoint(_MELODIC) or bool(_ONLY.search(lower)))
    return Exact(_tempo(lower), _key(plain), playing, refused, only)


def _tempo(text: str) -> float | None:
    for match in _TEMPO.finditer(text):
        tempo = float(number(next(filter(None, match.groups()))))
        if TEMPI[0] <= tempo <= TEMPI[-1] and not _REFUSED_BEFORE.search(text[: match.start()]):
            return tempo
    for match in _WORD_OF_TEMPO.finditer(text):
        if not _REFUSED_BEFORE.search(text[: match.start()]):
            return float(_TEMPO_WORDS[match[0]])
    return None


def _key(text: str) -> str | None:
    for match in _KEY.finditer(text):
        if match["zh"]:
            letter, sign, mode = match["zh"], match["before"] or match["sign"] or "", match["mode_zh"]
        else:
            letter, sign, mode = match["note"], match["after"] or "", match["mode"]
            if letter in "aA" and not sign and not _is_key_of_a(text, match):
                continue
        if _REFUSED_BEFORE.search(text[: match.start()].lower()):
            continue
        tonic = (_NATURALS[letter.lower()] + _ACCIDENTALS[sign.lower()]) % 12
        return f"{PITCH_NAMES[tonic]} {'major' if mode in ('major', 'maj', '大') else 'minor'}"
    return None


def _is_key_of_a(text: str, match: re.Match[str]) -> bool:
    """Whether "a minor" is the key, and not "a minor disaster"."""
    before, after = text[: match.start()], text[match.end() :]
    stands_alone = not after.strip() or after.lstrip()[0] in ",.;:!?)|，。"
    return stands_alone and (match["note"] == "A" or bool(re.search(r"\b(?:in|of|key:?)\s+$", before.lower())))


def _instruments(text: str) -> Iterator[tuple[int, bool]]:
    """Every name in its place: its role, and whether it is asked for."""
    end, wanted = -1, True
    matches = list(_INSTRUMENT.finditer(text))
    after = [bool(_REFUSED_AFTER.match(text, match.end())) for match in matches]
    for match, refused_after in zip(matches, after, strict=True):
        listed = end >= 0 and _GAP.fullmatch(text, end, match.start()) is not None
        refused_before = _REFUSED_BEFORE.search(text[: match.start()]) is not None
        # In a list, the "no" before its first name holds for all.
        wanted = not (refused_before or refused_after or (listed and not wanted))
        yield int(str(match.lastgroup).removeprefix("role")), wanted
        end = match.end()
