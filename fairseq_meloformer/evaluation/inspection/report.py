"""The report as one HTML page that holds its pictures."""

import base64
import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #33373d;
       background: #fdfcf9; }
img { max-width: 100%; } table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #dcd8cc; }
td:first-child, th:first-child { text-align: left; } p { max-width: 48rem; }
"""


def page(found: Mapping[str, Any], drawn: Mapping[str, bytes]) -> str:
    """The whole page.

    Args:
        found: what `inspect.json` holds.
        drawn: PNG pictures by name.
    """
    body = "\n".join([*_summaries(found, drawn), *(_injection(found, drawn) if "perplexity" in found else [])])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Inspection of summaries</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _summaries(found: Mapping[str, Any], drawn: Mapping[str, bytes]) -> Iterator[str]:
    yield "<h1>Inspection of summaries</h1>"
    yield _text(
        f"{found['subject']}: {found['bars']} bars of {found['songs']} songs, measured {found['measured']}. "
        "All channels are in unit variance."
    )
    yield "<h2>How many dimensions are there?</h2>"
    yield _picture(drawn, "explained")
    rows = [(view["view"], view["for_90"], view["for_99"], len(view["explained"])) for view in found["components"]]
    yield _table(("", "components for 90 % of the variance", "for 99 %", "of"), rows)
    yield "<h2>What varies most?</h2>"
    yield _text("First two principal components of each layer; a point is a bar, its colour the attribute's rank.")
    yield _picture(drawn, "attributes")
    yield _text("The same; bars of one song are joined, in a colour of their own.")
    yield _picture(drawn, "songs")
    yield "<h2>Can attributes be read from a bar's summary?</h2>"
    yield _text(
        "Correlation of each attribute with what ridge regression reads from the summary, in songs that it has not "
        "seen. 1 is perfect, 0 is chance; a dash is an attribute that could not be measured in enough bars."
    )
    yield _picture(drawn, "decodability")
    last = [row for row in found["decodability"] if row["view"] == "all layers"]
    yield _table(
        ("all layers", "R²", "correlation", "held-out bars"),
        [(row["axis"], _number(row["r2"]), _number(row["correlation"]), row["bars"]) for row in last],
    )
    yield "<h2>Do bars with like summaries sound alike?</h2>"
    yield _text(
        "Difference between a bar and the bar of another song whose summary is nearest to its own, as a share of the "
        "difference between bars at random: 0 is alike, 1 is chance."
    )
    yield _table(("", "difference"), [(axis, _number(value)) for axis, value in found["nearest"].items()])
    if "nearest" in drawn:
        yield _text("A bar (left), and the nearest of other songs; drums in grey.")
        yield _picture(drawn, "nearest")


def _injection(found: Mapping[str, Any], drawn: Mapping[str, bytes]) -> Iterator[str]:
    yield "<h2>What does injection do to the prediction of real music?</h2>"
    yield _text(
        f"Perplexity of real songs. Identity (every summary in its own place) must change nothing. The others act in "
        f"scope {found['scope']}, in which zeros should do harm and a song's own summaries should help."
    )
    yield _table(
        ("injection", "scope", "perplexity", "largest change of a logit"),
        [
            (row["injection"], row["scope"] or "", f"{row['perplexity']:.3f}", f"{row['change']:.2g}")
            for row in found["perplexity"]
        ],
    )
    if found["late_bars"]:
        yield from _late_bars(found)
    if "music" not in found:
        return
    yield "<h2>What does it do to the music?</h2>"
    yield _text(
        "Correlation, over written pieces, of each attribute with that of the song whose summaries were injected. "
        "Without injection and with zeros it is chance."
    )
    yield _picture(drawn, "music")
    rows = found["music"]
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    means = {(row["injection"], row["axis"]): _number(row["mean"]) for row in rows}
    names = list(dict.fromkeys(row["injection"] for row in rows))
    yield _table(("mean of the pieces", *axes), [(name, *(means[name, axis] for axis in axes)) for name in names])


def _late_bars(found: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Does the model know its way in late bars?</h2>"
    yield _text(
        "Perplexity of the second halves of songs, as they stand and in songs that begin in the middle. Where bars are "
        "much harder to predict as they stand, the model has not learnt their numbers: convert it with --most-bars, "
        "and it composes longer pieces in passes."
    )
    yield _table(
        ("bars", "tokens", "as they stand", "from the middle on"),
        [
            (f"{row['first']} to {row['last']}", row["tokens"], _number(row["whole"]), _number(row["shortened"]))
            for row in found["late_bars"]
        ],
    )


def _text(words: str) -> str:
    return f"<p>{html.escape(words)}</p>"


def _picture(drawn: Mapping[str, bytes], name: str) -> str:
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(drawn[name]).decode()}">'


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [_row("th", head), *(_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def _row(kind: str, cells: Sequence[object]) -> str:
    return "<tr>" + "".join(f"<{kind}>{html.escape(str(cell))}</{kind}>" for cell in cells) + "</tr>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
