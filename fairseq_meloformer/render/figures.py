"""Figures without a window: where they are made and how they are kept."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.render.pictures import PAPER

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

_DPI: Final = 130


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The picture itself."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a PNG file."""
    drawn = png(figure)
    write_atomic(path, lambda file: file.write(drawn))
