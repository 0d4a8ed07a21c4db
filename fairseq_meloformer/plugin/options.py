"""Command-line options as fields of fairseq's configuration classes."""

from dataclasses import field
from typing import Any


def option(default: Any, text: str) -> Any:  # noqa: ANN401  as dataclasses.field
    """A field with its default and what `--help` says of it."""
    return field(default=default, metadata={"help": text})
