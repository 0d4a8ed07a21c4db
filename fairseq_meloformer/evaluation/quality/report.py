"""From quartiles to a page of tables."""

from pathlib import Path
from typing import Any, Final

from fairseq_meloformer.render import markdown

_EXPLAINED: Final = (
    "Medians over pieces, each measured by itself, with lower and upper quartile; `real` are the held-out songs. "
    "Measures are defined in `fairseq_meloformer/measures`: harmony, repetition, structure. Notes shared with a "
    "training song are the longest run of a melody that one of the training passages has too, in whatever key."
)


def write_markdown(found: dict[str, Any], path: Path) -> None:
    """The report."""
    arms = found["arms"]
    settings = ", ".join(f"{name} {value}" for name, value in found["settings"].items())
    names = dict.fromkeys(name for arm in arms.values() for name in arm["measures"])
    head = ["", *(f"{name} ({arm['pieces']})" for name, arm in arms.items())]
    measures = [[name, *(_quartiles(arm["measures"].get(name)) for arm in arms.values())] for name in names]
    extremes = [[axis, *(f"{arm['extreme'][axis]:.1%}" for arm in arms.values())] for axis in arms["real"]["extreme"]]
    nats = found["distant bars"]
    bought = [["what distant bars buy", f"{nats['bars -1 and -2'] - nats['all near bars']:.3f}"]] if nats else []
    markdown.write(
        path,
        [
            "# Quality",
            "",
            f"{settings}. {_EXPLAINED}",
            "",
            *markdown.table(head, measures),
            *markdown.section(
                "Pieces outside the corpus' 1st to 99th percentile", markdown.table(["", *arms], extremes)
            ),
            *markdown.section(
                "Nats a token of held-out songs from bar 9 on",
                markdown.table(["read note by note", ""], [*([name, f"{n:.3f}"] for name, n in nats.items()), *bought]),
            ),
            *markdown.section(
                "Perplexity of held-out songs",
                markdown.table(["", ""], [[name, f"{value:.2f}"] for name, value in found["perplexity"].items()]),
            ),
        ],
    )


def _quartiles(one: dict[str, float] | None) -> str:
    if one is None:
        return "-"
    low, median, high = (f"{one[name]:.2f}".removeprefix("0") for name in ("low", "median", "high"))
    return f"{median} [{low} {high}]"
