"""The picture of the report: what methods come to over their training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fairseq_meloformer.evaluation.methods.report import value_of
from fairseq_meloformer.render.figures import new_figure, save
from fairseq_meloformer.render.pictures import INK

if TYPE_CHECKING:
    from pathlib import Path

_COLOURS: Final = {
    "bridge": "#2f6f8f", "flow": "#3f9a84", "regression": "#c98a3b", "prefix": "#a8483f", "vae": "#7a4a78",
    "retrieval": "#5d6b2f", "mean": "#b9b3a4",
}  # fmt: skip


def draw(found: dict[str, Any], path: Path) -> None:
    """Curves over seconds of training: control of pieces, nats a token, error of plans."""
    figure = new_figure(12, 4)
    panels = (("heard", "control, heard"), ("nats", "nats a token"), ("plan_error", "error of standardised plans"))
    for axes, (measure, title) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axes.set_title(title, color=INK, loc="left", fontsize=11)
        axes.set_xlabel("processor seconds of training", color=INK)
        for method, curve in found["curves"].items():
            points = [(row["seconds"], value_of(row, measure)) for row in curve if value_of(row, measure) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=_COLOURS[method], label=method)
        for name, style in (("oracle", "--"), ("none", ":")):
            if (level := value_of(found["references"][name], measure)) is not None:
                axes.axhline(level, color=INK, linewidth=0.8, linestyle=style, label=name)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    save(figure, path)
