"""What people ask for that nothing here can do (artists, lyrics, effects ...), read so that it can be said."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from fairseq_meloformer.words.refusals import refused_before
from fairseq_meloformer.words.scenes import LANGUAGES, read_yaml

FILE: Final = Path(__file__).with_name("beyond.yaml")
_POLITE: Final = re.compile(r"^(?:with|and|add|include|lots of|the)\s+")
_LIKE: Final = (
    r"(?:in the (?:style|manner|vein|spirit) of |inspired by |(?:sounds?|something) like |à la |a la |similar to |by "
    r"|像|模仿|类似|学)?"
)
_STYLE: Final = r"(?:'s)?(?:[- ]?(?:style|like|esque|inspired)|那样|那种|的?(?:风格|曲风|风|味道))?"
# A name that is none of the known artists, and a song by its title.
_SOMEONE: Final = re.compile(
    r"(?:[Ii]n the (?:style|manner|vein) of|[Ii]nspired by|[Ss]ounds? like|[Ss]imilar to|à la|[Aa] la)\s+(?:the\s+)?"
    r"[A-Z][\w.'-]+(?:\s+(?:[A-Z][\w.'-]+|van|de|von))*"
)
_SONG: Final = re.compile(
    r"(?:像|类似|模仿|改编|翻唱|[Cc]over of|[Aa]rrangement of|[Rr]emix of)\s*[“\"《「][^”\"》」]{1,40}[”\"》」]"
)


class Beyond(NamedTuple):
    """A phrase with the reason why it is not honoured, and where it stands."""

    said: str
    start: int
    end: int


def beyond(text: str) -> Iterator[Beyond]:
    """Everything in a plain text that cannot be done."""
    lower = text.lower()
    artists, kinds = _patterns()
    for match in artists.finditer(lower):
        yield _because(text, match, "nobody's style is known by name")
    for match in _SOMEONE.finditer(text):
        if not artists.search(match[0].lower()):
            yield _because(text, match, "nobody's style is known by name")
    for match in _SONG.finditer(text):
        yield _because(text, match, "no song is known by name")
    for kind, pattern in kinds.items():
        for match in pattern.finditer(lower):
            if not refused_before(lower, *match.span()):
                yield _because(text, match, kind)


def _because(text: str, match: re.Match[str], reason: str) -> Beyond:
    phrase = _POLITE.sub("", text[match.start() : match.end()].strip())
    return Beyond(f"{phrase} ({reason})", match.start(), match.end())


@cache
def _patterns() -> tuple[re.Pattern[str], dict[str, re.Pattern[str]]]:
    """Of artists, and of each kind of wish."""
    content = read_yaml(FILE)
    names = _either(*(content["artists"][lang] for lang in LANGUAGES))
    return re.compile(f"{_LIKE}{names}{_STYLE}"), {
        kind: re.compile(_either(*(words[lang] for lang in LANGUAGES))) for kind, words in content["kinds"].items()
    }


def _either(chinese: list[str], english: list[str]) -> str:
    return rf"(?:{'|'.join(chinese)}|(?<![a-z])(?:{'|'.join(english)})(?![a-z]))"
