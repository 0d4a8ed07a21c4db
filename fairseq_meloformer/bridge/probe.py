"""The probe: what frozen text states say about the eight control axes, each in [-1, 1], near 0 where nothing is asked.

Small on purpose. It shows what the encoder knows of a prompt before any music is made, so that a prompt that is not
obeyed can be told from one that was not understood.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fairseq_meloformer.bridge import encoders
from fairseq_meloformer.bridge.embeddings import TextEncoder, TextStates
from fairseq_meloformer.bridge.standardise import TextStandardiser
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic, write_json
from fairseq_meloformer.music.attributes import AXES

DEFAULT: Final = Path(__file__).parents[1] / "pretrained" / "probe"
TRAINING: Final = "scripts/train_probe.sh"


@dataclass(frozen=True)
class ProbeConfig:
    """Shape of a probe, and the text encoder whose states it reads.

    Attributes:
        encoder: specification as `encoders.load` takes it.
        encoder_identity: of the encoder in training; another one's states mean something else.
        text_dim: width of the states.
        width: width of the part that reads token by token.
        layers: attention layers of that part.
        heads: attention heads of that part.
        dropout: in training.
    """

    encoder: str = "e5-small"
    encoder_identity: str = ""
    text_dim: int = 384
    width: int = 128
    layers: int = 1
    heads: int = 4
    dropout: float = 0.3


class Probe(nn.Module):
    """Two readings added up, then tanh.

    A linear map of the pooled text, which holds what a scene is like; and one attention layer over the tokens with a
    query for each axis, which finds out what a "not" or "less" stands before.
    """

    def __init__(self, config: ProbeConfig, encoder: TextEncoder | None = None) -> None:
        super().__init__()
        self.config = config
        self.text = TextStandardiser(config.text_dim)
        self.pooled = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.text_dim, len(AXES)))
        self.tokens = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.text_dim, config.width))
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 2 * config.width, config.dropout, batch_first=True, norm_first=True
        )
        self.mixing = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.queries = nn.Parameter(torch.randn(len(AXES), config.width) / config.width**0.5)
        self.out = nn.Parameter(torch.zeros(len(AXES), config.width))
        if encoder is not None:
            self.encoder = self._checked(encoder)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The frozen text encoder, loaded when the first text comes."""
        return self._checked(encoders.load(self.config.encoder))

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> Tensor:
        """Values (batch, 8) of at least one text, in [-1, 1] and in the order of AXES."""
        values: Tensor = self(self.encoder.encode(texts))
        return values

    def forward(self, text: TextStates) -> Tensor:
        """Values (batch, 8) of encoded texts."""
        states, mask, pooled = self.text(text)
        x = self.mixing(self.tokens(states), src_key_padding_mask=~mask)
        scores = (self.queries @ x.transpose(1, 2)).masked_fill(~mask[:, None], -torch.inf)
        found = scores.softmax(-1) @ x  # (batch, axes, width)
        values: Tensor = torch.tanh(self.pooled(pooled) + (found * self.out).sum(-1))
        return values

    def save_pretrained(self, directory: str | Path) -> None:
        """Write ``model.safetensors`` (half precision) and ``config.json``; the text encoder is not written."""
        weights = {name: tensor.detach().half().contiguous() for name, tensor in self.state_dict().items()}
        write_atomic(Path(directory) / "model.safetensors", lambda file: file.write(save(weights)))
        write_json(Path(directory) / "config.json", {"kind": "probe", "axes": AXES, **dataclasses.asdict(self.config)})

    @classmethod
    def from_pretrained(cls, directory: str | Path = DEFAULT, *, encoder: TextEncoder | None = None) -> Self:
        """Read what ``save_pretrained`` wrote, ready for use.

        Raises:
            InputError: a file is missing or not a probe's, or the encoder is another than in training.
        """
        directory = Path(directory)
        for name in ("config.json", "model.safetensors"):
            if not (directory / name).is_file():
                there = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else "no directory"
                raise InputError(
                    f"{directory} must be a probe (config.json and model.safetensors); {name} is missing, there is "
                    f"{there}. `{TRAINING} {directory}` writes one"
                )
        try:
            fields: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
            kind, axes = fields.pop("kind", None), tuple(fields.pop("axes", ()))
            if (kind, axes) != ("probe", tuple(AXES)):
                raise InputError(
                    f"{directory / 'config.json'} must describe a probe of the axes {', '.join(AXES)}; it describes "
                    f"a {kind} of {', '.join(axes) or 'no axes'}"
                )
            probe = cls(ProbeConfig(**fields), encoder)
            probe.load_state_dict(
                {name: tensor.float() for name, tensor in load_file(directory / "model.safetensors").items()}
            )
        except (TypeError, json.JSONDecodeError, SafetensorError, RuntimeError) as error:
            raise InputError(f"{directory} does not hold a probe of this version: {error}") from error
        return probe.eval()

    def _checked(self, encoder: TextEncoder) -> TextEncoder:
        expected = self.config.encoder_identity
        if encoder.dim != self.config.text_dim or (expected and encoder.identity != expected):
            raise InputError(
                f"this probe was trained on states of the text encoder {self.config.encoder}, width "
                f"{self.config.text_dim}; received one of width {encoder.dim} whose weights, tokenizer or prefix "
                f"differ: name the original one, or train a probe for yours with `{TRAINING}`"
            )
        return encoder
