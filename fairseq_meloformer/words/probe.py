"""The probe: what frozen text states say about the eight control axes, each in [-1, 1], near 0 where nothing is asked.

Small on purpose. It shows what the encoder knows of a prompt before any music is made, so that a prompt that is not
obeyed can be told from one that was not understood. What a text says in so many words is read by `stated`.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import torch
from safetensors.torch import save
from torch import Tensor, nn

from fairseq_meloformer import hub, weights
from fairseq_meloformer.encoders import registry
from fairseq_meloformer.encoders.embeddings import TextEncoder, TextStates
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic, write_json
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words import wishes
from fairseq_meloformer.words.lexicon import default_lexicon
from fairseq_meloformer.words.plain import simplified
from fairseq_meloformer.words.stated import default_reader

DEFAULT: Final = Path(__file__).parents[1] / "pretrained" / "probe"
TRAINING: Final = "scripts/train_probe.sh"

_CLASSES: Final = 3
_PARTS: Final = re.compile(r"[,，、;；.。!！?？]")


@dataclass(frozen=True)
class ProbeConfig:
    """Shape of a probe, and the text encoder whose states it reads.

    Attributes:
        encoder: specification as `registry.load` takes it.
        encoder_identity: of the encoder in training; another one's states mean something else.
        text_dim: width of the states.
        hidden: width of the hidden layer.
        dropout: of the states, in training.
        hidden_dropout: of the hidden layer, in training.
    """

    encoder: str = "e5-small"
    encoder_identity: str = ""
    text_dim: int = 384
    hidden: int = 1024
    dropout: float = 0.3
    hidden_dropout: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what no probe can be built from."""
        if not (1 <= min(self.text_dim, self.hidden) <= max(self.text_dim, self.hidden) <= weights.LARGEST):
            raise InputError(f"text_dim and hidden must be from 1 to {weights.LARGEST}; received {self}")
        if not (0 <= self.dropout < 1 and 0 <= self.hidden_dropout < 1):
            raise InputError(f"dropout and hidden_dropout must be at least 0 and below 1; received {self}")


def _named(text: str) -> dict[str, float]:
    """What the scenes of the lexicon ask for that parts of a text are the names of."""
    profiles = map(default_lexicon().profile, _PARTS.split(text))
    return {axis: value for profile in profiles if profile for axis, value in profile.items()}


def _of_style(text: str) -> dict[str, float]:
    """What a style that the text names is like on the control axes."""
    named = wishes.read(text).style
    return {} if named is None else {axis: value for axis, value in named.profile.items() if axis in AXES}


def amounts(values: Tensor) -> Tensor:
    """How much to do of what is read, of the shape of the values: their square roots, with their signs.

    A value says how probable a wish is. A faint one is an unsure one, not a wish for a little.
    """
    return values.sign() * values.abs().sqrt()


class Probe(nn.Module):
    """Whether each axis is asked for, to which side or not at all: three classes, by one hidden layer."""

    moments: Tensor

    def __init__(self, config: ProbeConfig, encoder: TextEncoder | None = None) -> None:
        super().__init__()
        self.config = config
        # Mean and standard deviation of pooled texts: raw ones are all nearly alike.
        self.register_buffer("moments", torch.tensor([0.0, 1.0])[:, None].repeat(1, config.text_dim))
        self.network = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(config.text_dim, config.hidden),
            nn.GELU(),
            nn.Dropout(config.hidden_dropout),
            nn.Linear(config.hidden, len(AXES) * _CLASSES),
        )
        if encoder is not None:
            self.encoder = self._checked(encoder)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The frozen text encoder, loaded when the first text comes."""
        return self._checked(registry.load(self.config.encoder))

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> Tensor:
        """Values (batch, 8) of at least one text, in [-1, 1] and in the order of AXES.

        What is stated counts as it is stated; a scene of the lexicon asks for what stands there, and a style for what
        it is like. Of other texts the probe speaks, for the share of the words that say nothing outright: all of a
        scene, next to nothing of a list of requests.
        """
        texts = [simplified(text) for text in texts]
        values: Tensor = self(self.encoder.encode(texts))
        for index, text in enumerate(texts):
            stated, scenes = default_reader().read(text), _named(text)
            values[index] *= 0 if scenes else 1 - stated.coverage
            for axis, value in {**_of_style(text), **scenes, **stated.values}.items():
                values[index, AXES.index(axis)] = value
        return values

    def forward(self, text: TextStates) -> Tensor:
        """Values (batch, 8) of encoded texts: how probable the positive side is, less how probable the negative."""
        low, _, high = self.logits(text.pooled).softmax(-1).unbind(-1)
        return high - low

    def logits(self, pooled: Tensor) -> Tensor:
        """Logits (batch, 8, 3) of the negative side, of not being asked for, and of the positive side.

        Args:
            pooled: texts (batch, text_dim), as the encoder pools them.
        """
        mean, std = self.moments
        logits: Tensor = self.network((pooled - mean) / std).unflatten(-1, (len(AXES), _CLASSES))
        return logits

    def standardise(self, pooled: Tensor) -> None:
        """Take over the moments of at least two pooled texts (texts, text_dim)."""
        std, mean = torch.std_mean(pooled, dim=0)
        self.moments[0] = mean
        self.moments[1] = torch.where(std > 0, std, torch.ones_like(std))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write ``model.safetensors`` (half precision) and ``config.json``; the text encoder is not written."""
        weights = {name: tensor.detach().half().contiguous() for name, tensor in self.state_dict().items()}
        write_atomic(Path(directory) / "model.safetensors", lambda file: file.write(save(weights)))
        write_json(Path(directory) / "config.json", {"kind": "probe", "axes": AXES, **dataclasses.asdict(self.config)})

    @classmethod
    def from_pretrained(cls, directory: str | Path = DEFAULT, *, encoder: TextEncoder | None = None) -> Self:
        """Read what ``save_pretrained`` wrote, or a Hub id names, ready for use.

        Raises:
            InputError: a file is missing or not a probe's, or the encoder is another than in training.
        """
        directory = hub.local(directory)
        for name in ("config.json", "model.safetensors"):
            if not (directory / name).is_file():
                there = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else "no directory"
                raise InputError(
                    f"{directory} must be a probe (config.json and model.safetensors); {name} is missing, there is "
                    f"{there}. `{TRAINING} {directory}` writes one"
                )
        fields = weights.read_fields(directory)
        kind, axes = fields.pop("kind", None), fields.pop("axes", None)
        if (kind, axes) != ("probe", list(AXES)):
            raise InputError(
                f"{directory / 'config.json'} must describe a probe of the axes {', '.join(AXES)}; it describes "
                f"a {kind} of {axes}"
            )
        config = weights.checked(ProbeConfig, fields, str(directory / "config.json"))
        probe = weights.described(lambda: cls(config, encoder))
        weights.fill(probe, weights.read_tensors(directory / "model.safetensors"), str(directory))
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
