"""What a prompt says outright, read word by word: the words of requests.yaml and the small grammar of stated.yaml.

The probe guesses what a text is like; a reader that knows "not", "too" and 别 need not guess. It reads phrases, longest
first and with word endings and filler words disregarded, joins qualities with the things that they are said of ("long"
asks for something else of notes than of intervals), and turns round what is denied in its clause.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final

from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.words import requests, wishes
from fairseq_meloformer.words.plain import plain
from fairseq_meloformer.words.refusals import GRAMMAR, read_grammar
from fairseq_meloformer.words.scenes import LANGUAGES

_ASKED: Final = 0.8
_STRONG: Final = 1.0
_MILD: Final = 0.5
_NEAR: Final = 3  # items between a quality and its thing
_GRAMMAR: Final = (
    *("deny", "deny_one", "excess", "reverse", "enough", "joins", "apart", "raise", "lower"),
    *("strongly", "mildly", "void", "fillers"),
)
# Endings with which a single word of the wording is still that word, by what it is used like (see requests.yaml).
_ADJECTIVE: Final = ("er", "est", "ly")
_NOUN: Final = ("s",)
_VERB: Final = ("s", "ed", "ing")
_ENDINGS: Final = {"is": _ADJECTIVE, "more": (), "has": _NOUN, "asks": _VERB}
_UNINFLECTED: Final = {"not", "no", "nor", "or", "but", "yet", "just", "too", "up", "down", "sub"}
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
_SPACE: Final = re.compile(r"(?<=[\u4e00-\u9fff])\s+(?=[\u4e00-\u9fff])")
_SENTENCE: Final = re.compile("[^.;!?。]+")
_TOKEN: Final = re.compile(r"[\u4e00-\u9fff]|[a-z]+(?:'[a-z]+)?|\d+|[^\s\w]")
_DROPPED: Final = frozenset("的地了着很把")  # from Chinese wording; other fillers are part of a word as often as not

Tokens = tuple[str, ...]
"""Words as they are written, or their stems."""


@dataclass
class _Phrase:
    """What a phrase may be: words of the grammar, requests of their own, qualities, things, measures; signs by axis."""

    grammar: set[str] = field(default_factory=set)
    asks: dict[str, int] = field(default_factory=dict)
    quality: dict[str, int] = field(default_factory=dict)
    thing: set[str] = field(default_factory=set)
    measure: set[str] = field(default_factory=set)


@dataclass
class _Item:
    """A phrase found in the text, or a word that is none."""

    phrase: _Phrase
    tokens: Tokens
    known: bool
    filler: bool
    spent: bool = False

    def has(self, *grammar: str) -> bool:
        return not self.spent and bool(self.phrase.grammar.intersection(grammar))


@dataclass
class _Statement:
    """A request for one axis, at an item of its clause; `limit`: it says how far, as "not too slow" does."""

    axis: str
    sign: int
    place: int
    amount: float = _ASKED
    turned: bool = False
    limit: bool = False

    @property
    def value(self) -> float:
        return self.amount * self.sign * (-1 if self.turned else 1)


@dataclass(frozen=True)
class Statement:
    """What was read: values by axis in [-1, 1], and the share of the text's words that it is made of."""

    values: dict[str, float]
    coverage: float


class StatedReader:
    """Reads requests; see the module."""

    def __init__(self, wording: Path = requests.FILE, grammar: Path = GRAMMAR) -> None:
        """Read and check the files.

        Raises:
            InputError: one is not of the form that it explains itself.
        """
        content = read_grammar(grammar, _GRAMMAR)
        self._fillers = {
            _stem(token) for lang in LANGUAGES for text in content["fillers"][lang] for token in _tokens(text)
        }
        self._phrases: dict[Tokens, _Phrase] = {}  # of several words, by stems
        self._words: dict[str, _Phrase] = {}  # of one word, by all its forms
        for part in _GRAMMAR[:-1]:
            for lang in LANGUAGES:
                for phrase in self._all(content[part][lang], () if part == "void" else _ADJECTIVE + _VERB):
                    phrase.grammar.add(part)
        self._add_wording(requests.Requests(wording).content)
        self._longest = max(map(len, self._phrases))

    def read(self, text: str) -> Statement:
        """Values of the axes that the text speaks of outright."""
        asked = wishes.read(text)
        clean = _SPACE.sub(",", plain(asked.rest)).casefold()  # between Chinese characters, a space is punctuation
        clean = _SENTENCE.sub(lambda sentence: _both(sentence[0]), clean)
        said = list(_figures(asked))
        items = list(self._items(_tokens(clean)))
        for clause in _clauses(items):
            if any(item.has("reverse") for item in clause):
                for statement in said:
                    statement.turned = True
            said += _read_clause(clause)
        if DRUMS in asked.absent:  # who is named and refused is not asked for
            for statement in said:
                statement.turned = statement.sign > 0 if statement.axis == "drums" else statement.turned
        axes = dict.fromkeys(statement.axis for statement in said)
        values = {axis: _joined([statement for statement in said if statement.axis == axis]) for axis in axes}
        words = [item for item in items if not item.filler and not _is_stop(item.tokens[0])]
        known = sum(len(item.tokens) for item in words if item.known)
        total = sum(len(item.tokens) for item in words)
        return Statement(values, known / total if total else float(asked.rest != plain(text)))

    def knows(self, phrase: str) -> bool:
        """Whether a phrase stands in the wording as a whole."""
        return self._find(_tokens(phrase)) is not None

    def _items(self, tokens: Tokens) -> Iterator[_Item]:
        place = 0
        while place < len(tokens):
            length, phrase = self._longest_at(tokens, place)
            filler = phrase is None and _stem(tokens[place]) in self._fillers
            yield _Item(phrase or _Phrase(), tokens[place : place + length], phrase is not None, filler)
            place += length

    def _longest_at(self, tokens: Tokens, place: int) -> tuple[int, _Phrase | None]:
        """How many tokens from `place` on the longest phrase takes, with fillers inside it skipped."""
        found: tuple[int, _Phrase | None] = (1, None)
        read: Tokens = ()
        full: Tokens = ()
        for end, token in enumerate(tokens[place : place + self._longest + 3], start=1):
            filler = _stem(token) in self._fillers
            full += (token,)
            if end == 1 or not filler:
                read += (token,)
            phrase = self._find(full) or (None if filler else self._find(read))
            if phrase is not None:
                found = (end, phrase)
        return found

    def _find(self, tokens: Tokens) -> _Phrase | None:
        """What stands in the wording as these words: several but for their endings, one in its own forms."""
        return self._words.get(tokens[0]) if len(tokens) == 1 else self._phrases.get(_stems(tokens))

    def _phrases_of(self, tokens: Tokens, endings: Sequence[str]) -> list[_Phrase]:
        """The entries of a phrase: a single word has one for each of its forms that is not said to be void."""
        if len(tokens) > 1:
            return [self._phrases.setdefault(_stems(tokens), _Phrase())]
        found = [self._words.setdefault(form, _Phrase()) for form in _forms(tokens[0], endings)]
        return [phrase for phrase in found if "void" not in phrase.grammar]

    def _add_wording(self, content: Any) -> None:  # noqa: ANN401 - YAML that Requests has checked
        for lang in LANGUAGES:
            for phrase in self._all(content["neutral"][lang], ()):
                phrase.grammar.add("void")
        for lang, axis in product(LANGUAGES, AXES):
            for pole, sign in requests.POLES.items():
                for form in requests.FORMS:
                    for text in content["axes"][axis][pole][lang][form]:
                        self._add_asking(text, axis, sign, _ENDINGS[form])
                for phrase in self._all(content["kinds"][axis][lang][pole], _ADJECTIVE):
                    phrase.quality[axis] = sign
            things = content["kinds"][axis][lang]["things"]
            counted = things if content["kinds"][axis].get("counted") else []
            for phrase in self._all(things, _NOUN):
                phrase.thing.add(axis)
            for phrase in self._all([*content["measures"][axis][lang], *counted], _NOUN):
                phrase.measure.add(axis)

    def _all(self, texts: Sequence[str], endings: Sequence[str]) -> Iterator[_Phrase]:
        for text in texts:
            yield from self._phrases_of(_tokens(text.casefold()), endings)

    def _add_asking(self, text: str, axis: str, sign: int, endings: Sequence[str]) -> None:
        """Add a request, also without its filler words where two words are left."""
        tokens = _tokens(text.casefold())
        bare = tuple(
            token
            for token in tokens
            if _stem(token) not in self._fillers or (_HAN.match(token) and token not in _DROPPED)
        )
        for form in {tokens, bare} if len(bare) > 1 or tokens[:1] == ("be",) else {tokens}:
            for phrase in self._phrases_of(form, endings):
                if not phrase.grammar & {"void", "deny", "deny_one", "joins", "apart", "enough", "reverse", "excess"}:
                    phrase.asks[axis] = sign


@cache
def default_reader() -> StatedReader:
    """The reader of the files that come with MeloFormer, read once."""
    return StatedReader()


def _both(sentence: str) -> str:
    """A sentence with its 又...又 as 也...也, a filler; a single 又 is a part of other phrases (一重又一重)."""
    return sentence.replace("又", "也") if sentence.count("又") > 1 else sentence


def _read_clause(items: Sequence[_Item]) -> list[_Statement]:
    said = sorted([*_qualities(items), *_requests(items)], key=lambda statement: statement.place)
    denied = single = False
    for index, statement in enumerate(said):
        before = items[said[index - 1].place + 1 if index else 0 : statement.place]
        carried = index > 0 and (said[index - 1].place == statement.place or any(item.has("joins") for item in before))
        single = single and carried
        if denials := _denials(before):
            # Two at a stretch take each other back; an excess does not add to a denial: "not too loud".
            turned = len([item for item in denials if not item.has("excess")] or denials[:1]) % 2 == 1
            # One reaches on to the clause's end, one of a single request as far as "or" carries it.
            denied, single = (turned, False) if any(item.has("deny") for item in denials) else (denied, turned)
            excess = any(item.has("excess") for item in denials)
            statement.limit = turned and excess and any(item.has("deny", "deny_one") for item in denials)
        statement.turned = single or denied
        statement.amount = _amount([*before, *items[statement.place + 1 : statement.place + 3]])
    if said and any(item.has("deny") for item in items[said[-1].place + 1 :]):
        said[-1].turned = not said[-1].turned
    if any(item.has("enough") for item in items):
        for statement in said:
            statement.turned = False
    return said


def _denials(before: Sequence[_Item]) -> list[_Item]:
    """The last denials before a statement: those with nothing but fillers between them."""
    found: list[_Item] = []
    for item in reversed(before):
        if item.has("deny", "deny_one", "excess"):
            found.append(item)
        elif found and not item.filler:
            break
    return found


def _amount(near: Sequence[_Item]) -> float:
    if any(item.has("strongly") for item in near):
        return _STRONG
    return _MILD if any(item.has("mildly") for item in near) else _ASKED


def _qualities(items: Sequence[_Item]) -> Iterator[_Statement]:
    """Statements of a quality and a thing that stand close together: each quality takes the nearest thing."""
    for relate in (_said_of, _counted):  # "more long notes" is about long notes
        for index, item in enumerate(items):
            for other in _around(items, index):
                if item.spent or (relate is _counted and other.spent):
                    continue
                if signs := relate(item.phrase, other.phrase):
                    item.spent = other.spent = True
                    yield from (_Statement(axis, sign, index) for axis, sign in signs.items())


def _around(items: Sequence[_Item], index: int) -> Iterator[_Item]:
    """Items that stand close to one, the nearest first, and of two at one distance the one that follows."""
    for distance in range(1, _NEAR + 1):
        yield from (items[place] for place in (index + distance, index - distance) if 0 <= place < len(items))


def _said_of(quality: _Phrase, thing: _Phrase) -> dict[str, int]:
    return {axis: sign for axis, sign in quality.quality.items() if axis in thing.thing and axis not in thing.measure}


def _counted(change: _Phrase, measure: _Phrase) -> dict[str, int]:
    """What many or few of it, or more or less of it, ask for."""
    signs = {axis: sign for axis, sign in change.quality.items() if axis in measure.thing}
    rising = 1 if "raise" in change.grammar else -1 if "lower" in change.grammar else 0
    return dict.fromkeys(measure.measure, rising) | signs if rising else signs


def _requests(items: Sequence[_Item]) -> Iterator[_Statement]:
    """Statements of phrases that ask by themselves."""
    for index, item in enumerate(items):
        if item.spent or (len(item.tokens) == 1 and _HAN.match(item.tokens[0]) and not _alone(items, index)):
            continue
        yield from (_Statement(axis, sign, index) for axis, sign in item.phrase.asks.items())


def _alone(items: Sequence[_Item], index: int) -> bool:
    """Whether a single character is a word: none that is unknown stands beside it, as one does in 高山."""
    beside = [items[place] for place in (index - 1, index + 1) if 0 <= place < len(items)]
    return all(item.known or item.filler or not _HAN.match(item.tokens[0]) for item in beside)


def _clauses(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    clause: list[_Item] = []
    for item in items:
        if _is_stop(item.tokens[0]) or item.has("apart"):
            yield clause
            clause = []
        else:
            clause.append(item)
    yield clause


def _is_stop(mark: str) -> bool:
    return mark in '.,;:!?、。!-—–…()"/'


def _figures(asked: wishes.Wishes) -> Iterator[_Statement]:
    """What tempo, key and refused drums ask of the axes."""
    if asked.tempo is not None and (amount := requests.tempo_asked(asked.tempo)):
        yield _Statement("tempo", 1 if amount > 0 else -1, 0, abs(amount))
    if asked.key is not None:
        yield _Statement("mode", 1 if asked.key.endswith("major") else -1, 0)
    if DRUMS in asked.absent:
        yield _Statement("drums", -1, 0)


def _joined(said: Sequence[_Statement]) -> float:
    """The strongest of what is said of one axis on one side; 0 where both are asked for ("neither fast nor slow").

    A limit only moderates what is asked for besides: "slow, but not too slow" is a bit slow.
    """
    values = [statement.value for statement in said if not statement.limit]
    limits = [statement.value for statement in said if statement.limit]
    low, high = min(values or limits), max(values or limits)
    joined = 0.0 if low < 0 < high else high if high > 0 else low
    return max(-_MILD, min(_MILD, joined)) if values and any(limit * joined < 0 for limit in limits) else joined


def _tokens(text: str) -> Tokens:
    """English words, single Chinese characters, numbers, punctuation."""
    return tuple(_TOKEN.findall(text))


def _stems(tokens: Tokens) -> Tokens:
    return tuple(map(_stem, tokens))


def _forms(word: str, endings: Sequence[str]) -> set[str]:
    """A word, its singular, and what it is with endings: "faster" is heard in "fast", but no "popping" in "pop"."""
    forms = {word}
    if word.isascii() and word.isalpha() and word not in _UNINFLECTED:
        if "s" in endings and word.endswith("s") and not word.endswith("ss"):
            forms.add(word[:-1])
        hissing = word.endswith(("s", "x", "z", "ch", "sh", "o"))
        for ending in endings:
            forms.add(word + ("es" if ending == "s" and hissing else ending))
            if ending != "s":
                forms |= {word + word[-1] + ending, word.removesuffix("e") + ending}
            if word.endswith("y"):
                forms.add(word[:-1] + "i" + ("es" if ending == "s" else ending))
    return forms


@cache
def _stem(word: str) -> str:
    """A word without the endings of number, comparison, adverb and verb; crude, but the same for text and wording."""
    if len(word) < 4 or not word.isascii() or word in _KEPT:
        return _KEPT.get(word, word)
    word = word.removesuffix("'s")
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("iest", "ier", "ily", "ie"):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + "y"
    for ending in ("ing", "est", "ed", "er", "ly"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word.removesuffix(ending)
            if word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 3 else word


# "note" must not become "not", nor "under" and "never" something else.
_KEPT: Final = {
    "note": "note",
    "notes": "note",
    "never": "never",
    "under": "under",
    "over": "over",
    "more": "more",
    "less": "less",
}
