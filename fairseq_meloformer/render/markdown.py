"""Pages of text and tables, in Markdown."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fairseq_meloformer.jobs import write_atomic


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table and an empty one after it; none of a table without rows. Thousands are set apart."""
    lines = [_line(row) for row in rows]
    return [_line(head), "|---" * len(head) + "|", *lines, ""] if lines else []


def section(title: str, lines: Sequence[str]) -> list[str]:
    """Lines under a heading; none if there are none."""
    return [f"## {title}", "", *lines] if lines else []


def write(path: Path, lines: Iterable[str]) -> None:
    """Write a page."""
    text = "\n".join(lines).rstrip("\n") + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


def _line(cells: Sequence[object]) -> str:
    return (
        "| "
        + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", "/") for cell in cells)
        + " |"
    )
