"""Upstream's arguments and our configuration say the same."""

import argparse
import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.arguments import (
    ABSENT,
    MODEL_OPTIONS,
    TASK_OPTIONS,
    arguments_from_config,
    boolean,
    config_from_arguments,
    literal,
    vocabulary_of,
)
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.pattern import BarPattern
from fairseq_meloformer.tokens.vocabulary import general, published

past = st.integers(-40, -1)
spans = st.lists(
    st.one_of(past, st.tuples(st.one_of(st.none(), past), st.integers(-40, 0))), max_size=4, unique=True
).map(tuple)
patterns = st.builds(BarPattern, near=spans, far=spans)


@st.composite
def configs(draw):
    layers = draw(st.integers(1, 4))
    heads = draw(st.integers(1, 4))
    vocabulary = draw(st.sampled_from((published(), general())))
    bosbar = draw(st.booleans())
    kind = draw(st.sampled_from("ts"))
    return MuseFormerConfig(
        vocabulary_size=len(vocabulary),
        layers=layers,
        dim=heads * draw(st.integers(1, 64)),
        ffn_dim=draw(st.integers(1, 99)),
        heads=heads,
        token_dim=draw(st.integers(1, 99)),
        bar_dim=2 * draw(st.integers(2, 30)),
        beat_dim=2 * draw(st.integers(2, 30)),
        dropout=draw(st.floats(0, 1, exclude_max=True)),
        patterns=tuple(draw(st.lists(patterns, min_size=layers, max_size=layers))),
        onset_ids=(vocabulary.range("o").start, vocabulary.range("o").stop),
        offbeat_ids=(vocabulary.range(kind).start, vocabulary.range(kind).stop),
        chunking="bosbar" if bosbar else "infer",
        scope=draw(st.sampled_from(("past", "history", "plan"))),
        vocabulary_sha256=vocabulary.sha256,
    )


@given(configs())
def test_a_configuration_survives_as_arguments(config):
    assert config_from_arguments(arguments_from_config(config), vocabulary_of(config.vocabulary_size)) == config


def test_the_table_holds_what_the_published_script_leaves_in_force(shared):
    text = (shared / "museformer" / "golden" / "args_in_force.txt").read_text()
    model_part, task_part = text.split("## task options")
    options = {option.name: option for option in (*MODEL_OPTIONS, *TASK_OPTIONS)}
    listed = []
    for line in model_part.splitlines():
        name, _, value = line.partition(" ")
        if not name.isidentifier():
            continue
        value = value.split("  choices=")[0].strip()
        listed.append(name)
        expected = ABSENT if value == "-" else ast.literal_eval(value)
        assert options[name].default == expected, name
        assert options[name].problem(expected) is None, name
    for line in task_part.split("## set by")[0].splitlines():
        name, _, value = line.partition(" ")
        if name.isidentifier() and name != "data":
            default, in_force = (ast.literal_eval(part) for part in value.strip().split(" -> "))
            listed.append(name)
            assert options[name].default == default, name
            assert options[name].problem(in_force) is None, name
    assert set(listed) == set(options)


def test_patterns_may_be_text():
    arguments = {"con2con": "((((-1, 0), -2),),)", "con2sum": "(((-3,),), ((-4,),))", "num_layers": 2}
    config = config_from_arguments({**arguments, "num_attention_heads": "8"}, published())
    assert config.patterns == (BarPattern(((-1, 0), -2), (-3,)), BarPattern(((-1, 0), -2), (-4,)))
    assert config.heads == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("con2con", "__import__('os').getcwd()"),
        ("con2con", "((((-2, 0),), (-4,)),)"),  # two schemes in one layer
        ("con2con", (((2,),),)),  # the future
        ("con2sum", ((((-3, None),),),)),  # the future
        ("con2sum", (((-3,),),) * 3),  # three layers of four
        ("num_attention_heads", (8, 4, 8, 8)),
        ("num_summary_tokens_each_chunk", 2),
        ("activation_fn", "relu"),
        ("chunking_scheme", "fixed"),
    ],
)
def test_other_variants_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}"):
        config_from_arguments({name: value}, published())


def test_command_line_texts_are_read_without_running_them():
    assert [boolean(text) for text in ("True", "yes", "n", "false")] == [True, True, False, False]
    assert literal("((None,),)") == ((None,),)
    for parse, text in ((boolean, "maybe"), (literal, "open('x')")):
        with pytest.raises(argparse.ArgumentTypeError):
            parse(text)
