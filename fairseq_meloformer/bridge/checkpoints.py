"""Bridges from wherever they are kept: the directory that is shipped, or a checkpoint of fairseq-train."""

from pathlib import Path
from typing import Any

import torch

from fairseq_meloformer import hub, weights
from fairseq_meloformer.bridge.model import Bridge, BridgeConfig
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.checkpoints import read_state

STATE = "bridge_config"
SECONDS = "processor_seconds"
_EXTRA, _AVERAGE = "_extra_state", "ema.average."


def load(path: str | Path, device: torch.device | str = "cpu") -> Bridge:
    """Read a bridge for use, by path or Hub id; of a checkpoint the average of its weights. Runs no code of a file.

    Raises:
        InputError: nothing that can be read as a bridge.
    """
    path = hub.local(path)
    if path.is_dir() or not path.exists():
        return Bridge.from_pretrained(path, device=device)
    state: dict[str, Any] = read_state(path)["model"]
    if not is_bridge(state):
        raise InputError(f"{path} must be a checkpoint of the task summary_bridge, but holds another model")
    average = {name.removeprefix(_AVERAGE): value for name, value in state.items() if name.startswith(_AVERAGE)}
    config = weights.checked(BridgeConfig, state[_EXTRA][STATE], str(path))
    bridge = weights.described(lambda: Bridge(config))
    weights.fill(bridge, average, str(path))
    return bridge.to(device).eval()


def progress(path: str | Path) -> tuple[int, float]:
    """Updates of a checkpoint of fairseq-train, and processor seconds of its training, all threads together."""
    state: dict[str, Any] = read_state(path)["model"]
    if not is_bridge(state):
        raise InputError(f"{path} must be a checkpoint of the task summary_bridge, but holds another model")
    return int(state["ema.updates"]), float(state[_EXTRA].get(SECONDS, 0.0))


def is_bridge(state: dict[str, Any]) -> bool:
    """Whether the parameters of a fairseq checkpoint are those of a bridge."""
    return isinstance(state.get(_EXTRA), dict) and STATE in state[_EXTRA]
