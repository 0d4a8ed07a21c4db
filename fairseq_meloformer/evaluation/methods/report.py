"""From measured checkpoints of several methods to one table and two verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairseq_meloformer.render import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Row = dict[str, Any]

_CLAIM: Final = 10.0
"""The bridge is said to converge so many times faster than a soft prompt."""


def results(references: Row, rows: Sequence[Row]) -> Row:
    """Everything in one: references, curves and last rows of the methods, and the verdicts."""
    curves: dict[str, list[Row]] = {}
    for row in rows:
        curves.setdefault(row["method"], []).append(row)
    return {
        "references": {name: references[name] for name in ("oracle", "difference", "none")},
        "methods": {method: found[-1] for method, found in curves.items()},
        "curves": curves,
        "speed": _speed(curves, references["none"]),
        "cost": {method: _growth(found[-1]["costs"]) for method, found in curves.items()},
    }


def seconds_to(curve: Sequence[Row], measure: str, level: float) -> float | None:
    """Seconds at which a curve first has a level, on straight lines between its points; None if it never has.

    Before the first point nothing is known: a curve that begins beyond the level had it there at the latest.
    """
    sign = -1 if measure == "nats" else 1
    points = [(row["seconds"], sign * value_of(row, measure)) for row in curve if value_of(row, measure) is not None]
    wanted = sign * level
    for number, (seconds, value) in enumerate(points):
        if value >= wanted:
            if number == 0:
                return float(seconds)
            before, lower = points[number - 1]
            return float(before + (seconds - before) * (wanted - lower) / (value - lower))
    return None


def value_of(row: Row, measure: str) -> Any:  # noqa: ANN401  a number or None
    """What a row has of a measure, without its interval."""
    found = row.get(measure)
    return found["value"] if isinstance(found, dict) else found


def _speed(curves: dict[str, list[Row]], none: Row) -> dict[str, Row]:
    """For each measure, seconds in which the bridge and the prefix come to the best level that both have.

    That level is at least what music without a plan has, of control the upper end of its interval: how soon a method is
    no better says nothing. A method that never comes there has None for its seconds.
    """
    if not {"bridge", "prefix"} <= curves.keys():
        return {}
    found = {}
    for measure in ("heard", "nats"):
        sign = -1 if measure == "nats" else 1
        both = [[value_of(row, measure) for row in curves[name]] for name in ("bridge", "prefix")]
        if any(value is None for values in both for value in values):
            continue
        nothing = none[measure]["high"] if measure == "heard" else none[measure]
        level = sign * max(sign * nothing, min(max(sign * value for value in values) for values in both))
        times = {name: seconds_to(curves[name], measure, level) for name in ("bridge", "prefix")}
        best = {name: sign * max(sign * value for value in values) for name, values in zip(times, both, strict=True)}
        spent = {name: curves[name][-1]["seconds"] for name in times}
        found[measure] = {"level": level, "seconds": times, "spent": spent, "best": best}
    return found


def _growth(costs: Sequence[Row]) -> Row:
    """Exponents with which the cost of a step grows: by bars at constant tokens a bar, and by tokens of a bar."""

    def exponent(across: str, constant: str) -> float:
        usual = np.median([cost[constant] for cost in costs])
        line = [cost for cost in costs if cost[constant] == usual]
        return float(np.polyfit(np.log([one[across] for one in line]), np.log([one["seconds"] for one in line]), 1)[0])

    return {"bars": exponent("bars", "bar_tokens"), "tokens": exponent("bar_tokens", "bars")}


def write_markdown(found: Row, path: Path) -> None:
    """The table and the verdicts."""
    head = ["method", "control, heard", "control, read", "plan error", "nats a token", "diversity, plans (pieces)"]
    head += ["training, s (updates)", "ms a song and step"]
    explained = (
        f"{found['settings']['songs']} held-out songs, pieces of {found['settings']['bars']} bars. Control is the "
        "mean over eight axes of the rank correlation of what the captioned song is and what is heard, with a 95 % "
        "interval over prompts; read is the same of what a linear reader finds in the plan. Error is that of "
        "standardised plans. Difference is a plan without training: the mean summary, and for each axis that a "
        "caption asks for the mean of songs with more of it less that of the others. Nats a token are of the songs "
        "under plans of their captions. Diversity is the mean "
        "distance of plans (pieces) to one prompt over that of real songs with such captions."
    )
    rows = [[name, *_cells(row)] for name, row in (found["methods"] | found["references"]).items()]
    lines = ["# Ways from text to a plan", "", explained, "", *markdown.table(head, rows)]
    lines += ["![Convergence](convergence.png)", "", *markdown.section("Claims", _verdicts(found))]
    markdown.write(path, lines)


def _cells(row: Row) -> list[str]:
    heard = row["heard"]
    usual = [cost["seconds"] for cost in row.get("costs", ()) if (cost["bars"], cost["bar_tokens"]) == (16, 40)]
    diversity = row.get("diversity")
    return [
        f"{heard['value']:.2f} ({heard['low']:.2f} to {heard['high']:.2f})",
        _number(value_of(row, "read")),
        _number(row.get("plan_error")),
        _number(row.get("nats"), 3),
        f"{diversity['plans']:.2f} ({diversity['pieces']:.2f})" if diversity else "",
        f"{row['seconds']:.0f} ({row['updates']})" if "seconds" in row else "",
        f"{1000 * usual[0]:.1f}" if usual else "",
    ]


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _verdicts(found: Row) -> list[str]:
    lines = []
    for measure, words in (("heard", "control of pieces"), ("nats", "nats a token")):
        if one := found["speed"].get(measure):
            lines.append(
                f"* Ten times faster than a soft prompt, by {words}: {_faster(one)} here. To {one['level']:.3f}, the "
                f"best level that both came to or else that of no plan, the bridge came {_time(one, 'bridge')} and the "
                f"prefix {_time(one, 'prefix')}; their best within the time were {one['best']['bridge']:.3f} and "
                f"{one['best']['prefix']:.3f}."
            )
    growths = {method: found["cost"][method] for method in ("bridge", "prefix") if method in found["cost"]}
    lines += [
        f"* A step of the {method} costs in proportion to bars^{growth['bars']:.2f} at 40 tokens a bar, and to "
        f"(tokens a bar)^{growth['tokens']:.2f} at 16 bars."
        for method, growth in growths.items()
    ]
    if len(growths) == 2:
        held = growths["bridge"]["tokens"] < 0.2 and growths["prefix"]["tokens"] > 0.5
        lines.append(
            f"* Cost O(bars) against O(tokens): {'holds' if held else 'does not hold'} for a step of training. "
            "What the bridge saves there it pays once beforehand, in extraction: one forward pass over all tokens."
        )
    return lines


def _faster(one: Row) -> str:
    """Whether the bridge came to a level so many times sooner than the prefix as is claimed."""
    bridge, prefix = one["seconds"]["bridge"], one["seconds"]["prefix"]
    if bridge is None:
        return "cannot be told" if prefix is None else "does not hold"
    if (one["spent"]["prefix"] if prefix is None else prefix) >= _CLAIM * bridge:
        return "holds"
    return "cannot be told" if prefix is None else "does not hold"


def _time(one: Row, method: str) -> str:
    seconds = one["seconds"][method]
    return f"not in {one['spent'][method]:.0f} s" if seconds is None else f"in {seconds:.0f} s"
