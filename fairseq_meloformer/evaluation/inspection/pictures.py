"""Pictures of the report, as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.midi.files import notes
from fairseq_meloformer.midi.metre import POSITIONS, length_of
from fairseq_meloformer.render.figures import new_figure, png
from fairseq_meloformer.render.pictures import INK, PALE
from fairseq_meloformer.tokens import remi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from fairseq_meloformer.evaluation.inspection.music import InspectedSong
    from fairseq_meloformer.evaluation.inspection.probes import Floats

_POINTS: Final = 2500  # of a scatter picture; more is only slower
_SONGS: Final = 10  # that have a colour


def by_attribute(found: Sequence[dict[str, Any]], attributes: Floats) -> bytes:
    """First two components of every view (rows), coloured by the rank of every attribute (columns)."""
    figure, axes = _grid(len(found), len(AXES), 1.5)
    chosen = _thinned(len(attributes))
    for row, view in enumerate(found):
        points = view["coordinates"][chosen]
        for column, axis in enumerate(AXES):
            values = attributes[chosen, column]
            known = ~np.isnan(values)
            cell = _bare(axes[row][column], axis if row == 0 else "", view["view"] if column == 0 else "")
            cell.scatter(points[~known, 0], points[~known, 1], s=1, color="#e4e1d8")
            ranks = _ranks(values[known])
            cell.scatter(points[known, 0], points[known, 1], s=2, c=ranks, cmap="viridis", linewidths=0)
    return png(figure)


def by_song(found: Sequence[dict[str, Any]], songs: Tensor) -> bytes:
    """First two components of every view, with the bars of a few songs in colours."""
    figure, axes = _grid(1, len(found), 2.4)
    numbers = songs.numpy()
    coloured = np.unique(np.linspace(0, numbers.max(), _SONGS).round().astype(int))
    for column, view in enumerate(found):
        cell = _bare(axes[0][column], view["view"], "")
        points = view["coordinates"]
        others = points[_thinned(len(points))]
        cell.scatter(others[:, 0], others[:, 1], s=1, color="#e4e1d8")
        for place, song in enumerate(coloured):
            own = points[numbers == song]
            cell.plot(*own.T, marker="o", markersize=2, linewidth=0.6, color=f"C{place}")
    return png(figure)


def explained(found: Sequence[dict[str, Any]]) -> bytes:
    """Explained variance against the number of components."""
    figure, axes = _grid(1, 1, 4.2, 2.8)
    for view in found:
        shares = view["explained"]
        axes[0][0].plot(range(1, len(shares) + 1), shares, label=view["view"], linewidth=1.2)
    axes[0][0].set(xscale="log", ylim=(0, 1.02), xlabel="components", ylabel="share of variance")
    axes[0][0].legend(frameon=False, fontsize=7)
    axes[0][0].grid(color="#efece4")
    return png(figure)


def heat(rows: Sequence[dict[str, Any]], across: str, value: str) -> bytes:
    """A table of numbers in -1..1 as colours: `across` by axis."""
    names = list(dict.fromkeys(row[across] for row in rows))
    table = np.full((len(names), len(AXES)), np.nan)
    for row in rows:
        if row[value] is not None:
            table[names.index(row[across]), AXES.index(row["axis"])] = row[value]
    figure, axes = _grid(1, 1, 7.0, 0.7 + 0.34 * len(names))
    cell = axes[0][0]
    cell.imshow(table, vmin=-1, vmax=1, cmap="RdYlGn", aspect="auto")
    cell.set_xticks(range(len(AXES)), AXES)
    cell.set_yticks(range(len(names)), names)
    cell.tick_params(length=0)
    for place, number in np.ndenumerate(table):
        text = "–" if np.isnan(number) else f"{number:.2f}"
        cell.text(place[1], place[0], text, ha="center", va="center", fontsize=7.5, color=INK)
    return png(figure)


def nearest(songs: Sequence[InspectedSong], places: Sequence[Sequence[tuple[int, int]]]) -> bytes:
    """Rows of bars as small piano rolls: a bar, and the bars of other songs nearest to it; (song, bar) each."""
    figure, axes = _grid(len(places), len(places[0]), 2.2, 1.3)
    for row, group in zip(axes, places, strict=True):
        for column, (cell, (song, bar)) in enumerate(zip(row, group, strict=True)):
            _roll(cell, remi.bars(songs[song].tokens)[bar], songs[song].metre)
            label = "" if column == 0 else "nearest " * (column == 1)
            cell.set_title(f"{label}{songs[song].id[-26:]}, bar {bar + 1}", fontsize=5.5, color=PALE, parse_math=False)
    return png(figure)


def _roll(axes: Axes, bar: Sequence[str], metre: str) -> None:
    played, quarters = notes(remi.decode(bar, metre)), length_of(metre) / POSITIONS
    drums = played.program == 128
    ends = np.minimum(played.onset + played.duration, quarters)
    for chosen, colour in ((~drums, "#3f74b5"), (drums, "#b9b4a6")):
        axes.hlines(played.pitch[chosen], played.onset[chosen], ends[chosen], color=colour, linewidth=1.6)
    _bare(axes, "", "").set(xlim=(0, quarters), ylim=(24, 96))


def _grid(
    rows: int, columns: int, width: float, height: float | None = None
) -> tuple[Figure, Sequence[Sequence[Axes]]]:
    figure = new_figure(columns * width, rows * (height or width))
    axes: Sequence[Sequence[Axes]] = figure.subplots(rows, columns, squeeze=False).tolist()
    return figure, axes


def _bare(axes: Axes, title: str, label: str) -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=8, color=INK)
    axes.set_ylabel(label, fontsize=8, color=INK)
    for spine in axes.spines.values():
        spine.set_color("#dcd8cc")
    return axes


def _ranks(values: Floats) -> Floats:
    ranks: Floats = values.argsort().argsort() / max(1, len(values) - 1)
    return ranks


def _thinned(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(np.int64))
