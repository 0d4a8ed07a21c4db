"""From measured pieces to the numbers of the control report, and to its table."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairseq_meloformer.evaluation.control.measure import WINDOW, span_name
from fairseq_meloformer.evaluation.control.scoring import Bootstrap, DirectionScore, is_right, medians
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.render import markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fairseq_meloformer.evaluation.control.measure import Condition, Row, WantedPiece
    from fairseq_meloformer.evaluation.control.scoring import Interval, Values
    from fairseq_meloformer.words.directions import LabelledPrompt

    Pieces = dict[tuple[Condition, str, int], Row]
    Wanted = Mapping[Condition, Sequence[WantedPiece]]
    Timelines = Mapping[str, Mapping[str, LabelledPrompt]]
    """What the sections of a timeline ask for, by its name and their bars ("1-8")."""

_OTHERS: Final = 8
"""Each prompt's directions are held against the pieces of so many other prompts."""
_EARLY, _LATE = (0, 4), (8, 16)


class _Scorer:
    """Scores of conditions against the medians of the pieces without injection."""

    def __init__(self, pieces: Pieces, wanted: Wanted, prompts: Mapping[str, LabelledPrompt]) -> None:
        self.pieces = pieces
        self.wanted = wanted
        self.prompts = prompts
        self.names = list(prompts)
        none = [row for (one, _, _), row in pieces.items() if one.arm == "none" and not one.full]
        self.whole = medians(row["attributes"] for row in none)
        spans = sorted({name for row in none for name in row["spans"]})
        self.middles: dict[str, Values] = {
            name: medians(row["spans"][name] for row in none if name in row["spans"]) for name in spans
        }

    def middle(self, condition: Condition, span: str | None) -> Values:
        """Medians over the bars in question: shorter pieces against the beginnings of those without injection."""
        if span is None:
            span = None if condition.bars is None else span_name((0, condition.bars))
        return self.middles.get(span or "", self.whole)

    def text(self, condition: Condition, *spans: str, seed: int | None = None) -> DirectionScore:
        """Pieces of a condition, or each of some spans of them, against the directions of their own prompts."""
        score = DirectionScore(self.names)
        for item in self.wanted.get(condition, ()):
            if item.prompt in self.prompts and seed in (None, item.seed):
                for span in spans or (None,):
                    self._add(score, item.prompt, condition, item, span)
        return score

    def shuffled(self, condition: Condition, span: str | None = None) -> DirectionScore:
        """Pieces of a condition against the directions of other prompts."""
        score = DirectionScore(self.names)
        items: dict[str, list[WantedPiece]] = {}
        for item in self.wanted.get(condition, ()):
            if item.prompt in self.prompts:
                items.setdefault(item.prompt, []).append(item)
        for name in items:
            rest = [other for other in items if other != name]
            for other in Random(name).sample(rest, min(_OTHERS, len(rest))):
                for item in items[other]:
                    self._add(score, name, condition, item, span, 1 / min(_OTHERS, len(rest)))
        return score

    def _add(
        self,
        score: DirectionScore,
        name: str,
        condition: Condition,
        item: WantedPiece,
        span: str | None,
        weight: float = 1.0,
    ) -> None:
        row = self.pieces.get((condition, item.prompt, item.seed))
        measured = None if row is None else row["attributes"] if span is None else row["spans"].get(span)
        score.add(name, self.prompts[name].directions, measured, self.middle(condition, span), weight)


def results(
    pieces: Pieces,
    prompts: Mapping[str, LabelledPrompt],
    wanted: Wanted,
    base: Condition,
    *,
    storms: Mapping[str, LabelledPrompt],
    exact: Mapping[str, Row],
    songs: Mapping[str, str],
    timelines: Timelines,
) -> dict[str, Any]:
    """All numbers of the report, ready for JSON.

    Args:
        pieces: what was composed.
        prompts: what each asks for.
        wanted: the items of each condition; those without a piece count as wrong.
        base: the text arm of bridge only.
        storms: what the two storms ask for.
        exact: prompts with exact requests.
        songs: which song the oracle follows for each prompt.
        timelines: pieces of several sections.
    """
    scorer = _Scorer(pieces, wanted, prompts)
    boot = Bootstrap(len(prompts))
    full = replace(base, full=True)
    short = _short(base, wanted)
    found: dict[str, Any] = {"medians": scorer.whole, "prompts": _prompts(prompts), "systems": {}}
    for name, condition in (("bridge", base), ("full", full)):
        if wanted.get(condition):
            found["systems"][name] = _system(scorer, boot, condition)
            found["systems"][name]["storms"] = _storms(scorer, short, storms, full=condition.full)
            found["systems"][name]["sections"] = _sections(scorer, short, timelines, full=condition.full)
    oracle = replace(base, arm="oracle")
    if songs:
        found["oracle"] = _oracle(scorer, boot, base, oracle) | {"songs": dict(songs)}
    if wanted.get(unplanned := replace(full, arm="none")):
        score = scorer.text(unplanned)
        adds = boot.difference(scorer.text(full), score)
        found["unplanned"] = {"mean": boot.mean(score), "axes": boot.axes(score), "plan_adds": adds}
    found["scopes"] = _sweep(
        scorer, boot, base, lambda condition: condition.scope is not None and condition.strength == 1
    )
    found["strengths"] = _sweep(
        scorer, boot, base, lambda condition: condition.scope is not None and condition.layers is None
    )
    exactly = replace(full, bars=None)
    if wanted.get(exactly):
        found["exact"] = _exact(pieces, exactly, wanted[exactly], exact)
    found["pieces"] = {"wanted": sum(map(len, wanted.values())), "made": len(pieces)}
    found["tokens_per_bar"] = _tokens_per_bar(pieces)
    return found


def _short(base: Condition, wanted: Wanted) -> list[Condition]:
    """Conditions that may hold the storms: bridge only and full system, of any length."""
    return [
        condition
        for condition in wanted
        if condition.arm == "text" and replace(condition, full=False, bars=base.bars) == base
    ]


def _prompts(prompts: Mapping[str, LabelledPrompt]) -> dict[str, Any]:
    asked = {axis: sum(axis in prompt.directions for prompt in prompts.values()) for axis in AXES}
    languages = {lang: sum(prompt.lang == lang for prompt in prompts.values()) for lang in ("zh", "en")}
    return {"count": len(prompts), "asked": asked, "languages": languages}


def _system(scorer: _Scorer, boot: Bootstrap, condition: Condition) -> dict[str, Any]:
    text, shuffled = scorer.text(condition), scorer.shuffled(condition)
    prompts = scorer.prompts

    def of(quality: str, value: str) -> DirectionScore:
        return text.only(lambda name: getattr(prompts[name], quality) == value)

    early, late = (scorer.text(condition, span_name(span)) for span in (_EARLY, _LATE))
    seeds = sorted({item.seed for item in scorer.wanted[condition] if item.prompt in prompts})
    found = {
        "mean": boot.mean(text),
        "axes": boot.axes(text),
        "shuffled": {"mean": boot.mean(shuffled), "axes": boot.axes(shuffled)},
        "lift": boot.difference(text, shuffled),
        "languages": {
            **{lang: boot.mean(of("lang", lang)) for lang in ("zh", "en")},
            "difference": boot.difference(of("lang", "zh"), of("lang", "en")),
            "axes": {lang: boot.axes(of("lang", lang)) for lang in ("zh", "en")},
        },
        "kinds": {kind: boot.mean(of("kind", kind)) for kind in ("stated", "implied")},
        "seeds": [boot.mean(scorer.text(condition, seed=seed))["value"] for seed in seeds],
        "windows": _windows(scorer, boot, condition),
    }
    if condition.bars is not None and condition.bars >= _LATE[1]:
        found["bars"] = {
            "1-4": boot.mean(early),
            "9-16": boot.mean(late),
            "difference": boot.difference(late, early),
            # What takes more bars to measure, as mode does, shows no better in more bars here.
            "by_windows": boot.difference(*(scorer.text(condition, *_windows_of(*span)) for span in (_LATE, _EARLY))),
        }
    return found


def _windows(scorer: _Scorer, boot: Bootstrap, condition: Condition) -> dict[str, dict[str, Interval]]:
    """Accuracy in windows of bars."""
    return {
        name: {"text": boot.mean(scorer.text(condition, name)), "shuffled": boot.mean(scorer.shuffled(condition, name))}
        for name in _windows_of(0, condition.bars or 0)
    }


def _windows_of(first: int, end: int) -> list[str]:
    """Names of the windows from a bar (from 0) to before another."""
    return [span_name((bar, bar + WINDOW)) for bar in range(first, end - WINDOW + 1, WINDOW)]


def _oracle(scorer: _Scorer, boot: Bootstrap, base: Condition, condition: Condition) -> dict[str, Any]:
    followed = {item.prompt for item in scorer.wanted[condition]}
    score = scorer.text(condition)
    # The gap is that of the prompts for which there is a song.
    text, shuffled = (part.only(lambda name: name in followed) for part in (scorer.text(base), scorer.shuffled(base)))
    return {
        "mean": boot.mean(score),
        "axes": boot.axes(score),
        "prompts": len(followed),
        "gap_closed": boot.gap_closed(text, shuffled, score),
    }


def _storms(
    scorer: _Scorer, conditions: Sequence[Condition], storms: Mapping[str, LabelledPrompt], *, full: bool
) -> dict[str, Any]:
    """Share of pieces of each storm on the asked side, by axis."""
    found: dict[str, Any] = {}
    for name, asked in storms.items():
        for condition in conditions:
            items = [item for item in scorer.wanted[condition] if item.prompt == name and condition.full == full]
            if not items:
                continue
            rows = [scorer.pieces.get((condition, name, item.seed)) for item in items]
            middle = scorer.middle(condition, None)
            shares = {}
            for axis, sign in asked.directions.items():
                right = [is_right(axis, sign, row and row["attributes"].get(axis), middle.get(axis)) for row in rows]
                shares[axis] = round(sum(right) / len(right), 4)
            found[asked.text] = {"pieces": len(items), **shares}
    return found


def _sections(scorer: _Scorer, conditions: Sequence[Condition], timelines: Timelines, *, full: bool) -> dict[str, Any]:
    """How sections of timelines follow their own text: right directions of all, and sections with most of them right.

    Beside it the same against the text of the piece's other section.
    """
    own: list[list[bool]] = []
    other: list[bool] = []
    for condition in (condition for condition in conditions if condition.full == full):
        for item in scorer.wanted[condition]:
            row = scorer.pieces.get((condition, item.prompt, item.seed))
            for span, section in product(timelines.get(item.prompt, {}), repeat=2):
                measured = {} if row is None else row["spans"].get(span, {})
                middle = scorer.middle(condition, span)
                asked = timelines[item.prompt][section].directions
                hits = [is_right(axis, sign, measured.get(axis), middle.get(axis)) for axis, sign in asked.items()]
                if section == span:
                    own.append(hits)
                else:
                    other += hits
    if not own:
        return {}
    return {
        "sections": len(own),
        "directions": round(float(np.mean([hit for hits in own for hit in hits])), 4),
        "obeying": round(float(np.mean([2 * sum(hits) > len(hits) for hits in own])), 4),
        "directions_of_the_other": round(float(np.mean(other)), 4),
    }


def _sweep(
    scorer: _Scorer, boot: Bootstrap, base: Condition, chosen: Callable[[Condition], bool]
) -> list[dict[str, Any]]:
    """Accuracy of the conditions of a sweep, and what the same pieces score on other prompts' directions."""
    return [
        {
            "scope": condition.scope,
            "layers": None if condition.layers is None else list(condition.layers),
            "strength": condition.strength,
            "text": boot.mean(scorer.text(condition)),
            "shuffled": boot.mean(scorer.shuffled(condition)),
        }
        for condition in scorer.wanted
        if condition.arm == "text" and not condition.full and condition != base and chosen(condition)
    ]


def _exact(
    pieces: Pieces, condition: Condition, items: Sequence[WantedPiece], exact: Mapping[str, Row]
) -> dict[str, Any]:
    """How often tempo, key and number of bars are kept, and the mean F1 of instruments."""
    tempo, key, bars, instruments = [], [], [], []
    for item in items:
        asked, row = exact[item.prompt], pieces.get((condition, item.prompt, item.seed))
        got = {} if row is None else row["attributes"]
        tempo.append("tempo" in got and abs(12 * math.log2(got["tempo"] / asked["tempo"])) <= 0.5)
        key.append(got.get("key") == asked["key"])
        bars.append(abs(got.get("bars", -9) - asked["length"]) <= 1)
        instruments.append(f1(asked["instruments"], got.get("instruments", [])))
    means = {"tempo": tempo, "key": key, "bars": bars, "instrument_f1": instruments}
    return {"prompts": len(items), **{name: round(float(np.mean(values)), 4) for name, values in means.items()}}


def f1(wanted: Sequence[int] | frozenset[int], found: Sequence[int]) -> float:
    """Harmonic mean of precision and recall of a set of instruments."""
    common = len(set(wanted) & set(found))
    return 2 * common / (len(set(wanted)) + len(set(found))) if common else 0.0


def _tokens_per_bar(pieces: Pieces) -> float:
    tokens = sum(int(row["tokens"]) for row in pieces.values())
    bars = sum(float(row["attributes"]["bars"]) for row in pieces.values())
    return round(tokens / max(1.0, bars), 1)


def write_markdown(found: dict[str, Any], path: Path) -> None:
    """The report as a page of tables."""
    prompts = found["prompts"]
    summary = (
        f"{prompts['count']} prompts ({prompts['languages']['zh']} Chinese), {found['pieces']['made']} pieces. An axis "
        "is right if a piece lies on the asked side of the same model's median without injection; failures are wrong; "
        "chance is 50 %. Intervals: 95 %, bootstrap over prompts."
    )
    markdown.write(
        path,
        [
            "# Control report",
            "",
            summary,
            "",
            *_systems(found),
            *_others(found),
            *markdown.section("By axis", _axes(found)),
            *markdown.section("Storms", _storm_table(found)),
            *markdown.section("Sections of timelines", _section_table(found)),
            *markdown.section("Scopes, layers, strengths (bridge only)", _sweep_table(found)),
        ],
    )


_LINES: Final[Mapping[str, Callable[[dict[str, Any]], str]]] = {
    "mean directional accuracy": lambda system: percent(system["mean"]),
    "shuffled": lambda system: percent(system["shuffled"]["mean"]),
    "lift over shuffled, points": lambda system: points(system["lift"]),
    "zh": lambda system: percent(system["languages"]["zh"]),
    "en": lambda system: percent(system["languages"]["en"]),
    "zh - en, points": lambda system: points(system["languages"]["difference"]),
    "stated prompts": lambda system: percent(system["kinds"]["stated"]),
    "implied prompts": lambda system: percent(system["kinds"]["implied"]),
    "bars 1-4": lambda system: percent(system["bars"]["1-4"]),
    "bars 9-16": lambda system: percent(system["bars"]["9-16"]),
    "bars 9-16 minus 1-4, points": lambda system: points(system["bars"]["difference"]),
    f"the same, {WINDOW} bars at a time": lambda system: points(system["bars"]["by_windows"]),
    "by seed": lambda system: ", ".join(f"{value:.1%}" for value in system["seeds"] if value is not None),
}


def _systems(found: dict[str, Any]) -> list[str]:
    systems = found["systems"]
    names = {"bridge": "bridge only", "full": "full system"}
    rows = [
        [title, *(show(system) if "bars" in system or "bars" not in title else "-" for system in systems.values())]
        for title, show in _LINES.items()
    ]
    return markdown.table(["", *(names[name] for name in systems)], rows)


def _others(found: dict[str, Any]) -> list[str]:
    """Oracle, decoding control alone, and exact requests: a line each."""
    lines = []
    if oracle := found.get("oracle"):
        closed = percent(oracle["gap_closed"])
        lines.append(f"* Oracle (plans of real songs, {oracle['prompts']} prompts): {percent(oracle['mean'])}.")
        lines.append(f"* Share of the gap from shuffled to oracle that the text closes, bridge only: {closed}.")
    if unplanned := found.get("unplanned"):
        adds = points(unplanned["plan_adds"])
        lines.append(f"* Decoding control without the plan: {percent(unplanned['mean'])}; the plan adds {adds} points.")
    if exact := found.get("exact"):
        kept = ", ".join(f"{name} {exact[name]:.1%}" for name in ("tempo", "key", "bars"))
        lines.append(
            f"* Exact requests, {exact['prompts']} prompts, full system: {kept} (tempo within its bin, bars +-1), "
            f"instruments F1 {exact['instrument_f1']:.3f}."
        )
    return [*lines, ""]


def _axes(found: dict[str, Any]) -> list[str]:
    columns: dict[str, dict[str, Interval]] = {}
    for name, system in found["systems"].items():
        columns |= {f"{name}, text": system["axes"], f"{name}, shuffled": system["shuffled"]["axes"]}
    columns |= {name: found[name]["axes"] for name in ("unplanned", "oracle") if name in found}
    asked = found["prompts"]["asked"]
    rows = [[axis, asked[axis], *(percent(column[axis]) for column in columns.values())] for axis in AXES]
    return markdown.table(["axis", "asked by", *columns], rows)


def _storm_table(found: dict[str, Any]) -> list[str]:
    rows = [
        [text, name, row["pieces"], ", ".join(f"{axis} {row[axis]:.0%}" for axis in AXES if axis in row)]
        for name, system in found["systems"].items()
        for text, row in system["storms"].items()
    ]
    return markdown.table(["prompt", "system", "pieces", "on the asked side"], rows)


def _section_table(found: dict[str, Any]) -> list[str]:
    shares = ("directions", "obeying", "directions_of_the_other")
    rows = [
        [name, row["sections"], *(f"{row[share]:.1%}" for share in shares)]
        for name, system in found["systems"].items()
        if (row := system["sections"])
    ]
    head = ["system", "sections", "right directions", "sections with most right", "directions of the other section"]
    return markdown.table(head, rows)


def _sweep_table(found: dict[str, Any]) -> list[str]:
    rows = []
    for row in [*found["scopes"], *(row for row in found["strengths"] if row["strength"] != 1)]:
        layers = "all" if row["layers"] is None else ", ".join(map(str, row["layers"]))
        rows.append([row["scope"], layers, f"{row['strength']:g}", percent(row["text"]), percent(row["shuffled"])])
    return markdown.table(["scope", "layers", "strength", "text", "shuffled"], rows)


def percent(interval: Interval) -> str:
    """A share with its interval, such as 83.1% [79%, 87%]."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    return "-" if value is None or low is None or high is None else f"{value:.1%} [{low:.0%}, {high:.0%}]"


def points(interval: Interval) -> str:
    """A difference with its interval in percentage points, such as +31.2 [27.0, 35.1]."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None or low is None or high is None:
        return "-"
    return f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
