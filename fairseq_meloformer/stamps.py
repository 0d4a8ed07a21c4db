"""Whether a file still has the content that it had when something was made of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

Stamp = dict[str, Any]
"""Size in bytes, time of the last change in ns and SHA-256, as it stands in a log."""


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def glance(path: Path) -> Stamp | None:
    """Size and time; None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return {"size": status.st_size, "time": status.st_mtime_ns}


def stamp(path: Path, before: Stamp | None) -> Stamp | None:
    """The stamp of a file that is as it was at a glance before the work; None if it is not, or cannot be read."""
    try:
        digest = sha256_file(path)
    except OSError:
        return None
    return {**before, "sha256": digest} if before is not None and glance(path) == before else None


def unchanged(path: Path, known: Stamp | None) -> bool:
    """Whether a file is as its stamp says: by size and time, and where only the time differs by its content."""
    now = glance(path)
    if now is None or known is None or now["size"] != known["size"]:
        return False
    return now["time"] == known["time"] or stamp(path, now) == {**now, "sha256": known["sha256"]}
