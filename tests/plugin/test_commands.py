"""The real fairseq commands: train, resume, validate, generate, from songs as text to songs as text."""

import re

import pytest
from fairseq_commands import ROOT, command

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
    assert one.info == {"path": str(folder / "checkpoint_last.pt"), "form": "fairseq 0.12", "updates": 8}


def test_validation_covers_every_song_and_agrees_with_training(corpus, trained):
    folder, output = trained
    arguments = ("--path", folder / "checkpoint_last.pt", "--max-tokens", 800, "--log-format", "simple")
    printed = command("validate", corpus.data, *PLUGIN, *arguments)
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
    train(corpus, tmp_path / "checkpoints", 1, native.FLAG, tmp_path)
    state = checkpoints.read_state(tmp_path / "checkpoints" / "checkpoint_last.pt")
    assert set(state["model"]) == {"decoder.self_attn.sum_key2_proj.weight", "decoder.embed_regular_tokens.weight"}


STAND_IN = '''
"""Registers what upstream registers, under its names; a model of two matrices."""

from fairseq.models import FairseqDecoder, FairseqLanguageModel, register_model, register_model_architecture
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingTask
from torch import nn


@register_task("museformer_language_modeling")
class MuseFormerLanguageModelingTask(LanguageModelingTask):
    @classmethod
    def add_args(cls, parser):
        parser.add_argument("data")
        defaults = {"tokens_per_sample": 100, "sample_break_mode": "eos", "output_dictionary_size": -1, "seed": 1}
        parser.set_defaults(shorten_method="none", shorten_data_split_list="", use_plasma_view=False, plasma_path="")
        parser.set_defaults(pad_to_fixed_length=False, pad_to_fixed_bsz=False, add_bos_token=False, **defaults)


class Decoder(FairseqDecoder):
    def __init__(self, dictionary):
        super().__init__(dictionary)
        self.embed_regular_tokens = nn.Embedding(len(dictionary), len(dictionary))
        self.self_attn = nn.Module()
        self.self_attn.sum_key2_proj = nn.Linear(len(dictionary), len(dictionary), bias=False)

    def forward(self, prev_output_tokens, **others):
        return self.self_attn.sum_key2_proj(self.embed_regular_tokens(prev_output_tokens)), None


@register_model("museformer_lm")
class MuseFormerLanguageModel(FairseqLanguageModel):
    @classmethod
    def build_model(cls, args, task):
        return cls(Decoder(task.source_dictionary))


@register_model_architecture("museformer_lm", "museformer_lm_v2s1_debug")
def debug(args):
    pass
'''
