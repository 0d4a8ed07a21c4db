"""Piano rolls: a piece as a picture that can be read like a score, system under system."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np

from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.midi.writing import playable
from fairseq_meloformer.render.fonts import printable, typefaces
from fairseq_meloformer.render.roll import RollLayout

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from miditoolkit import MidiFile
    from numpy.typing import NDArray

PAPER: Final = "#fdfcf9"
INK: Final = "#33373d"
PALE: Final = "#8d929a"

HIT: Final = 0.18
"""Width of a drum hit, in quarters; kits ignore how long a note lasts."""

_BLACK_KEYS: Final = (1, 3, 6, 8, 10)
_DPI: Final = 130
# Inches.
_TITLE, _HEAD, _GAP, _FOOT, _LEFT, _RIGHT = 0.38, 0.72, 0.45, 0.35, 0.85, 0.3
_BAR_WIDTH, _LANE_HEIGHT = 0.82, 0.19


def piano_roll(midi: MidiFile, path: str | Path, title: str = "") -> None:
    """Draw `midi` into a PNG file: pitch over time, a colour for each instrument, loud notes darker, drums in lanes.

    Drawn are the notes that are written, see `playable`.
    `title` (the prompt, say) may hold Chinese if a font for it is found; characters that no font has are left out.

    Raises:
        InputError: if a note or a time signature of `midi` is out of MIDI's range.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    canvas = FigureCanvasAgg(Figure())
    _draw(canvas.figure, RollLayout.of(playable(midi)), printable(title))
    write_atomic(path, lambda file: canvas.print_figure(file, format="png", dpi=_DPI, facecolor=PAPER))


def _draw(figure: Figure, score: RollLayout, title: str) -> None:
    """The whole picture; `title` must be printable."""
    systems = score.systems()
    spans = [score.lines[last] - score.lines[first] for first, last in systems]
    bars = systems[0][1] - systems[0][0]
    wide = min(max(_BAR_WIDTH * bars, 6.5), 13.5)
    # A short piece may be tall; in a long one the whole counts.
    semitone, tallest = (0.085, 4.5) if len(systems) <= 2 else (0.055, 3.2)
    roll = min(max((score.high - score.low) * semitone, 1.7), tallest)
    kit = _LANE_HEIGHT * len(score.kit)
    width = _LEFT + wide + _RIGHT
    head = _HEAD + (_TITLE if title else 0)
    height = head + len(systems) * (roll + kit + _GAP) - _GAP + _FOOT
    figure.set_size_inches(width, height)

    def place(top: float, length: float, depth: float) -> Axes:
        """Axes `depth` inches high from `top` inches below the upper edge."""
        return figure.add_axes((_LEFT / width, 1 - (top + depth) / height, length / width, depth / height))

    for row, (first, last) in enumerate(systems):
        top = head + row * (roll + kit + _GAP)
        length = wide * spans[row] / max(spans)  # a quarter is as wide in a short last system as above it
        _draw_roll(place(top, length, roll), score, first, last)
        if score.kit:
            _draw_kit(place(top + roll, length, kit), score, first, last)
    _draw_head(figure, score, title)


def _draw_roll(axes: Axes, score: RollLayout, first: int, last: int) -> None:
    _draw_grid(axes, score, first, last)
    low, high = score.low, score.high
    for pitch in range(low, high + 1):
        if pitch % 12 in _BLACK_KEYS:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color="#f3f1ea", linewidth=0, zorder=0)
        if pitch % 12 == 0:
            axes.axhline(pitch - 0.5, color="#dcd8cc", linewidth=0.7, zorder=1)
    axes.set_ylim(low - 0.5, high + 0.5)
    octaves = range(-(-low // 12) * 12, high + 1, 12)
    axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    every = next(step for step in (1, 2, 4, 8) if (last - first) / step <= 16)
    labelled = range(first, last, every)
    for bar in labelled:
        axes.annotate(
            str(bar + 1), (score.lines[bar], 1), (2, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
            fontsize=7.5, color=PALE,
        )  # fmt: skip
    chosen = _sounding(score, first, last) & (score.lanes < 0)
    _draw_notes(axes, score, chosen, score.notes.pitch, score.notes.duration, 0.86)


def _draw_kit(axes: Axes, score: RollLayout, first: int, last: int) -> None:
    _draw_grid(axes, score, first, last)
    lanes = len(score.kit)
    for lane in range(0, lanes, 2):
        axes.axhspan(lane - 0.5, lane + 0.5, color="#f3f1ea", linewidth=0, zorder=0)
    axes.axhline(lanes - 0.5, color=PALE, linewidth=0.8)
    axes.set_ylim(-0.5, lanes - 0.5)
    axes.set_yticks(range(lanes), score.kit)
    chosen = _sounding(score, first, last) & (score.lanes >= 0)
    _draw_notes(axes, score, chosen, score.lanes, np.full(len(score.lanes), HIT), 0.62)


def _draw_grid(axes: Axes, score: RollLayout, first: int, last: int) -> None:
    """Bar lines and beats, and axes that stay in the background."""
    axes.set_facecolor("white")
    begin, end = score.lines[first], score.lines[last]
    axes.set_xlim(begin, end)
    if (last - first) <= 16:
        axes.vlines(
            np.arange(np.ceil(begin), end), 0, 1, "#efece4", linewidth=0.6, transform=axes.get_xaxis_transform()
        )
    axes.vlines(
        score.lines[first : last + 1],
        0,
        1,
        "#c3bfb3",
        linewidth=0.9,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
    )
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, labelsize=7.5, labelcolor=PALE, pad=5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _sounding(score: RollLayout, first: int, last: int) -> NDArray[np.bool_]:
    """Notes that are heard in these bars; one that is held over the end of a system appears in both."""
    begin, end = score.lines[first], score.lines[last]
    played = score.notes
    release = played.onset + np.maximum(played.duration, HIT)
    heard: NDArray[np.bool_] = (played.onset < end - 1e-6) & (release > begin + 1e-6)
    return heard


def _draw_notes(
    axes: Axes,
    score: RollLayout,
    chosen: NDArray[np.bool_],
    height: NDArray[np.int64],
    length: NDArray[np.float64],
    thickness: float,
) -> None:
    """Rectangles, the louder the darker; long notes below short ones and unisons inlaid, so that all can be seen."""
    from matplotlib.collections import PolyCollection  # noqa: PLC0415
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    order = np.flatnonzero(chosen)
    order = order[np.argsort(-length[order], kind="stable")]
    start, middle = score.notes.onset[order], height[order]
    # A hair's breadth before the next note, so that repeated notes stay apart.
    end = start + np.maximum(length[order] - 0.04, 0.08)
    half = thickness / 2 * 0.6 ** _covered(start, end, middle, score.names[order])
    low, high = middle - half, middle + half
    corners = np.stack([[start, low], [start, high], [end, high], [end, low]]).transpose(2, 0, 1)  # (notes, 4, 2)
    opacity = (0.25 + 0.75 * score.notes.velocity[order] / 127)[:, None]
    palette = {name: to_rgb(colour) for name, colour in score.colours.items()}
    colours = np.array([palette[name] for name in score.names[order]]).reshape(-1, 3)
    # Mixed with white here, and opaque on the page: transparent colours would turn muddy where notes meet.
    faces = colours * opacity + (1 - opacity)
    axes.add_collection(PolyCollection(list(corners), facecolors=faces, edgecolors="none", zorder=3), autolim=False)


def _covered(
    start: NDArray[np.float64], end: NDArray[np.float64], height: NDArray[np.int64], names: NDArray[np.str_]
) -> NDArray[np.int64]:
    """How many notes of other instruments lie at the same height under each note; notes come in drawing order."""
    depth = np.zeros(len(start), dtype=np.int64)
    for level in np.unique(height):
        here = np.flatnonzero(height == level)
        overlap = (start[here][:, None] < end[here]) & (end[here][:, None] > start[here])
        other = names[here][:, None] != names[here]
        depth[here] = np.tril(overlap & other, -1).sum(axis=1)
    return np.minimum(depth, 2)


def _draw_head(figure: Figure, score: RollLayout, title: str) -> None:
    """The title, what the piece is, and the instruments with their colours."""
    width, height = figure.get_size_inches()
    write = functools.partial(figure.text, _LEFT / width, va="center", parse_math=False)
    line = write(1 - 0.42 / height, title, fontsize=15, color=INK, family=typefaces())
    _shorten(line, (width - _LEFT - _RIGHT) * figure.dpi)
    row = 1 - (0.34 + (_TITLE if title else 0)) / height
    write(row, score.subtitle, fontsize=8.5, color=PALE)
    _draw_legend(figure, score, row)


def _shorten(line: Text, room: float) -> None:
    """Cut `line` until it is at most `room` pixels wide."""
    text = line.get_text()
    end = len(text)
    while line.get_window_extent().width > room:
        end -= 1 + end // 20
        line.set_text(f"{text[:end].rstrip()}…")


def _draw_legend(figure: Figure, score: RollLayout, row: float) -> None:
    """Names of the instruments, ending at the right edge."""
    from matplotlib.patches import Patch  # noqa: PLC0415

    names = list(score.colours)
    if not names:
        return
    width, _ = figure.get_size_inches()
    inches = sum(0.4 + 0.075 * len(name) for name in names)
    figure.legend(
        handles=[Patch(color=score.colours[name], label=name[0].upper() + name[1:]) for name in names],
        loc="center right",
        bbox_to_anchor=(1 - _RIGHT / width, row),
        borderaxespad=0,
        ncols=-(-len(names) // int(-(-inches // (width - 3.5)))),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=0.9,
        handleheight=0.9,
        columnspacing=1.3,
        handletextpad=0.5,
        borderpad=0,
    )
