"""The model in fairseq's hands: published names, and greedy output equal to upstream's."""

import argparse
import json
import re

import pytest
import torch
from fairseq import checkpoint_utils, tasks
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, build_model
from fairseq.sequence_generator import SequenceGenerator

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.arguments import MODEL_OPTIONS
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.plugin import compat
from fairseq_meloformer.plugin.museformer_model import MuseFormerLanguageModel
from fairseq_meloformer.tokens.vocabulary import general, published


@pytest.fixture(scope="module")
def golden(shared):
    return shared / "museformer" / "golden"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    published().write(folder / "dict.txt")
    return folder


def load(path, data):
    compat.apply()  # its filters: this runs before any test
    models, _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], arg_overrides={"data": str(data)})
    return models[0].eval(), task


def build(arch, vocabulary=published, **options):
    dictionary = Dictionary()
    for symbol in vocabulary().symbols[4:]:
        dictionary.add_symbol(symbol)
    args = argparse.Namespace(arch=arch, **options)
    return build_model(args, argparse.Namespace(source_dictionary=dictionary))


@pytest.fixture(scope="module", params=["checkpoint", "directory"])
def tiny(request, golden, data, tmp_path_factory):
    path = golden / "tiny4_checkpoint_0.10.2_layout.pt"
    if request.param == "directory":
        folder = tmp_path_factory.mktemp("tiny")
        MuseFormer.from_pretrained(path).save_pretrained(folder)
        path = folder
    return load(path, data)


def test_the_state_dict_has_the_published_names_and_shapes(golden):
    text = (golden / "parameters.txt").read_text()
    expected = {
        name: json.loads(shape) for name, shape in re.findall(r"^(decoder\.\S+)\s+(\[.*?\])", text, re.MULTILINE)
    }
    model = build("museformer_lm_v2s1")
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == expected
    assert sum(parameter.numel() for parameter in model.parameters()) == 16_141_312


@pytest.mark.parametrize(
    ("arch", "parameters"),
    [
        ("museformer_lm_v2s1_small", 9_193_728),
        ("museformer_lm_v2s1_mini", 1_705_920),
        ("museformer_lm_v2s1_debug", 167_040),
    ],
)
def test_small_architectures(arch, parameters):
    assert sum(parameter.numel() for parameter in build(arch).parameters()) == parameters


def test_the_command_line_wins_over_the_architecture():
    args = argparse.Namespace(num_layers=1, attention_embed_dim=32)
    ARCH_CONFIG_REGISTRY["museformer_lm_v2s1_mini"](args)
    assert (args.num_layers, args.attention_embed_dim, args.ffn_embed_dim) == (1, 32, 640)


def test_all_options_of_upstream_are_accepted_and_refused_by_name():
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    MuseFormerLanguageModel.add_args(parser)
    assert vars(parser.parse_args([])) == {}
    assert {action.dest for action in parser._actions} == {"help", "injection_ahead"} | {
        option.name for option in MODEL_OPTIONS
    }
    args = parser.parse_args(["--num-attention-heads", "(2,)", "--con2sum", "((((None, -32), -3),),)"])
    assert args.con2sum == ((((None, -32), -3),),)
    with pytest.raises(InputError, match=r"--share-ffn must be True, received False"):
        build("museformer_lm_v2s1_debug", **vars(parser.parse_args(["--share-ffn", "no"])))


def test_a_model_and_data_of_different_vocabularies_are_refused():
    with pytest.raises(InputError, match=r"must share one dict\.txt"):
        build("museformer_lm_v2s1_debug", general, vocabulary_sha256=published().sha256)
    assert build("museformer_lm_v2s1_debug", general).decoder.config.onset_ids == (6, 134)


def test_a_published_checkpoint_opens_under_its_own_names(tiny):
    model, task = tiny
    assert type(task) is tasks.get_task("museformer_language_modeling")
    assert isinstance(model, MuseFormerLanguageModel)
    assert len(model.state_dict()) == 145
    assert model.max_positions() > 100_000 or task.args.max_target_positions == 100_000


@pytest.mark.parametrize("incremental", [True, False])
@pytest.mark.parametrize("case", ["nopre", "pre"])
def test_greedy_output_equals_upstreams(tiny, golden, case, incremental):
    model, task = tiny
    expected = json.loads((golden / f"tiny4_greedy_{case}.json").read_text())
    generator = SequenceGenerator(
        [model], task.target_dictionary, beam_size=1, min_len=expected["min_len"], max_len_b=expected["max_len_b"]
    )
    generator.model.has_incremental = incremental
    prompt = torch.tensor([expected["prefix"]])
    sample = {"net_input": {"src_tokens": prompt, "src_lengths": torch.tensor([prompt.shape[1]])}}
    [[best]] = task.inference_step(generator, [model], sample)
    assert best["tokens"].tolist() == expected["tokens"]
    assert float(best["score"]) == pytest.approx(expected["positional_score_sum"], abs=2e-5)


def test_a_batch_of_prompts_gives_what_each_gives_alone(tiny):
    model, task = tiny
    prompts = [[2], [2, 500, 6, 70, 90, 340, 470], [2, 500, 8, 71, 91, 340, 470, 5, 500]]
    options = {"beam_size": 1, "min_len": 40, "max_len_b": 50}

    def generate(batch):
        generator = SequenceGenerator([model], task.target_dictionary, **options)
        songs = [torch.tensor([*prompt[1:], 2]) for prompt in batch]
        dataset = task.build_dataset_for_inference(songs, [len(song) for song in songs])
        sample = dataset.collater([dataset[index] for index in range(len(batch))])
        return [best["tokens"].tolist() for [best] in task.inference_step(generator, [model], sample)]

    assert generate(prompts) == [generate([prompt])[0] for prompt in prompts]


def test_beams_are_followed(tiny):
    model, task = tiny
    results = []
    for incremental in (True, False):
        generator = SequenceGenerator([model], task.target_dictionary, beam_size=3, min_len=20, max_len_b=24)
        generator.model.has_incremental = incremental
        sample = {"net_input": {"src_tokens": torch.tensor([[2], [2]]), "src_lengths": torch.tensor([1, 1])}}
        hypotheses = task.inference_step(generator, [model], sample)
        results.append([[hypothesis["tokens"].tolist() for hypothesis in song] for song in hypotheses])
    assert results[0] == results[1]
