"""Reference models and cases of MuseFormer's golden numbers."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.model import MuseFormer

TINY = MuseFormerConfig(
    dim=64, ffn_dim=128, heads=4, token_dim=64, bar_dim=32, beat_dim=16, dropout=0, attention_dropout=0
)


def folder(shared: Path) -> Path:
    return shared / "museformer" / "golden"


def strip(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("decoder."): value for name, value in parameters.items()}


def tiny(shared: Path, dtype: torch.dtype = torch.float32) -> MuseFormer:
    """The 4-layer reference model."""
    model = MuseFormer(TINY)
    model.load_state_dict(strip(load_file(folder(shared) / "tiny4_unique_parameters.safetensors")), strict=False)
    return model.to(dtype).eval()


def full(dtype: torch.dtype = torch.float32) -> MuseFormer:
    """The published size, with weights by the recipe of the golden files' README."""
    model = MuseFormer(MuseFormerConfig())
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        x = np.random.RandomState(zlib.crc32(f"decoder.{name}".encode())).standard_normal(shape)
        if len(shape) == 1:
            x = 1 + 0.1 * x if "layer_norm" in name and name.endswith(".weight") else 0.1 * x
        else:
            x = x / np.sqrt(shape[1])
            if any(part in name for part in ("query_proj", "key_proj", "key2_proj")):
                x = 2 * x
        if name == "embed_regular_tokens.weight":
            x[1] = 0
        if name == "embed_summary_tokens.weight":
            x[0] = 0
        parameter.data.copy_(torch.from_numpy(x.astype(np.float32)))
    return model.to(dtype).eval()


def case(shared: Path, name: str) -> dict[str, torch.Tensor]:
    with np.load(folder(shared) / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def greedy(shared: Path, name: str) -> dict[str, list[int]]:
    return json.loads((folder(shared) / f"tiny4_greedy_{name}.json").read_text())
