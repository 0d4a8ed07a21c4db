"""Chord progressions as texts spell them: "C Am F G", "vi-IV-I-V", 4536, 卡农进行, "12-bar blues"."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fairseq_meloformer.measures.tonality import PITCH_NAMES

_NATURALS: Final = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
_QUALITIES: Final = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
}
_SCALE: Final = (0, 2, 4, 5, 7, 9, 11)
_MINOR_STEPS: Final = (9, 11, 0, 2, 4, 5, 7)
_DEGREE_QUALITIES: Final = ("", "m", "m", "", "", "m", "dim")
_MINOR: Final = 9
"""The tonic of the minor key that shares C major's notes."""


@dataclass(frozen=True)
class Chord:
    """A triad: its root as a pitch class, and its quality, a key of `_QUALITIES`."""

    root: int
    quality: str

    @property
    def pitch_classes(self) -> frozenset[int]:
        """Its three pitch classes."""
        return frozenset((self.root + interval) % 12 for interval in _QUALITIES[self.quality])

    @property
    def triad(self) -> int | None:
        """Its number among the 24 of `measures.harmony.chords`; None if it is neither major nor minor."""
        return {"": self.root, "m": 12 + self.root}.get(self.quality)

    @property
    def name(self) -> str:
        """As "F#m"."""
        return f"{PITCH_NAMES[self.root]}{self.quality}"

    def moved(self, semitones: int) -> "Chord":
        """The chord so many semitones higher."""
        return Chord((self.root + semitones) % 12, self.quality)


Bar = tuple[Chord, ...]
"""Chords of one bar, which last equally long."""


@dataclass(frozen=True)
class Progression:
    """Chords of a text, over and over: one a bar, or two where bar lines say so.

    Attributes:
        bars: chords of the key itself if they are letters, else of C major.
        letters: whether the text names the chords and so their key.
        simplified: names of chords that are taken as the triads in them.
        start, end: where they stand.
    """

    bars: tuple[Bar, ...]
    letters: bool
    simplified: tuple[str, ...]
    start: int
    end: int

    @property
    def chords(self) -> tuple[Chord, ...]:
        """All of them, without bar lines."""
        return tuple(chord for bar in self.bars for chord in bar)

    @property
    def name(self) -> str:
        """As "C Am F G", or "C G | Am F" where bars have several."""
        bars = [" ".join(chord.name for chord in bar) for bar in self.bars]
        return (" | " if len(self.chords) > len(bars) else " ").join(bars)

    def in_key(self, key: str | None) -> tuple["Progression", str]:
        """The chords where they sound, and their key: the asked one, else the one that they fit best."""
        if self.letters:
            return self, key or key_of(self.chords)
        tonic, mode = (key or "C major").split()
        return self.moved(PITCH_NAMES.index(tonic) - (0 if mode == "major" else _MINOR)), key or "C major"

    def home(self, key: str | None) -> str:
        """The key whose notes they have most of, where the asked one is `key`."""
        return key_of(self.chords) if self.letters else key or "C major"

    def moved(self, semitones: int) -> "Progression":
        """All chords so many semitones higher."""
        return replace(self, bars=tuple(tuple(chord.moved(semitones) for chord in bar) for bar in self.bars))


_CHORD: Final = re.compile(
    r"(?P<root>[A-G])(?P<sign>[#♯b♭])?(?P<quality>maj|min|m(?!aj)|M|-(?=7)|dim|aug|sus2|sus4|sus|°|ø|\+)?"
    r"(?P<rest>(?:maj)?(?:6/9|2|4|5|6|7|9|11|13)?(?:b5|#5|b9|#9|#11|sus[24]?|add\d+)*)(?P<bass>/[A-G][#♯b♭]?)?"
)
_WHOLE: Final = re.sub(r"\?P<\w+>", "?:", _CHORD.pattern)
_BETWEEN: Final = r"\s*(?:->|[-–—→>|,，、/]|\s)\s*\|?\s*"
_WORD: Final = r"[^\W一-鿿]"  # Chinese stands beside chords without a space
_LETTERS: Final = re.compile(rf"(?<!{_WORD})(?<![#♯])\|?\s*{_WHOLE}(?:{_BETWEEN}{_WHOLE})+(?!{_WORD}|[#♯])")
_ROMAN: Final = r"[b♭#]?(?:VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(?:°|dim|7|maj7)?"
_ROMANS: Final = re.compile(rf"(?<!{_WORD})({_ROMAN}(?:{_BETWEEN}{_ROMAN})+)(?!{_WORD})")
_CONTEXT: Final = r"(?:chords?|chord progressions?|progressions?|和弦进行|和弦走向|和弦|进行|走向|级数)"
_MUSICAL: Final = (
    r"(?:with|for|at|in|on|and|over|then|pop|rock|ballad|song|tune|loop|groove|pattern|style|feel)s?(?![a-z])"
)
_DIGITS: Final = re.compile(
    rf"(?<![\d.])(?P<after>[1-7](?:[-–]?[1-7]){{2,11}})(?=\s*(?:的)?{_CONTEXT})"
    rf"|{_CONTEXT}\s*[:：=为是用]?\s*(?P<before>[1-7](?:[-–]?[1-7]){{2,11}})(?![\d.%])"
    # A year or a number of things is none: "in 1645", 1645年, "4536 people".
    r"|(?<![\d.:/-])(?<!\bin )(?<!since )(?<!from )(?<!year )"
    r"(?P<bare>4536251|436251|15634145|4536|1645|1564|6415|6451|1625|2516|1451)"
    rf"(?![\d.:/%-]|\s*[年个人名位只条米公元块次天届步里万号多余]|\s+(?!{_MUSICAL})[A-Za-z])"
)
_NAMED: Final = {
    r"(?:pachelbel(?:'s)? )?canon (?:chord )?progression|pachelbel(?:'s)? (?:chords|progression)"
    r"|卡农(?:和弦)?(?:进行|走向|和弦)": "15634145",
    r"(?:doo-?wop|50s|fifties) (?:chord )?progression": "1645",
    r"axis (?:chord )?progression|four[- ]chord song": "1564",
    r"(?:royal road|ōdō|王道) ?(?:chord )?(?:progression|进行)|王道和弦": "4536",
    r"小室进行|komuro progression": "6451",
    r"(?:12|twelve)[- ]bar blues|十二小节(?:布鲁斯|蓝调)|12小节(?:布鲁斯|蓝调)": "111144115411",
}  # fmt: skip
_KEYWORD: Final = re.compile(rf"{_CONTEXT}\s*(?:of|is|[:：=]|为|是|用)?\s*$", re.IGNORECASE)


def progression(text: str) -> Progression | None:
    """The first chord progression of a text, or None."""
    for find in (_named, _in_letters, _in_numerals, _in_digits):
        if (found := next(find(text), None)) is not None:
            return found
    return None


def key_of(chords: Sequence[Chord]) -> str:
    """The key whose scale has most of the chords' notes; among equals, that of the first chord, then of the last."""

    def fit(tonic: int, minor: bool) -> tuple[int, int, int]:
        scale = {(tonic + (3 if minor else 0) + step) % 12 for step in _SCALE}
        own = Chord(tonic, "m" if minor else "")
        inside = sum(len(chord.pitch_classes & scale) for chord in chords)
        return inside, chords[0] == own, chords[-1] == own

    tonic, minor = max(((tonic, minor) for minor in (False, True) for tonic in range(12)), key=lambda key: fit(*key))
    return f"{PITCH_NAMES[tonic]} {'minor' if minor else 'major'}"


def _named(text: str) -> Iterator[Progression]:
    for pattern, degrees in _NAMED.items():
        if match := re.search(pattern, text.lower()):
            yield Progression(_bars(map(_degree, degrees)), False, (), match.start(), match.end())


def _in_letters(text: str) -> Iterator[Progression]:
    for match in _LETTERS.finditer(text):
        parts = list(_CHORD.finditer(match[0]))
        keyword = _KEYWORD.search(text[: match.start()]) is not None
        bare = all(part[0] in "ABC" for part in parts)  # "A B A C" is a form
        if keyword or (len(parts) >= 3 and not bare):
            simplified = tuple(dict.fromkeys(part[0] for part in parts if part["rest"] or part["bass"]))
            yield Progression(_barred(match[0]), True, simplified, match.start(), match.end())


def _barred(text: str) -> tuple[Bar, ...]:
    """Chords with the bar lines between them, if these leave two to a bar at most."""
    lined = [tuple(map(_chord, _CHORD.finditer(bar))) for bar in text.split("|")]
    bars = tuple(bar for bar in lined if bar)
    return bars if len(bars) > 1 and max(map(len, bars)) == 2 else _bars(chord for bar in bars for chord in bar)


def _bars(chords: Iterable[Chord]) -> tuple[Bar, ...]:
    """One chord a bar."""
    return tuple((chord,) for chord in chords)


def _chord(part: re.Match[str]) -> Chord:
    root = (_NATURALS[part["root"]] + {"#": 1, "♯": 1, "b": -1, "♭": -1}.get(part["sign"] or "", 0)) % 12
    given, rest = part["quality"] or "", part["rest"] or ""
    quality = {
        "min": "m", "m": "m", "-": "m", "dim": "dim", "°": "dim", "ø": "dim", "aug": "aug", "+": "aug", "sus": "sus4",
        "sus2": "sus2", "sus4": "sus4",
    }.get(given, "")  # fmt: skip
    if quality == "m" and "b5" in rest:
        quality = "dim"
    return Chord(root, quality)


def _in_numerals(text: str) -> Iterator[Progression]:
    for match in _ROMANS.finditer(text):
        parts = re.findall(_ROMAN, match[1])
        keyword = _KEYWORD.search(text[: match.start()]) is not None
        if len(set(parts)) >= (2 if keyword else 3):
            steps = _MINOR_STEPS if any(_numeral(part) == "i" for part in parts) else _SCALE
            yield Progression(_bars(_roman(part, steps) for part in parts), False, (), match.start(), match.end())


def _roman(written: str, steps: Sequence[int]) -> Chord:
    """A numeral over the steps of C major, or of A minor where "i" is among the numerals.

    Flats are counted from the major scale in both: VI and bVI of A minor are the same chord.
    """
    numeral = _numeral(written)
    degree = ("i", "ii", "iii", "iv", "v", "vi", "vii").index(numeral.lower())
    quality = "dim" if "°" in written or "dim" in written else "m" if numeral.islower() else ""
    flat = written[0] in "b♭"
    root = steps[0] + _SCALE[degree] - 1 if flat else steps[degree] + (written[0] == "#")
    return Chord(root % 12, quality)


def _numeral(written: str) -> str:
    return re.sub(r"[^ivIV]", "", written.replace("dim", ""))


def _in_digits(text: str) -> Iterator[Progression]:
    for match in _DIGITS.finditer(text):
        digits = re.sub(r"\D", "", next(filter(None, match.groups())))
        yield Progression(_bars(map(_degree, digits)), False, (), match.start(), match.end())


def _degree(digit: str) -> Chord:
    return Chord(_SCALE[int(digit) - 1], _DEGREE_QUALITIES[int(digit) - 1])
