"""Models as they are kept, config.json and model.safetensors, whatever a stranger's directory may hold.

Sizes are compared with the file before any memory is taken for them: a model is described on torch's meta device, and
gets its tensors when all of them fit.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fairseq_meloformer.errors import InputError

WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
LARGEST: Final = 1 << 20
"""Of any width, vocabulary and the like in a configuration."""
DEEPEST: Final = 1000
"""Of any number of layers, each of which is an object in memory whatever its width."""
_MOST_SHOWN: Final = 6

C = TypeVar("C")
M = TypeVar("M", bound=nn.Module)


def usable(device: str | torch.device) -> torch.device:
    """A device that PyTorch can calculate on here.

    Raises:
        InputError: it cannot.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"the device must be one that PyTorch can use here, received {str(device)!r}: {said}"
        ) from error
    return found


def read_fields(directory: Path) -> dict[str, Any]:
    """The object in config.json.

    Raises:
        InputError: it cannot be read, or is none.
    """
    path = directory / CONFIG
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} must be a JSON object, but cannot be read as one: {error}") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path} must be a JSON object, received {type(fields).__name__}")
    return fields


def checked(kind: type[C], fields: Mapping[str, Any], where: str) -> C:
    """A configuration, a dataclass, of what JSON made of one.

    Raises:
        InputError: fields that are missing, unknown, of another type or out of range, all of them at once.
    """
    try:
        text = json.dumps(fields, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: a configuration must be plain JSON, but {error}") from error
    try:
        return TypeAdapter(kind).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        found = [f"{'.'.join(map(str, fault['loc'])) or kind.__name__}: {fault['msg']}" for fault in error.errors()]
        more = [f"and {len(found) - _MOST_SHOWN} more"] if len(found) > _MOST_SHOWN else []
        raise InputError(f"{where}: {'; '.join([*found[:_MOST_SHOWN], *more])}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        InputError: it is none.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} must be a safetensors file, but cannot be read: {error}") from error


def described(make: Callable[[], M]) -> M:
    """A module on the meta device: shapes without memory, and no random numbers drawn."""
    with torch.device("meta"):
        return make()


def fill(module: nn.Module, tensors: Mapping[str, Tensor], where: str, canonical: Callable[[str], str] = str) -> None:
    """Give a module, possibly on the meta device, its parameters and buffers, in the types it has them in.

    Args:
        module: whose state is replaced.
        tensors: one for each name.
        where: they come from.
        canonical: the name among `tensors` of each of the module's.

    Raises:
        InputError: tensors that are missing, unknown, of another shape or kind or not finite, all of them at once.
    """
    expected = module.state_dict()
    named = {canonical(name): tensor for name, tensor in expected.items()}
    problems = [f"{name} is missing" for name in sorted(named.keys() - tensors.keys())]
    problems += [f"{name} is unknown" for name in sorted(tensors.keys() - named.keys())]
    full: dict[str, Tensor] = {}
    for name in sorted(named.keys() & tensors.keys()):
        own, received = named[name], tensors[name]
        if own.shape != received.shape:
            problems.append(f"{name} must be {tuple(own.shape)}, received {tuple(received.shape)}")
        elif not torch.can_cast(received.dtype, own.dtype):
            problems.append(f"{name} must be {own.dtype}, received {received.dtype}")
        else:
            full[name] = received.to(own.dtype)
            if not bool(full[name].isfinite().all()):
                problems.append(f"{name} must be finite as {own.dtype}, received NaN, infinity or a larger number")
    if problems:
        more = [f"and {len(problems) - _MOST_SHOWN} more"] if len(problems) > _MOST_SHOWN else []
        raise InputError(f"the weights of {where} do not fit: {'; '.join([*problems[:_MOST_SHOWN], *more])}")
    module.load_state_dict({name: full[canonical(name)] for name in expected}, assign=True)
