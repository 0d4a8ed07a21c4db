"""Hostile models: directories and checkpoints that lie, each read or refused in a sentence, in little memory.

python -m tests.campaigns.models --cases 2000
"""

import json
import pickle
import random
import resource
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.museformer import MuseFormer
from tests.campaigns import campaign
from tests.injection import models

_ABSURD: tuple[Any, ...] = (
    *(-1, 0, 1, 3, 10**6, 10**9, 10**30, 0.5, 1e308, float("nan"), float("inf"), True, None, "", "8", "\ud800", [], {}),
    *([1], [[]], [0, 10**12], {"a": 1}, "x" * 10**5, [0] * 10**4),
)
_MOST_MEMORY = 512  # MiB that all cases together may add; each model has less than one


class _Runs:
    """What a pickle would call when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (campaign.folder() / "ran",)


@cache
def _originals() -> dict[str, Path]:
    found = {"museformer": campaign.folder() / "museformer", "bridge": campaign.folder() / "bridge"}
    models.museformer().save_pretrained(found["museformer"])
    models.bridge().save_pretrained(found["bridge"])
    MuseFormer.from_pretrained(found["museformer"])  # imports what the first reading of a process needs
    return found


def _config(directory: Path, rng: random.Random) -> None:
    """Make a field of the configuration absurd, or the text no JSON."""
    path = directory / "config.json"
    fields = json.loads(path.read_text())
    kind = rng.randrange(5)
    if kind == 0:
        path.write_bytes(campaign.mutated(path.read_bytes(), rng))
        return
    if kind == 1:
        path.write_text(rng.choice(("", "[]", "null", "[" * 5000, '{"a":' * 5000, "1" * 5000, "\ufeff{}")))
        return
    inner = fields
    while True:
        name = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        if not isinstance(inner[name], dict | list) or not inner[name] or rng.random() < 0.3:
            break
        inner = inner[name]
    if kind == 2:
        del inner[name]
    elif kind == 3 and isinstance(inner, dict):
        inner[f"{name}_"] = rng.choice(_ABSURD)
    else:
        inner[name] = rng.choice(_ABSURD)
    path.write_text(json.dumps(fields))


def _weights(directory: Path, rng: random.Random) -> None:
    """Damage the file of weights, or make it a whole one of other weights."""
    path = directory / "model.safetensors"
    content = path.read_bytes()
    kind = rng.randrange(6)
    if kind == 0:
        path.write_bytes(campaign.mutated(content[:2000], rng) + content[2000:])
    elif kind == 1:
        path.write_bytes(content[: rng.randrange(len(content))])
    elif kind == 2:
        path.write_bytes(rng.choice((0, 1, 100, 2**40, 2**63)).to_bytes(8, "little") + content[8:])
    else:
        tensors = load(content)
        name = rng.choice(sorted(tensors))
        if kind == 3:
            tensors[name] = torch.full_like(tensors[name], rng.choice((float("nan"), float("inf"), -float("inf"))))
        elif kind == 4:
            tensors[name] = rng.choice((torch.zeros(0), torch.zeros(3, 1, 7), torch.zeros(tensors[name].shape).int()))
        else:
            tensors[rng.choice((name + "_", "", "解", "a" * 1000))] = tensors.pop(name)
        path.write_bytes(save(tensors))


def _checkpoint(rng: random.Random) -> Path:
    """A file that calls itself a checkpoint of fairseq."""
    path = campaign.folder() / "checkpoint.pt"
    made: Any = rng.choice(
        (
            "no checkpoint",
            {"model": {}},
            {"model": {}, "args": None},
            {"model": [], "cfg": {}},
            {"model": {"decoder.embed_regular_tokens.weight": torch.zeros(3)}, "args": {"arch": "x"}},
            {"model": {"a": rng.choice(_ABSURD)}, "cfg": {"model": rng.choice(_ABSURD)}},
            {"model": {}, "args": _Runs()},
        )
    )
    kind = rng.randrange(4)
    if kind == 0:
        path.write_text(rng.choice(("", "text named .pt", "PK\x03\x04", "\x80\x02.")), encoding="latin-1")
    elif kind == 1:
        path.write_bytes(pickle.dumps(made))
    else:
        torch.save(made, path)
        if kind == 3:
            path.write_bytes(campaign.mutated(path.read_bytes(), rng))
    return path


def case(rng: random.Random) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    name = rng.choice(("museformer", "museformer", "bridge"))
    directory = campaign.folder() / "hostile"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(_originals()[name], directory)
    try:
        if name == "museformer" and rng.random() < 0.2:
            MuseFormer.from_pretrained(_checkpoint(rng))
        else:
            rng.choice((_config, _weights))(directory, rng)
            (MuseFormer if name == "museformer" else Bridge).from_pretrained(directory)
    finally:
        if (campaign.folder() / "ran").exists():
            raise AssertionError("a pickle ran")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        if grown > _MOST_MEMORY:
            raise AssertionError(f"took {grown} MiB")
    return "read, since it was harmless"


if __name__ == "__main__":
    campaign.main(case, 200)
