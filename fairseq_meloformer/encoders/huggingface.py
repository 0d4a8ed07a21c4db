"""Any Hugging Face text model as a frozen text encoder, with whatever tokenizer files it brings."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import sentencepiece
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from fairseq_meloformer.encoders.embeddings import TextStates, identity, pool
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.stamps import sha256_file

# Prompts are short; no caption source writes more than this.
_LONGEST = 256

# With any of these AutoTokenizer knows the tokenizer; with a sentencepiece model alone it guesses or wants protobuf.
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")


class HuggingFaceEncoder:
    """States of all tokens, and the mean of those that are not special."""

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        self._model, config = _model(name)
        self._model.requires_grad_(requires_grad=False).to(device).eval()
        self._device = device
        positions = getattr(config, "max_position_embeddings", None) or _LONGEST
        # RoBERTa's positions begin after the padding's.
        self._tokenize, tokenizer_hash = _tokenizer(name, config, min(_LONGEST, positions - 2))
        self.dim: int = config.hidden_size
        self.identity = identity(weights=_hash(self._model), tokenizer=tokenizer_hash, pooling="mean")

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> TextStates:
        """Token states of texts."""
        ids, mask, content = (tensor.to(self._device) for tensor in self._tokenize(list(texts)))
        states = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        content = torch.where(content.any(1, keepdim=True), content, mask)
        return TextStates(states, mask, pool(states, content))


# From texts to ids, mask of tokens, and mask of tokens that are not special, each (batch, tokens).
_Tokenize = Callable[[list[str]], tuple[Tensor, Tensor, Tensor]]


def _model(name: str) -> tuple[nn.Module, PretrainedConfig]:
    # Without False, a terminal is asked whether to run the directory's own code; without True, pickles are read.
    try:
        model = AutoModel.from_pretrained(name, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"hf:{name} must be a directory with config.json and model.safetensors, or the id of a model that was "
            f"downloaded before or can be now: {error}"
        ) from error
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    elif hasattr(model, "text_model"):
        model = model.text_model
    return model, model.config


def _hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tokenizer(name: str, config: PretrainedConfig, longest: int) -> tuple[_Tokenize, str]:
    """Tokenizer of a model and its hash."""
    directory = Path(name)
    pieces = sorted(directory.glob("*.model")) if directory.is_dir() else []
    if pieces and not any((directory / file).is_file() for file in _TOKENIZER_FILES):
        if len(pieces) > 1:
            raise InputError(f"{directory} must have one sentencepiece model; it has {[path.name for path in pieces]}")
        return SentencePieceTokenizer(pieces[0], config, longest), sha256_file(pieces[0])
    if directory.is_dir() and not any((directory / file).is_file() for file in _TOKENIZER_FILES):
        # Left to itself, AutoTokenizer would make one with an empty vocabulary.
        raise InputError(
            f"{directory} must have a tokenizer: one of {', '.join(_TOKENIZER_FILES)} or a sentencepiece model "
            f"(*.model); it has {sorted(path.name for path in directory.iterdir())}"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"the tokenizer of hf:{name} cannot be loaded: {error}") from error
    return _AutoTokenizer(tokenizer, longest), _tokenizer_hash(tokenizer)


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = json.dumps(sorted(tokenizer.get_vocab().items())) if backend is None else backend.to_str()
    return hashlib.sha256(content.encode()).hexdigest()


class _AutoTokenizer:
    def __init__(self, tokenizer: PreTrainedTokenizerBase, longest: int) -> None:
        self._tokenizer = tokenizer
        self._longest = min(longest, tokenizer.model_max_length)
        if tokenizer.pad_token is None:
            # Decoders were trained without padding; what is masked may be anything.
            tokenizer.pad_token = tokenizer.eos_token

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        encoded = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        mask = encoded["attention_mask"].bool()
        return encoded["input_ids"], mask, mask & ~encoded["special_tokens_mask"].bool()


class SentencePieceTokenizer:
    """A sentencepiece model by itself, with the special pieces that it has around each text."""

    def __init__(self, path: Path, config: PretrainedConfig, longest: int) -> None:
        self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self._longest = longest
        self._pad = config.pad_token_id or 0
        self._first, self._last = (self._special(names) for names in (("[CLS]", "<s>"), ("[SEP]", "</s>")))
        self._shift = 0
        if "xlm-roberta" in config.model_type:
            # XLM-R puts <s> <pad> </s> <unk> before the pieces, of which the first three are special themselves.
            self._first, self._last, self._shift = [0], [2], 1

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids of texts, mask of tokens, and mask of tokens that are not special, each (batch, tokens)."""
        rows = [self._ids(text) for text in texts]
        ids = torch.full((len(rows), max(map(len, rows))), self._pad)
        mask, content = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = True
            content[index, len(self._first) : len(row) - len(self._last)] = True
        return ids, mask, content

    def _ids(self, text: str) -> list[int]:
        pieces = self._pieces.encode(text)[: self._longest - len(self._first) - len(self._last)]
        unknown = self._pieces.unk_id()
        shifted = [3 if piece == unknown and self._shift else piece + self._shift for piece in pieces]
        return [*self._first, *shifted, *self._last] or [unknown]

    def _special(self, names: tuple[str, ...]) -> list[int]:
        ids = (self._pieces.piece_to_id(name) for name in names)
        return [piece for piece in ids if piece != self._pieces.unk_id()][:1]
