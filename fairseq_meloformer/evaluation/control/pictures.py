"""Pictures of the control report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.render.figures import new_figure, save
from fairseq_meloformer.render.pictures import INK, PALE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

    from fairseq_meloformer.evaluation.control.scoring import Floats, Interval

_COLOURS: Final = {
    "text": "#2f6f8f", "shuffled": "#b9b3a4", "oracle": "#c98a3b", "full": "#7a4a78", "zh": "#a8483f", "en": "#3f6ea8"
}  # fmt: skip
_DARK: Final = 0.3  # of the heat map, from chance


def draw(found: dict[str, Any], folder: Path) -> None:
    """Write axes.png, languages.png, bars.png, and where there were sweeps scopes.png and strengths.png."""
    systems = found["systems"]
    bars = {}
    if bridge := systems.get("bridge"):
        bars = {"shuffled": bridge["shuffled"]["axes"], "text": bridge["axes"]}
    if "oracle" in found:
        bars["oracle"] = found["oracle"]["axes"]
    if "full" in systems:
        bars["full"] = systems["full"]["axes"]
    _picture(folder / "axes.png", lambda axes: _by_axis(axes, bars, "Pieces on the asked side (text: bridge only)"))
    title = "Chinese and English prompts, bridge only"
    _picture(folder / "languages.png", lambda axes: _by_axis(axes, bridge["languages"]["axes"], title))
    _picture(folder / "bars.png", lambda axes: _over_bars(axes, systems))
    if found["scopes"]:
        _picture(folder / "scopes.png", lambda axes: _heat(axes, found["scopes"]))
    if len(found["strengths"]) > 1:
        _picture(folder / "strengths.png", lambda axes: _strengths(axes, found["strengths"]))


def _picture(path: Path, paint: Callable[[Axes], None]) -> None:
    figure = new_figure(9, 4)
    paint(figure.add_subplot())
    save(figure, path)


def _frame(axes: Axes, title: str) -> None:
    axes.set_title(title, color=INK, loc="left", fontsize=11)
    axes.set_facecolor("white")
    axes.set_ylim(0, 1.02)
    axes.set_yticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    axes.axhline(0.5, color=PALE, linewidth=0.8, linestyle="--", zorder=0)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(axes: Axes) -> None:
    """Above the picture, at its right end, where nothing is drawn."""
    handles, names = axes.get_legend_handles_labels()
    axes.legend(
        handles, names, frameon=False, fontsize=9, ncols=len(names), loc="lower right", bbox_to_anchor=(1, 0.99),
        borderaxespad=0,
    )  # fmt: skip


def _numbers(intervals: list[Interval]) -> tuple[Floats, Floats]:
    """Values (intervals,), and the lengths of their error bars downwards and upwards (2, intervals); nothing is NaN."""
    low, value, high = (np.array([one[name] for one in intervals], float) for name in ("low", "value", "high"))
    return value, np.maximum([value - low, high - value], 0)


def _by_axis(axes: Axes, groups: dict[str, dict[str, Interval]], title: str) -> None:
    """Bars side by side for each axis, with intervals."""
    _frame(axes, title)
    width = 0.8 / max(1, len(groups))
    for number, (name, intervals) in enumerate(groups.items()):
        values, errors = _numbers([intervals[axis] for axis in AXES])
        places = np.arange(len(AXES)) + (number - (len(groups) - 1) / 2) * width
        axes.bar(
            places, values, width * 0.92, yerr=errors, color=_COLOURS[name], label=name, ecolor=INK,
            error_kw={"linewidth": 0.8},
        )  # fmt: skip
    axes.set_xticks(range(len(AXES)), AXES)
    _legend(axes)


def _over_bars(axes: Axes, systems: dict[str, Any]) -> None:
    _frame(axes, "Accuracy over the bars of a piece")
    for name, system in systems.items():
        windows = system["windows"]
        for arm, style in (("text", "-"), ("shuffled", ":")):
            values, errors = _numbers([row[arm] for row in windows.values()])
            colour = _COLOURS["text" if name == "bridge" else "full"]
            axes.errorbar(
                range(len(windows)), values, yerr=errors, color=colour, linestyle=style, marker="o", markersize=3,
                elinewidth=0.8, label=f"{name}, {arm}",
            )  # fmt: skip
        axes.set_xticks(range(len(windows)), list(windows))
    axes.set_xlabel("bars", color=INK)
    _legend(axes)


def _heat(axes: Axes, rows: list[dict[str, Any]]) -> None:
    scopes = list(dict.fromkeys(row["scope"] for row in rows))
    layers = list(dict.fromkeys("all" if row["layers"] is None else ",".join(map(str, row["layers"])) for row in rows))
    table = np.full((len(scopes), len(layers)), np.nan)
    for row in rows:
        layer = "all" if row["layers"] is None else ",".join(map(str, row["layers"]))
        value = row["text"]["value"]
        table[scopes.index(row["scope"]), layers.index(layer)] = np.nan if value is None else value
    axes.imshow(table, cmap="BrBG", vmin=0, vmax=1, aspect="auto")
    axes.set_title("Accuracy by scope and layer", color=INK, loc="left", fontsize=11)
    axes.set_xticks(range(len(layers)), [layer if layer == "all" else f"layer {layer}" for layer in layers])
    axes.set_yticks(range(len(scopes)), scopes)
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "white" if abs(value - 0.5) > _DARK else INK
            axes.text(column, row, f"{value:.0%}", ha="center", va="center", color=colour)


def _strengths(axes: Axes, rows: list[dict[str, Any]]) -> None:
    rows = sorted(rows, key=lambda row: float(row["strength"]))
    _frame(axes, "Accuracy by strength of the injection")
    for arm in ("text", "shuffled"):
        values, errors = _numbers([row[arm] for row in rows])
        axes.errorbar(
            [row["strength"] for row in rows], values, yerr=errors, color=_COLOURS[arm], marker="o", label=arm
        )
    axes.set_xlabel("strength", color=INK)
    _legend(axes)
