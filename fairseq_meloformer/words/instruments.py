"""Instruments by name, in two languages: the General MIDI program, and which of the six tracks plays it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import BASS, GUITAR, LEAD, PIANO, STRINGS
from fairseq_meloformer.words.plain import naming
from fairseq_meloformer.words.refusals import refused_after, refused_before
from fairseq_meloformer.words.scenes import read_yaml

FILE: Final = Path(__file__).with_name("instruments.yaml")
SIX: Final = frozenset({LEAD, DRUMS, BASS, GUITAR, PIANO, STRINGS})
ROLES: Final = {"lead": LEAD, "drums": DRUMS, "bass": BASS, "guitar": GUITAR, "piano": PIANO, "strings": STRINGS}
_LISTED: Final = re.compile(
    r"(?:\s|,|、|，|/|&|\+|-(?=\s)|(?<![a-z])(?:and|or|nor|with|plus|vs)(?![a-z])|和|与|或|及|加|也不要|跟)*\s*(?:(?:the|a|an|any|some)\s+)?"
    r"(?:(?:soft|loud|quiet|slow|fast|gentle|warm|bright|dark|light|heavy|solo|lead|sad|deep|low|high|clean|big|small)\s+)*"
)
"""What stands between names of one list."""
_BESIDE: Final = 20  # characters
_EITHER: Final = re.compile(r"(?<![a-z])n?or(?![a-z])|或")
_COMPANY_BEFORE: Final = re.compile(
    r"(?:(?<![a-z])(?:solo|for|with|on|by|featuring|feat\.?|instruments?|instrumentation|plays?|playing|add|use|using|bright|8-bit|synth|two|three|four)"
    r"\s*[:=]?\s*(?:(?:a|an|the|some|only|just|solo)\s+)*|(?:用|有|由|加|加上|配|以|配器|乐器)[:=]?)$"
)
_COMPANY_AFTER: Final = re.compile(
    r"\s*(?:(?:solo|solos|melody|melodies|line|lines|part|ensemble|music|only|section|sound|quartet|trio|duet|duo|concerto)(?![a-z])"
    r"|独奏|合奏|演奏|主奏|伴奏|协奏|旋律|曲|声部)"
)
# What follows a name where no instrument is meant.
_OTHERWISE: Final = {
    "drum": re.compile(r"(?![- ](?:free|less)(?![a-z]))"),
    "bass": re.compile(r"\s*(?:register|clef|range|drums?|notes?|voice|end|clarinet|singer|key)(?![a-z])"),
    "鼓": re.compile(r"[励舞吹起掌楼浪瑟动]"),
    "萨克斯": re.compile("坦"),
}
_WHOSE_STRINGS: Final = re.compile(r"(?:guitar|piano|violin|bass|harp|banjo) $")
_ONLY: Final = re.compile(
    r"(?<![a-z])(?:only|solo|alone|unaccompanied|just|nothing but|nothing else|exclusively)(?![a-z])"
    r"|只有|只用|只要|独奏|仅|光用|单用|无伴奏"
)


@dataclass(frozen=True)
class Instrument:
    """An instrument of a text.

    Attributes:
        name: as the text has it.
        program: General MIDI program, 0..127; 128 is the drum kit.
        kin: whether General MIDI has no such instrument and this is its nearest.
        start, end: where the name stands, with what refuses it behind it.
        wanted: whether it is to play; False if the text refuses it.
    """

    name: str
    program: int
    kin: bool
    start: int
    end: int
    wanted: bool


@dataclass(frozen=True)
class _Name:
    program: int
    kin: bool
    everyday: bool


@dataclass(frozen=True)
class _Names:
    """The content of instruments.yaml: names by text, roles by program, official names."""

    names: dict[str, _Name]
    roles: dict[int, tuple[int, ...]]
    official: dict[int, str]
    pattern: re.Pattern[str]


def instruments(text: str) -> list[Instrument]:
    """Every instrument that a lower-case text names, in its order.

    A name that is an everyday word too counts in the company of instruments, or of words that only they have.
    """
    found = list(_found(text))
    listed = [
        index > 0 and _LISTED.fullmatch(text, found[index - 1][0].end(), match.start()) is not None
        for index, (match, _) in enumerate(found)
    ]
    kept = [
        not name.everyday
        or _COMPANY_BEFORE.search(text[max(0, match.start() - 40) : match.start()]) is not None
        or _COMPANY_AFTER.match(text, match.end()) is not None
        or listed[index]
        or (index + 1 < len(found) and listed[index + 1])
        or match[0] == text.strip()
        or (name.program == BASS and refused_before(text, *match.span()))
        for index, (match, name) in enumerate(found)
    ]
    carries = _carries(text, [match for match, _ in found], listed)
    after = [refused_after(text, match.end()) for match, _ in found]
    swept = [whole for _, whole in after]
    for index in reversed(range(1, len(found))):
        swept[index - 1] |= swept[index] and listed[index]
    named: list[Instrument] = []
    for index, (match, name) in enumerate(found):
        if not kept[index]:
            continue
        end, _ = after[index]
        refused = swept[index] or end > match.end() or refused_before(text, *match.span())
        carried = carries[index] and bool(named) and not named[-1].wanted
        named.append(Instrument(match[0], name.program, name.kin, match.start(), end, not (refused or carried)))
    return named


def _carries(text: str, names: Sequence[re.Match[str]], listed: Sequence[bool]) -> list[bool]:
    """Whether the "no" of the name before holds for each too: in a list, but with commas only if it ends in "or".

    Who plays alone is asked for: "no drums and solo piano".
    """
    carries = [False] * len(names)
    either = False
    for index in reversed(range(1, len(names))):
        begin, end = names[index - 1].end(), names[index].end()
        between = text[begin : names[index].start()]
        either = listed[index] and (_EITHER.search(between) is not None or ("," in between and either))
        single = alone(text[begin:end]) or _ONLY.match(text[end : end + _BESIDE].lstrip()) is not None
        carries[index] = listed[index] and (either or "," not in between) and not single
    return carries


def alone(text: str) -> bool:
    """Whether a lower-case text says that nothing else is to play: "solo", "only", 独奏."""
    return _ONLY.search(text) is not None


def roles_of(program: int) -> tuple[int, ...]:
    """Programs of the six whose track may play a program, the nearest first."""
    return _names().roles[program]


def name_of(program: int) -> str:
    """The official English name of a program."""
    return _names().official[program]


def cast(programs: Sequence[int]) -> dict[int, int]:
    """Which track of the six plays which of these programs: by role, at most one each.

    All that can get their nearest role get it, those first that the six are themselves, then in order; then all that
    can get the next, and so on. Who finds none is left out.
    """
    players: dict[int, int] = {}
    waiting = sorted(dict.fromkeys(programs), key=lambda program: program not in SIX)
    for choice in range(max((len(roles_of(program)) for program in waiting), default=0)):
        for program in waiting:
            role = next(iter(roles_of(program)[choice : choice + 1]), None)
            if role is not None and role not in players and program not in players.values():
                players[role] = program
    return players


def _found(text: str) -> Iterator[tuple[re.Match[str], _Name]]:
    names = _names()
    for match in names.pattern.finditer(text):
        word = match[0]
        name = names.names.get(word) or names.names[_singular(word, names.names)]
        after = _OTHERWISE.get(word)
        if not (after and after.match(text, match.end())) and not (
            word == "strings" and _WHOSE_STRINGS.search(text[: match.start()])
        ):
            yield match, name


def _singular(word: str, names: dict[str, _Name]) -> str:
    return next(form for form in (word[:-1], word[:-2], f"{word[:-3]}y", word.replace("s ", " ")) if form in names)


@cache
def _names() -> _Names:
    """The names of instruments.yaml.

    Raises:
        InputError: a program 0..128 is missing or without names, or a name stands twice.
    """
    content = read_yaml(FILE)
    families = {family: tuple(ROLES[role] for role in roles) for family, roles in content["families"].items()}
    programs = content["programs"]
    if missing := [program for program in range(DRUMS + 1) if program not in programs]:
        raise InputError(f"{FILE} must name every program 0..{DRUMS}, but leaves out {missing}")
    names: dict[str, _Name] = {}
    for program, (_, english, chinese) in programs.items():
        for entry in (*english, *chinese):
            word = str(entry).strip("~?").lower()
            if word in names:
                raise InputError(f"{FILE} must have every name once, but {word!r} stands for {program} too")
            names[word] = _Name(program, entry.startswith("~"), entry.endswith("?"))
    ordered = sorted(names, key=len, reverse=True)
    english = (f"{re.escape(word)}(?:e?s)?" for word in ordered if word.isascii())
    chinese = (re.escape(word) for word in ordered if not word.isascii())
    return _Names(
        names,
        {program: families[family] for program, (family, *_) in programs.items()},
        {program: str(english[0]).strip("~?") for program, (_, english, _) in programs.items()},
        naming(english, chinese),
    )
