"""Files of prompts, one a line or JSONL: all lines are checked before anything is composed, and all faults told."""

import codecs
import json
import logging
import re
from pathlib import Path
from typing import Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.words.prompts import MOST_BARS, Prompt, Request, same_file, sections_of, shown, writable
from fairseq_meloformer.words.timeline import Section, bar_range, checked, written
from fairseq_meloformer.words.wishes import read

_OPTIONS: Final = ("bars", "seed", "transposition")
LONGEST_ID: Final = 200
"""Bytes of a prompt's id, of the 255 of a file's name that systems allow."""
_DEEPEST: Final = 20  # lists and objects of JSON in each other
_MOST_SHOWN: Final = 20  # faults; a file may have as many as lines

_LOG = logging.getLogger(__name__)


def read_prompts(path: str | Path, *, skip_bad: bool = False) -> list[Prompt]:
    """Read prompts: one a line, or JSONL with `id`, `text` and options.

    A text may be a timeline; in JSONL it may also be given as `"sections": [{"bars": "1-8", "text": "calm"}, ...]`.

    Args:
        path: the file, in UTF-8.
        skip_bad: leave out lines that are no prompts, and warn of them, as long as there are others.

    Raises:
        InputError: no such file, or lines that are no prompts, each with its number.
    """
    prompts: dict[str, tuple[int, Prompt]] = {}
    faults: list[str] = []
    for number, line in enumerate(re.split(rb"\r\n|\r|\n", _content(Path(path))), start=1):
        try:
            prompt = _prompt(line, number)
            _check_length(prompt)
        except InputError as error:
            faults.append(f"line {number}: {error}")
            continue
        if prompt is not None:
            first, _ = prompts.setdefault(same_file(prompt.id), (number, prompt))
            if first != number:
                faults.append(
                    f"line {number}: its files would be those of line {first}: give another id than {prompt.id}"
                )
    if faults:
        _tell(Path(path), faults, skipped=skip_bad and bool(prompts))
    elif not prompts:
        raise InputError(f"{path} must hold at least one prompt, but it is empty")
    return [prompt for _, prompt in prompts.values()]


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"prompts must be a file with one prompt a line or JSONL, but there is no file {path}")
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path} must be UTF-8 text, but is UTF-16: save it as UTF-8")
    if _is_list(content):
        raise InputError(f"{path} must hold one prompt a line, but is a JSON list: write each entry on its own line")
    return content


def _tell(path: Path, faults: list[str], *, skipped: bool) -> None:
    more = [f"and {len(faults) - _MOST_SHOWN} more"] if len(faults) > _MOST_SHOWN else []
    said = "\n  ".join([f"{path}: lines that are no prompts: {len(faults)}", *faults[:_MOST_SHOWN], *more])
    if not skipped:
        raise InputError(f"{said}\nMend them; --skip-bad leaves them out")
    _LOG.warning("%s", said)


def _prompt(line: bytes, number: int) -> Prompt | None:
    """The prompt of a line, checked as far as can be without composing; None of a blank line."""
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"must be UTF-8 text, but byte {error.start + 1} is not: save the file as UTF-8") from error
    if not text:
        return None
    if _is_list(line):
        raise InputError("must be a text or a JSON object, received a JSON list")
    if text.startswith("{"):
        return _from_json(text, number)
    prompt = Prompt(f"{number:04d}", text, sections=sections_of(text))
    prompt.request(0, Request(""))
    return prompt


def _check_length(prompt: Prompt | None) -> None:
    """Refuse a text that says more bars than a piece can have, unless the line has others."""
    if prompt is None or "bars" in prompt.options or prompt.sections:
        return
    said = read(prompt.text).bars
    if said is not None and said > MOST_BARS:
        raise InputError(f"a piece must have from 1 to {MOST_BARS} bars; the text says {shown(said)}")


def _from_json(line: str, number: int) -> Prompt:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"must be JSON, but {error}") from error
    _check_depth(row)
    text, listed = row.pop("text", None), row.pop("sections", None)
    sections = () if listed is None else _sections(listed)
    if text is None and sections:
        text = written(sections)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'must have a "text" that says what is wanted, received {shown(text)}')
    name = _checked_id(str(row.pop("id", f"{number:04d}")))
    options = {}
    for option in _OPTIONS:
        value = row.pop(option, None)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool):
                raise InputError(f'"{option}" must be a whole number, received {shown(value)}')
            options[option] = value
    if not writable(json.dumps(row, ensure_ascii=False)):
        raise InputError("must be text, received half a character (a lone surrogate)")
    sections = sections or sections_of(text)
    prompt = Prompt(name, text.strip(), options, row, sections)
    prompt.request(0, Request(""))
    return prompt


def _checked_id(name: str) -> str:
    if not name or name in {".", ".."} or re.search(r"[/\\\0-\x1f\x7f]", name) or not writable(name):
        raise InputError(
            f'"id" names files, so it must be without slashes and control characters and not empty, received {name!r}'
        )
    if (size := len(name.encode())) > LONGEST_ID:
        raise InputError(
            f'"id" names files, so it must have at most {LONGEST_ID} bytes, received {size}: {shown(name)}'
        )
    return name


def _check_depth(row: object) -> None:
    """Refuse what could not be written to the manifest again."""
    layer = [row]
    for _ in range(_DEEPEST):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if layer:
        raise InputError(f"lists and objects may lie at most {_DEEPEST} deep in each other")


def _is_list(content: bytes) -> bool:
    if not content.lstrip().startswith(b"["):
        return False
    try:
        return isinstance(json.loads(content), list)
    except (ValueError, RecursionError):
        return False


def _sections(listed: object) -> tuple[Section, ...]:
    """Sections of a JSON list."""
    if not isinstance(listed, list) or not listed:
        raise InputError(f'"sections" must be a list with at least one entry, received {shown(listed)}')
    found = []
    for entry in listed:
        bars, text = (entry.get("bars"), entry.get("text")) if isinstance(entry, dict) else (None, None)
        span = bar_range(bars) if isinstance(bars, str) else None
        if span is None or not isinstance(text, str):
            raise InputError(
                f'a section must be {{"bars": "1-8", "text": "what it should sound like"}}, received {shown(entry)}'
            )
        found.append(Section(*span, text.strip()))
    return checked(found, written(found))
