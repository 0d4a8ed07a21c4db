"""The real fairseq commands: train, resume, validate, generate, from songs as text to songs as text."""

import re
import sys
from pathlib import Path

import pytest
from fairseq_commands import ROOT, command

from fairseq_meloformer.bridge import Bridge, BridgeConfig
from fairseq_meloformer.bridge.network import SIZES
from fairseq_meloformer.jobs import read_jsonl
from fairseq_meloformer.museformer import checkpoints
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.plugin import native

PLUGIN = ("--user-dir", ROOT / "user_dir", "--task", "museformer_language_modeling", "--cpu")


def train(corpus, folder, updates, *more):
    recipe = (
        "--arch",
        "museformer_lm_v2s1_debug",
        "--criterion",
        "cross_entropy",
        "--optimizer",
        "adam",
        "--lr",
        "0.01",
    )
    sizes = ("--max-tokens", 800, "--num-workers", 0, "--max-update", updates, "--no-epoch-checkpoints")
    log = ("--log-format", "simple", "--log-interval", 1, "--seed", 1, "--save-dir", folder)
    return command("train", corpus.data, *PLUGIN, *recipe, *sizes, *log, *more)


def losses(output):
    return {int(n): loss for loss, n in re.findall(r"train_inner.* loss=([\d.]+).*num_updates=(\d+)", output)}


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return folder, train(corpus, folder, 8, "--save-interval-updates", 4)


def test_a_resumed_run_equals_an_uninterrupted_one(corpus, trained, tmp_path):
    folder, output = trained
    middle = next(folder.glob("checkpoint_*_4.pt"))
    (tmp_path / "checkpoint_last.pt").write_bytes(middle.read_bytes())
    resumed = train(corpus, tmp_path, 8)
    whole = losses(output)
    assert losses(resumed) == {n: loss for n, loss in whole.items() if n > 4}
    assert float(whole[8]) < float(whole[1])
    one, other = (checkpoints.load(path / "checkpoint_last.pt") for path in (folder, tmp_path))
    assert checkpoints.model_hash(one.parameters) == checkpoints.model_hash(other.parameters)
    assert checkpoints.read_state(folder / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 8


def test_validation_covers_every_song_and_agrees_with_training(corpus, trained):
    folder, output = trained
    arguments = ("--path", folder / "checkpoint_last.pt", "--max-tokens", 800, "--log-format", "simple")
    printed = command(
        "validate", corpus.data, *PLUGIN, *arguments, programs=Path(sys.executable).parent
    )  # the true one
    loss, _, tokens, songs = re.search(
        r"subset \| loss ([\d.]+) \| ppl ([\d.]+) .*wpb (\d+) \| bsz (\d+)", printed
    ).groups()
    assert int(songs) == len(corpus.songs["valid"])
    assert int(tokens) == sum(len(line.split()) + 1 for line in corpus.songs["valid"])
    assert loss == re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", output)[-1]


def test_generation_from_a_directory_continues_binarised_prompts(corpus, trained, tmp_path):
    MuseFormer.from_pretrained(trained[0] / "checkpoint_last.pt").save_pretrained(tmp_path)
    sampling = ("--sampling", "--sampling-topk", 8, "--beam", 1, "--nbest", 1, "--min-len", 60, "--max-len-b", 80)
    arguments = (corpus.data, *PLUGIN, "--path", tmp_path, "--gen-subset", "test", *sampling, "--seed", 3)
    printed = command("generate", *arguments, "--batch-size", 3)
    songs = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", printed, re.MULTILINE))
    assert songs.keys() == {"0", "1", "2"}
    for number, prompt in enumerate(corpus.songs["test"]):
        assert songs[str(number)].startswith(prompt)
        assert 60 <= len(songs[str(number)].split()) <= 80


def test_the_users_own_code_takes_our_place(corpus, tmp_path):
    package = tmp_path / native.PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text(STAND_IN)
    scheme = ("--num-attention-heads", "(4,)", "--con2con", "((((-2, 0), -4),),)", "--truncate-train", 64)
    train(corpus, tmp_path / "checkpoints", 1, native.FLAG, tmp_path, *scheme)
    trained = tmp_path / "checkpoints" / "checkpoint_last.pt"
    state = checkpoints.read_state(trained)
    projections = {f"decoder.layers.0.self_attn.sum_{projection}_proj.weight" for projection in ("key2", "value2")}
    assert set(state["model"]) == {*projections, "decoder.embed_regular_tokens.weight"}

    Bridge(BridgeConfig(1, 8, 12, network=SIZES["debug"], encoder="dummy:12")).save_pretrained(tmp_path / "bridge")
    (tmp_path / "prompts.jsonl").write_text('{"text": "a storm", "bars": 2}\n{"text": "暴风雨", "bars": 1}\n')
    composing = (tmp_path / "prompts.jsonl", "--user-dir", ROOT / "user_dir", "--cpu", "--task", "summary_bridge")
    composing = (*composing, "--path", trained, native.FLAG, tmp_path, "--no-recall", "--midi-dir")
    command("generate", *composing, tmp_path / "injected", "--bridge", tmp_path / "bridge", "--batch-size", 2)
    command("generate", *composing, tmp_path / "plain")
    injected, plain = (list(read_jsonl(tmp_path / name / "manifest.jsonl")) for name in ("injected", "plain"))
    assert [row["attributes"]["bars"] for row in injected] == [row["attributes"]["bars"] for row in plain] == [2, 1]
    pieces = [tmp_path / name / injected[0]["files"]["midi"] for name in ("injected", "plain")]
    assert pieces[0].read_bytes() != pieces[1].read_bytes()
    guided = (tmp_path / "guided", "--bridge", tmp_path / "bridge", "--logit-guidance", 2)
    refused = command("generate", *composing, *guided, fails=True)
    assert "--logit-guidance must be 1" in refused


STAND_IN = '''
"""Registers what upstream registers, under its names; a model of three matrices that takes one song at a time.

As upstream, it has most arguments outside of its dataclasses, and wants tuples to be tuples.
"""

from ast import literal_eval
from dataclasses import dataclass, field
from typing import Optional

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import FairseqDecoder, FairseqLanguageModel, register_model, register_model_architecture
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingTask
from omegaconf import II
from torch import nn


@dataclass
class TaskConfig(FairseqDataclass):
    data: Optional[str] = field(default=None, metadata={"help": "data"})
    tokens_per_sample: int = field(default=100, metadata={"help": "tokens"})
    output_dictionary_size: int = field(default=-1, metadata={"help": "symbols"})
    seed: int = II("params.common.seed")


@dataclass
class ModelConfig(FairseqDataclass):
    tokens_per_sample: int = II("task.tokens_per_sample")
    eob_token: str = II("task.eob_token")


@register_task("museformer_language_modeling", dataclass=TaskConfig)
class MuseFormerLanguageModelingTask(LanguageModelingTask):
    @classmethod
    def add_args(cls, parser):
        super().add_args(parser)
        parser.add_argument("--eob-token", default="b-1")
        parser.add_argument("--truncate-train", type=int)
        parser.set_defaults(sample_break_mode="eos", shorten_method="none", shorten_data_split_list="")
        parser.set_defaults(use_plasma_view=False, plasma_path="", add_bos_token=False)
        parser.set_defaults(pad_to_fixed_length=False, pad_to_fixed_bsz=False)

    def load_dataset(self, split, *positional, **others):
        assert self.dictionary.index(self.args.eob_token) == 5
        assert getattr(self.args, "truncate_train", None) == 64
        super().load_dataset(split, *positional, **others)


class Decoder(FairseqDecoder):
    def __init__(self, args, dictionary):
        super().__init__(dictionary)
        assert isinstance(args.num_attention_heads, tuple) and args.num_attention_heads == (4,)
        assert {args.con2con, args.con2sum} == {((((-2, 0), -4),),), (((None, -4), -3),)}
        assert args.eob_token == "b-1"
        self.embed_regular_tokens = nn.Embedding(len(dictionary), 8)
        layer = nn.Module()
        layer.self_attn = nn.Module()
        layer.self_attn.sum_key2_proj = nn.Linear(8, 8, bias=False)
        layer.self_attn.sum_value2_proj = nn.Linear(8, 8, bias=False)
        self.layers = nn.ModuleList([layer])

    def forward(self, prev_output_tokens, **others):
        tokens = self.embed_regular_tokens(prev_output_tokens)
        bars = (prev_output_tokens == 5).cumsum(1)
        summaries = [tokens[0, bars[0] == bar].mean(0) for bar in range(int(bars.max()))]
        attention = self.layers[0].self_attn
        if summaries and len(tokens) == 1:
            read = torch.stack(summaries)
            read = attention.sum_key2_proj(read) * attention.sum_value2_proj(read)
            tokens = tokens + torch.where(bars == 0, 0, 1)[..., None] * read.mean(0)
        return tokens @ self.embed_regular_tokens.weight.T, None


@register_model("museformer_lm", dataclass=ModelConfig)
class MuseFormerLanguageModel(FairseqLanguageModel):
    @classmethod
    def add_args(cls, parser):
        super().add_args(parser)
        parser.add_argument("--num-attention-heads", type=literal_eval)
        parser.add_argument("--con2con", type=literal_eval)

    @classmethod
    def build_model(cls, args, task):
        return cls(Decoder(args, task.source_dictionary))


@register_model_architecture("museformer_lm", "museformer_lm_v2s1_debug")
def debug(args):
    args.num_attention_heads = getattr(args, "num_attention_heads", (2,))
    args.con2sum = getattr(args, "con2sum", (((None, -4), -3),))
'''
