"""Answers of listeners, checked, and the table that they give."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.evaluation.listening.measure import alpha, mean
from fairseq_meloformer.render import markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

COLUMNS: Final = ("study", "listener", "item", "question", "answer")
RATINGS: Final = {"fit": "fits the text", "music": "good music"}
BETTER: Final = "better"
_SCALE: Final = {str(value): float(value) for value in range(1, 8)}
_SIDES: Final = ("left", "right")

Answers = dict[tuple[str, str, str], str]
"""By listener, code of the item, question."""


def collect(key_file: Path, tables: Sequence[Path]) -> dict[str, Any]:
    """Means of the arms, preferences and agreement from the CSV files of listeners.

    A listener who sent the same answers twice counts once.

    Raises:
        InputError: no key, or files that are not of answers to this very test, or with other answers of a listener than
            an earlier file has: which ones are the later, no file says. All of them are named.
    """
    if not key_file.is_file():
        raise InputError(f"{key_file} must be there: --output is the folder of the test that was answered")
    key = json.loads(key_file.read_text("utf-8"))
    answers: Answers = {}
    sources: dict[tuple[str, str, str], Path] = {}
    faults = []
    for table in tables:
        try:
            read = _read(table, key)
        except InputError as error:
            faults.append(f"{table}: {error}")
            continue
        others = {sources[asked]: asked[0] for asked in read if answers.get(asked, read[asked]) != read[asked]}
        faults += [f"{table} has other answers of {who} than {other}: leave one out" for other, who in others.items()]
        answers |= read
        sources = dict.fromkeys(read, table) | sources
    if faults:
        raise InputError("; ".join(faults))
    arms = list(dict.fromkeys(item["arm"] for item in key["items"].values()))
    return {
        "study": key["study"],
        "listeners": len({listener for listener, _, _ in answers}),
        "answers": len(answers),
        "arms": {
            arm: {question: _rating(answers, key, question, arm) for question in RATINGS}
            for arm in sorted(arms, key=lambda arm: (arm != "text", arm))
        },
        "preferred": _preferences(answers, key),
        "alpha": {
            **{question: alpha(_table(answers, key["items"], question)) for question in RATINGS},
            BETTER: alpha(_table(answers, key["pairs"], BETTER)),
        },
    }


def _read(path: Path, key: dict[str, Any]) -> Answers:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise InputError(f"must be a table of answers with the columns {', '.join(COLUMNS)}")
            return dict(_answer(row, key, rows.line_num) for row in rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"must be a table in UTF-8: {error}") from error


def _answer(row: dict[str, str], key: dict[str, Any], line: int) -> tuple[tuple[str, str, str], str]:
    if row["study"] != key["study"]:
        raise InputError(f"line {line}: must be of the test {key['study']}, but is of {row['study']!r}")
    allowed = {**dict.fromkeys(RATINGS, _SCALE), BETTER: _SIDES}
    asked = key["pairs" if row["question"] == BETTER else "items"]
    if row["item"] not in asked or row["answer"] not in allowed.get(row["question"], ()) or not row["listener"]:
        raise InputError(
            f"line {line}: must be an answer of the page, received {row['question']!r} of {row['item']!r}: "
            f"{row['answer']!r}"
        )
    return (row["listener"], row["item"], row["question"]), row["answer"]


def _rating(answers: Answers, key: dict[str, Any], question: str, arm: str) -> dict[str, float] | None:
    items = key["items"]
    return mean(
        [
            (listener, items[code]["prompt"], float(answer))
            for (listener, code, asked), answer in answers.items()
            if asked == question and items[code]["arm"] == arm
        ]
    )


def _preferences(answers: Answers, key: dict[str, Any]) -> dict[str, dict[str, float] | None]:
    """How often the piece to its text was the better one, by the arm of the other."""
    chosen: dict[str, list[tuple[str, str, float]]] = {}
    for (listener, code, asked), answer in answers.items():
        if asked == BETTER:
            pair = key["pairs"][code]
            other = next(pair[side] for side in _SIDES if pair[side] != "text")
            chosen.setdefault(other, []).append((listener, pair["prompt"], float(pair[answer] == "text")))
    return {arm: mean(chosen[arm]) for arm in sorted(chosen)}


def _table(answers: Answers, items: Iterable[str], question: str) -> NDArray[np.float64]:
    """Ratings (listeners, items), NaN where there is none."""
    listeners = list(dict.fromkeys(listener for listener, _, _ in answers))
    values = {**_SCALE, "left": 0.0, "right": 1.0}
    rows = [
        [values[answers[one, code, question]] if (one, code, question) in answers else np.nan for code in items]
        for one in listeners
    ]
    return np.array(rows, dtype=float).reshape(len(listeners), -1)


def write_markdown(found: dict[str, Any], path: Path) -> None:
    """Write the page of tables."""
    arms = [[arm, *(_spelled(row[question]) for question in RATINGS)] for arm, row in found["arms"].items()]
    preferred = [[arm, _spelled(row, share=True)] for arm, row in found["preferred"].items()]
    names = {**RATINGS, BETTER: "which is better"}
    agreement = [[names[name], "-" if value is None else f"{value:.2f}"] for name, value in found["alpha"].items()]
    explained = (
        f"{found['listeners']} listeners, {found['answers']} answers to the test {found['study']}. Means from 1 to 7, "
        "with 95 % intervals over listeners and prompts, and the number of answers."
    )
    markdown.write(
        path,
        [
            "# Listening test",
            "",
            explained,
            "",
            *markdown.table(["arm", *RATINGS.values()], arms),
            *markdown.section("The piece to its text was better than", markdown.table(["", "share"], preferred)),
            *markdown.section(
                "Agreement of listeners: Krippendorff's alpha, ordinal",
                markdown.table(["question", "alpha"], agreement),
            ),
        ],
    )


def _spelled(one: dict[str, float] | None, *, share: bool = False) -> str:
    if one is None:
        return "-"
    mean, low, high = (f"{one[name]:.0%}" if share else f"{one[name]:.2f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low} {high}], {one['answers']}"
