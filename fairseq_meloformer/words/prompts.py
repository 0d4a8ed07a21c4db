"""Prompts from files and from the command line, and the pieces that are wanted for them."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words.timeline import Section, bar_range, checked, read_timeline, written

_LONGEST_NAME = 40  # characters of a text that make a file name
_OPTIONS = {"bars": int, "seed": int, "transposition": int}


@dataclass(frozen=True)
class Request:
    """One piece that is wanted.

    Attributes:
        text: what it should sound like, in Chinese or English.
        seed: pieces of one text and seed are alike; those of another seed differ.
        bars: how many; None lets the text, or else the bridge, say.
        transposition: semitones by which the finished piece is moved; models of normalised music write in C or A minor.
        sections: what single bars should sound like, if the text is a timeline.

    Raises:
        InputError: a number of bars that is not the sections'.
    """

    text: str
    seed: int = 0
    bars: int | None = None
    transposition: int = 0
    sections: tuple[Section, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a length that contradicts the timeline."""
        if self.sections and self.bars != self.sections[-1].last:
            raise InputError(
                f"a piece must have the {self.sections[-1].last} bars of its timeline {self.text!r}, "
                f"received {self.bars} bars: leave the number of bars out"
            )


@dataclass(frozen=True)
class Prompt:
    """One line of a prompt file.

    Attributes:
        id: names the piece files.
        text: what is wanted.
        options: `bars`, `seed` and `transposition` where the prompt sets its own.
        about: whatever else the line holds; it is handed on to the manifest.
        sections: what single bars should sound like, if the prompt is a timeline.
    """

    id: str
    text: str
    options: Mapping[str, int] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()

    def request(self, piece: int, defaults: Request) -> Request:
        """The piece of this number, with the prompt's own options, or its timeline's length, before the defaults."""
        length = {"bars": self.sections[-1].last} if self.sections else {}
        chosen = replace(defaults, text=self.text, sections=self.sections, **{**length, **self.options})
        return replace(chosen, seed=seed_of(chosen.seed, self.id, piece))


def seed_of(seed: int, name: str, piece: int) -> int:
    """A seed for one piece, so that it does not depend on which others are composed with it."""
    digest = hashlib.sha256(f"{seed}|{name}|{piece}".encode()).digest()
    return int.from_bytes(digest[:4])


def from_texts(texts: Sequence[str]) -> list[Prompt]:
    """Prompts of the command line; each is named after its text.

    Raises:
        InputError: two of one name, or a timeline with gaps or overlaps.
    """
    prompts = [Prompt(_name(text), text, sections=read_timeline(text)) for text in texts]
    return _distinct(prompts, "the command line")


def read_prompts(path: str | Path) -> list[Prompt]:
    """Read prompts: one a line, or JSONL with `id`, `text` and options.

    A text may be a timeline; in JSONL it may also be given as `"sections": [{"bars": "1-8", "text": "calm"}, ...]`.

    Raises:
        InputError: no such file, a line that is no prompt (with its number), or two prompts of one id.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"prompts must be a file with one prompt a line or JSONL, but there is no file {path}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text, but {error}: save it as UTF-8") from error
    prompts = list(_prompts(lines, path))
    if not prompts:
        raise InputError(f"{path} must hold at least one prompt, but it is empty")
    return _distinct(prompts, str(path))


def _prompts(lines: Sequence[str], path: Path) -> Iterator[Prompt]:
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith("{"):
            yield _from_json(line, f"{path}, line {number}", number)
        elif line.strip():
            yield Prompt(f"{number:04d}", line.strip(), sections=_timeline(line.strip(), f"{path}, line {number}"))


def _from_json(line: str, where: str, number: int) -> Prompt:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} must be JSON, but {error}") from error
    text, listed = row.pop("text", None), row.pop("sections", None)
    sections = () if listed is None else _sections(listed, where)
    if text is None and sections:
        text = written(sections)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'{where} must have a "text" that says what is wanted, received {text!r}')
    name = str(row.pop("id", f"{number:04d}"))
    if not name or re.search(r"[/\\\0]", name) or name in {".", ".."}:
        raise InputError(f'{where}: "id" names files, so it must be without slashes and not empty, received {name!r}')
    options = {}
    for option, kind in _OPTIONS.items():
        value = row.pop(option, None)
        if value is not None:
            if not isinstance(value, kind) or isinstance(value, bool):
                raise InputError(f'{where}: "{option}" must be a whole number, received {value!r}')
            options[option] = value
    sections = sections or _timeline(text, where)
    if sections and options.get("bars", sections[-1].last) != sections[-1].last:
        raise InputError(f'{where}: "bars" must be the {sections[-1].last} of the sections, received {options["bars"]}')
    return Prompt(name, text.strip(), options, row, sections)


def _timeline(text: str, where: str) -> tuple[Section, ...]:
    try:
        return read_timeline(text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _sections(listed: object, where: str) -> tuple[Section, ...]:
    """Sections of a JSON list."""
    if not isinstance(listed, list) or not listed:
        raise InputError(f'{where}: "sections" must be a list with at least one entry, received {listed!r}')
    found = []
    for entry in listed:
        bars, text = (entry.get("bars"), entry.get("text")) if isinstance(entry, dict) else (None, None)
        span = bar_range(bars) if isinstance(bars, str) else None
        if span is None or not isinstance(text, str):
            raise InputError(
                f'{where}: every section must be {{"bars": "1-8", "text": "what it should sound like"}}, '
                f"received {entry!r}"
            )
        found.append(Section(*span, text.strip()))
    try:
        return checked(found, written(found))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _name(text: str) -> str:
    """A text as a file name."""
    words = re.sub(r"[^\w-]+", "_", text.strip()).strip("_")
    return words[:_LONGEST_NAME].rstrip("_") or "piece"


def _distinct(prompts: list[Prompt], where: str) -> list[Prompt]:
    seen: dict[str, str] = {}
    for prompt in prompts:
        if prompt.id in seen:
            raise InputError(
                f"prompts of {where} must have different ids, but {seen[prompt.id]!r} and {prompt.text!r} are both "
                f"called {prompt.id!r}: their files would overwrite each other"
            )
        seen[prompt.id] = prompt.text
    return prompts
