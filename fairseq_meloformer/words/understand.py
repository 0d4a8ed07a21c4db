"""Show what prompts are taken to ask for: eight axes from -1 to 1, near 0 where nothing is asked, and what they name.

A timeline and a form are read section by section, as they are composed.
"""

import argparse
import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words import directions, probe, wishes
from fairseq_meloformer.words.manners import said
from fairseq_meloformer.words.prompt_files import read_prompts
from fairseq_meloformer.words.prompts import Prompt, from_texts

_TEXT_WIDTH: Final = 44  # terminal cells
_COLUMN: Final = 10
_BATCH: Final = 32
_POLES: Final = {
    "tempo": ("slow", "fast"),
    "density": ("sparse", "dense"),
    "register": ("low", "high"),
    "leaps": ("stepwise", "leaping"),
    "sustain": ("short", "sustained"),
    "loudness": ("quiet", "loud"),
    "mode": ("minor", "major"),
    "drums": ("no drums", "drums"),
}

Values = dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="prompts in Chinese or English")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="read prompts from a file, one a line or JSONL")
    parser.add_argument("--skip-bad", action="store_true", help="leave out lines of FILE that are no prompts")
    parser.add_argument("--json", action="store_true", help="print one JSON line a prompt instead of a table")
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="print how often the reading goes in the asked direction; the prompts come from --prompts with "
        "lang, kind and directions",
    )
    parser.add_argument(
        "--probe",
        type=Path,
        default=probe.DEFAULT,
        metavar="DIR",
        help="probe to read with (default: the embedded one)",
    )


def run(args: argparse.Namespace) -> int:
    """Read the prompts and print what was found.

    Raises:
        InputError: no prompts, a file that cannot be used, or no text encoder installed.
    """
    if bool(args.texts) == bool(args.prompts):
        raise InputError(
            'prompts must come either as texts (meloformer understand "a quiet night") or from a file (--prompts FILE)'
        )
    if args.evaluate and (args.json or not args.prompts):
        raise InputError("--evaluate needs --prompts FILE, with directions, and goes without --json")
    prompts = read_prompts(args.prompts, skip_bad=args.skip_bad) if args.prompts else from_texts(args.texts)
    asked = (
        [
            directions.LabelledPrompt.read(prompt.text, prompt.about, f"{args.prompts}, prompt {prompt.id}")
            for prompt in prompts
        ]
        if args.evaluate
        else []
    )
    reader = probe.Probe.from_pretrained(args.probe)
    if args.evaluate:
        lines = report(asked, list(readings(reader, [prompt.text for prompt in prompts])))
    else:
        found = readings(reader, [text for prompt in prompts for _, text in _parts(prompt)])
        lines = _json_lines(prompts, found) if args.json else table(prompts, found)
    for line in lines:
        sys.stdout.write(line + "\n")
    return 0


def readings(reader: probe.Probe, texts: Sequence[str]) -> Iterator[Values]:
    """Values of each text by axis, rounded to what is worth reading."""
    for start in range(0, len(texts), _BATCH):
        for row in reader.read(texts[start : start + _BATCH]).tolist():
            yield {axis: round(value, 3) for axis, value in zip(AXES, row, strict=True)}


def _parts(prompt: Prompt) -> list[tuple[str, str]]:
    """Bars ("1-8") and text of each section of a prompt; "" and its own text, if it has none."""
    return [(f"{one.first}-{one.last}", one.text) for one in prompt.sections] or [("", prompt.text)]


def _json_lines(prompts: Sequence[Prompt], found: Iterator[Values]) -> Iterator[str]:
    for prompt in prompts:
        rows = [{"bars": bars, "text": text, **_row(text, next(found))} for bars, text in _parts(prompt)]
        if prompt.sections:
            row: Mapping[str, Any] = {"text": prompt.text, "understood": _form(prompt), "sections": rows}
        else:
            row = {name: value for name, value in rows[0].items() if name != "bars"}
        yield json.dumps(row, ensure_ascii=False)


def _row(text: str, values: Values) -> dict[str, Any]:
    asked = wishes.read(text)
    return {
        "attributes": values,
        "manners": asked.manners,
        "understood": asked.understood(),
        "not_honoured": asked.not_honoured,
    }


def _form(prompt: Prompt) -> list[str]:
    """What the text of a prompt with sections says of the whole: which they are, how long they last together."""
    asked = wishes.read(prompt.text)
    return wishes.Wishes(sections=asked.sections, seconds=asked.seconds).understood() if asked.sections else []


def table(prompts: Sequence[Prompt], found: Iterable[Values]) -> Iterator[str]:
    """Lines of a table: a head with both poles of each axis, then a line for each prompt; a dot is silence.

    What is named besides (instruments, 80 bpm, swung) stands at the end of its line, what of it is not kept below it. A
    prompt with sections has a line of its own without values, and one for each section.
    """
    yield fitted("", _TEXT_WIDTH) + "".join(f"{axis:>{_COLUMN}}" for axis in AXES)
    for sign, pole in (("-", 0), ("+", 1)):
        yield fitted("", _TEXT_WIDTH - 1) + sign + "".join(f"{_POLES[axis][pole]:>{_COLUMN}}" for axis in AXES)
    values = iter(found)
    for prompt in prompts:
        if prompt.sections:
            yield f"{fitted(prompt.text, _TEXT_WIDTH)}  {', '.join(_form(prompt))}".rstrip()
        for bars, text in _parts(prompt):
            yield from _lines(f"{bars}: {text}" if bars else text, text, next(values))


def _lines(label: str, text: str, values: Values) -> Iterator[str]:
    asked = wishes.read(text)
    cells = (f"{values[axis]:+.2f}" if abs(values[axis]) >= directions.SILENCE else "." for axis in AXES)
    line = fitted(label, _TEXT_WIDTH) + "".join(f"{cell:>{_COLUMN}}" for cell in cells)
    named = dict.fromkeys([*asked.understood(), *said(asked.manners)])
    yield f"{line}  {', '.join(named)}".rstrip()
    yield from (f"  not kept: {phrase}" for phrase in asked.not_honoured)


def fitted(text: str, width: int) -> str:
    """Text cut or padded to `width` terminal cells, of which Chinese characters take two."""
    text = " ".join(text.split())
    cells = [_cells(character) for character in text]
    if sum(cells) > width:
        used = 1  # the ellipsis
        kept = ""
        for character, taken in zip(text, cells, strict=True):
            if used + taken > width:
                break
            used += taken
            kept += character
        return kept + "…" + " " * (width - used)
    return text + " " * (width - sum(cells))


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def report(asked: Sequence[directions.LabelledPrompt], found: Sequence[Values]) -> Iterator[str]:
    """Lines of an evaluation: accuracy with 95 % interval and number of directions."""
    rows = directions.table(asked, found)
    yield (
        f"right directions in {len(asked)} prompts; wrong side or |value| < {directions.SILENCE} counts as wrong; "
        "95 % intervals"
    )
    yield f"{'':10}" + "".join(f"{name:>27}" for name in rows[0][1])
    for name, columns in rows:
        yield f"{name:10}" + "".join(f"{_accuracy(column):>27}" for column in columns.values())
    stated, left = directions.unasked(asked, found)
    yield f"mean |value| of stated prompts: {stated:.2f} on asked axes, {left:.2f} on the others"


def _accuracy(found: directions.Accuracy) -> str:
    if not found.asked:
        return "-"
    low, high = found.interval()
    return f"{found.share:6.1%} [{low:.0%}, {high:.0%}] of {found.asked}"
