"""Reading and writing models: fairseq checkpoints in, `model.safetensors` + `config.json` in and out.

Nothing here executes code from a file: pickles go through torch's weights-only reader with a handful of harmless types.
"""

import argparse
import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy._core.multiarray import scalar as numpy_scalar  # where numpy itself says that its pickles come from
from torch import Tensor, nn

from fairseq_meloformer import hub, weights
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.museformer.arguments import config_from_arguments, vocabulary_of
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.tokens.vocabulary import Vocabulary
from fairseq_meloformer.weights import CONFIG, WEIGHTS

LAST = "checkpoint_last.pt"
EMBEDDING = "embed_regular_tokens.weight"
PREFIX = "decoder."
"""What fairseq puts in front of the names of a language model's parameters."""

SAFE_TYPES: tuple[Any, ...] = (
    argparse.Namespace,  # fairseq's arguments: `args` in 0.10, parts of `cfg` since 0.12
    # A meter or a loss is sometimes a numpy number; numpy 1 had its scalars elsewhere.
    numpy_scalar,
    (numpy_scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
)
"""All that a checkpoint may hold besides tensors and Python's plain values."""

_TWO_NAMES = r"_(?:query_proj|key_proj|value_proj|out_proj|self_attn_layer_norm|fc1|fc2|final_layer_norm)\."
_ALIAS, _SHARED = (re.compile(rf"(layers\.\d+\.(?:self_attn\.)?){stream}({_TWO_NAMES})") for stream in ("sum", "reg"))


@dataclass(frozen=True)
class Loaded:
    """A model as it was read.

    Attributes:
        config: what it is made of.
        parameters: distinct parameters by their core name (no `decoder.`, `reg_*` for shared ones).
    """

    config: MuseFormerConfig
    parameters: dict[str, Tensor]


def canonical(name: str) -> str:
    """The one name of a parameter: without `decoder.`, and `reg_*` where both streams share it."""
    return _ALIAS.sub(r"\1reg\2", name.removeprefix(PREFIX))


def with_aliases(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Distinct parameters under all names that a fairseq checkpoint has for them: `decoder.`, `reg_*` and `sum_*`."""
    named = {PREFIX + name: tensor for name, tensor in parameters.items()}
    aliases = {name: _SHARED.sub(r"\1sum\2", name) for name in named}
    return named | {alias: named[name] for name, alias in aliases.items()}


def load(path: str | Path, vocabulary: Vocabulary | None = None) -> Loaded:
    """Read a directory with model.safetensors and config.json, its model.safetensors, or a fairseq checkpoint.

    Args:
        path: file or directory, or a Hub id.
        vocabulary: that a fairseq checkpoint was trained with, if it has another size than the two that MuseFormer was
            published with; a directory says itself which one it needs.

    Raises:
        InputError: nothing there that can be read, with what is missing and what to do; a variant of MuseFormer that
            this implementation does not have; a pickle that holds more than numbers and arguments; another vocabulary.
    """
    path = hub.local(path)
    if path.is_dir() or path.name == WEIGHTS:
        return _load_directory(path if path.is_dir() else path.parent, vocabulary)
    if not path.is_file():
        raise InputError(f"a MuseFormer must be a directory with {WEIGHTS} and {CONFIG} or a fairseq .pt; no {path}")
    return _from_state(path, read_state(path, mmap=True), vocabulary)


def read_state(path: str | Path, *, mmap: bool = False) -> dict[str, Any]:
    """The content of a fairseq checkpoint, read without running anything that is in it.

    Args:
        path: the .pt file.
        mmap: leave tensors on disk until they are used. Not for files that may be rewritten meanwhile.

    Raises:
        InputError: no checkpoint, or one that holds other types than `SAFE_TYPES`.
    """
    try:
        with torch.serialization.safe_globals(list(SAFE_TYPES)), warnings.catch_warnings():
            # A pickle of another protocol is either read or refused; the user need not hear of it.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} was not loaded: {_refusal(path)}") from error
    except Exception as error:  # a broken or hostile file makes torch raise whatever it likes
        raise InputError(f"{path} must be a fairseq checkpoint, but cannot be read as one: {error!r}") from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), Mapping):
        found = f"entries like {sorted(map(str, state))[:3]}" if isinstance(state, dict) else type(state).__name__
        raise InputError(f"{path} must be a fairseq checkpoint with 'model' and 'args' or 'cfg', but holds {found}")
    if other := [name for name in state["model"] if not isinstance(name, str)]:
        raise InputError(f"{path} must hold parameters by their names, which are strings, but {other[:3]} are none")
    return state


def _refusal(path: str | Path) -> str:
    """What a pickle wants to run, if that can be told without running it."""
    try:
        with torch.serialization.safe_globals(list(SAFE_TYPES)):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001  not even a well-formed archive
        names = []
    if not names:
        return "it must be a fairseq checkpoint (.pt), but is no file that torch.save wrote"
    return (
        f"it asks for {', '.join(names)}, which may run code. A fairseq checkpoint needs only tensors, plain values "
        "and argparse.Namespace; if you trust its source, save it again with these parts removed"
    )


def _from_state(path: Path, state: Mapping[str, Any], vocabulary: Vocabulary | None) -> Loaded:
    arguments = _arguments(path, state)
    if other := [name for name, value in state["model"].items() if not isinstance(value, Tensor)]:
        raise InputError(f"{path} must hold a MuseFormer, whose parameters are tensors; {other[:3]} are none")
    parameters = _distinct(path, state["model"])
    embedding = parameters.get(EMBEDDING)
    if embedding is None or not embedding.dim():
        raise InputError(
            f"{path} must hold a MuseFormer (arch museformer_lm...), but is of arch "
            f"{arguments.get('arch', 'unknown')!r} with parameters like {sorted(parameters)[:3]}"
        )
    vocabulary = vocabulary or vocabulary_of(len(embedding))
    if vocabulary is None or len(vocabulary) != len(embedding):
        known = f"the given vocabulary has {len(vocabulary)}" if vocabulary else "published ones have 560 or 1024"
        raise InputError(
            f"{path} was trained with {len(embedding)} symbols, but {known}; give its dict.txt by "
            f"meloformer convert {path} DIR --dict dict.txt, and then use DIR"
        )
    try:
        config = config_from_arguments(arguments, vocabulary)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} must have the arguments of a MuseFormer's training, but {error}") from error
    # Copies: the file may be rewritten while the model is in use.
    parameters = {name: tensor.clone() for name, tensor in parameters.items()}
    return Loaded(config, parameters)


def _arguments(path: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of training: `args` in fairseq 0.10, parts of `cfg` since 0.12."""
    if isinstance(state.get("args"), argparse.Namespace):
        return dict(vars(state["args"]))
    cfg = state.get("cfg")
    if isinstance(cfg, Mapping):
        parts = [cfg.get("task"), cfg.get("model")]
        merged: dict[str, Any] = {}
        for part in parts:
            if isinstance(part, argparse.Namespace | Mapping):
                merged |= vars(part) if isinstance(part, argparse.Namespace) else part
        return merged
    raise InputError(f"{path} must say how it was trained in 'args' or 'cfg', but holds only {sorted(map(str, state))}")


def _distinct(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each distinct parameter once.

    Raises:
        InputError: two names of one parameter have different values.
    """
    parameters: dict[str, Tensor] = {}
    for name, tensor in state.items():
        first = parameters.setdefault(canonical(name), tensor)
        if first.data_ptr() != tensor.data_ptr() and not torch.equal(first, tensor):
            raise InputError(
                f"{path}: {name} and {canonical(name)} must be one parameter (--share-* and --attn-share-* true), "
                "but differ; MeloFormer has museformer_lm_v2s1 as it was published"
            )
    return parameters


def _load_directory(directory: Path, vocabulary: Vocabulary | None) -> Loaded:
    for needed in (WEIGHTS, CONFIG):
        if not (directory / needed).is_file():
            raise InputError(_missing(directory, needed))
    config = weights.checked(MuseFormerConfig, weights.read_fields(directory), str(directory / CONFIG))
    if vocabulary is not None:
        if len(vocabulary) != config.vocabulary_size or config.vocabulary_sha256 not in {"", vocabulary.sha256}:
            raise InputError(
                f"the vocabulary of {directory} must be the one that it was trained with, "
                f"{config.vocabulary_sha256[:12] or 'unknown'} ({config.vocabulary_size} symbols), "
                f"received {vocabulary.sha256[:12]} ({len(vocabulary)} symbols)"
            )
        config = replace(config, vocabulary_sha256=vocabulary.sha256)
    return Loaded(config, _distinct(directory, weights.read_tensors(directory / WEIGHTS)))


def _missing(directory: Path, needed: str) -> str:
    there = sorted(entry.name for entry in directory.iterdir())
    found = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "") if there else "nothing"
    checkpoints = [name for name in there if name.endswith(".pt")]
    hint = "give the path of a fairseq .pt or of a directory made by `meloformer convert CHECKPOINT DIR`"
    started = sorted(directory.glob(f"*/{LAST}"), key=lambda path: path.stat().st_mtime)
    if started and not checkpoints:
        hint = f"a training was stopped here: use {started[-1]} itself, or end the training"
    if checkpoints:
        best = next((name for name in ("checkpoint_best.pt", LAST) if name in checkpoints), checkpoints[-1])
        hint = f"use {directory / best} itself, or run: meloformer convert {directory / best} {directory}"
    return f"{directory} must hold {WEIGHTS} and {CONFIG}, but {needed} is missing (there is {found}); {hint}"


def assign(model: nn.Module, parameters: Mapping[str, Tensor], where: str = "a MuseFormer") -> None:
    """Give a model (possibly on the meta device) these parameters, in float32.

    Raises:
        InputError: see `weights.fill`.
    """
    weights.fill(model, parameters, where, canonical)


def save(directory: str | Path, config: MuseFormerConfig, state: Mapping[str, Tensor]) -> None:
    """Write model.safetensors (each distinct parameter once) and config.json; other files there stay as they are."""
    directory = Path(directory)
    parameters = {name: tensor.detach().cpu().contiguous() for name, tensor in _distinct(directory, state).items()}
    payload = safetensors.torch.save(parameters, metadata={"format": "pt"})
    write_atomic(directory / WEIGHTS, lambda file: file.write(payload))
    write_atomic(directory / CONFIG, lambda file: file.write(config.to_json().encode() + b"\n"))


def model_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a model's parameters, the same for every form it is stored in.

    Args:
        state: parameters under fairseq's or the core's names, aliases or not; their values count as float32.
    """
    parameters = {canonical(name): tensor for name, tensor in state.items()}
    digest = hashlib.sha256()
    for name in sorted(parameters):
        tensor = parameters[name].detach().cpu().float().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()
