"""Models by their id on the Hugging Face Hub: from the cache, else from the network, and never a pickle."""

import logging
import re
from functools import cache
from pathlib import Path
from typing import Final

from fairseq_meloformer.errors import InputError

# What ends in .pt is the path of a checkpoint, although there may be none.
_ID: Final = re.compile(r"(?!.*\.pt$)(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?")
_FILES: Final = ("*.safetensors", "*.json")


def local(model: str | Path) -> Path:
    """Where a model's files are on this machine.

    Args:
        model: a path; or an id `owner/name`, of one revision (a branch, a tag, a commit) `owner/name@revision`. A path
            that exists wins.

    Returns:
        The path; of an id the folder of its safetensors and JSON files. What is neither a path that exists nor an id
        comes back as it is, for its reader to refuse.

    Raises:
        InputError: an id that is neither on the Hub nor in the cache, or of a model that has no safetensors.
    """
    path, name = Path(model), _ID.fullmatch(str(model))
    if path.exists() or name is None:
        return path
    return _downloaded(name["repository"], name["revision"])


@cache
def _downloaded(repository: str, revision: str | None) -> Path:
    # Imported here: it takes a second, which those who compose with files need not spend.
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for every request
    called = f"{repository}@{revision}" if revision else repository
    try:
        folder = snapshot_download(repository, revision=revision, allow_patterns=list(_FILES), ignore_patterns=["*/*"])
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{called} must be a path that exists, or the id of a model on the Hugging Face Hub that can be reached or "
            f"was downloaded before: {reason}"
        ) from error
    if not (Path(folder) / "model.safetensors").is_file():
        raise InputError(
            f"{called} on the Hugging Face Hub must have model.safetensors and config.json, but has only "
            f"{sorted(file.name for file in Path(folder).glob('*')) or 'other files'}: `meloformer convert` makes them "
            "of a checkpoint"
        )
    return Path(folder)
