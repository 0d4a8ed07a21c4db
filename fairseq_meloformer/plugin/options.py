"""Command-line options as fields of fairseq's configuration classes."""

from dataclasses import field
from typing import Any

from fairseq_meloformer.errors import InputError


def option(default: Any, text: str) -> Any:  # noqa: ANN401  as dataclasses.field
    """A field with its default and what `--help` says of it."""
    return field(default=default, metadata={"help": text})


def refuse_half_precision(args: Any, model: str) -> None:  # noqa: ANN401  a Namespace or omegaconf
    """Refuse fairseq's ways to train in half precision.

    Raises:
        InputError: one of them is given.
    """
    if given := [f"--{name}" for name in ("fp16", "bf16", "amp") if getattr(args, name, False)]:
        raise InputError(
            f"{' and '.join(given)} must not be given to train a {model}: weights stay in float32, and products are in "
            "bfloat16 without being asked wherever that is faster"
        )
