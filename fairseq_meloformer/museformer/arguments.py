"""Upstream's command-line options and what they mean here.

A published checkpoint describes itself by the arguments of its training run. Each of them is listed here with the value
that the published script leaves in force and the values this implementation has; anything else is refused by name,
since weights of another variant would load and then compute something else.
"""

import argparse
import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.config import Chunking, MuseFormerConfig
from fairseq_meloformer.museformer.pattern import PUBLISHED_FAR, PUBLISHED_NEAR, BarPattern, Span
from fairseq_meloformer.tokens.vocabulary import Vocabulary, general, published

ARCH = "museformer_lm_v2s1"
PLAN_TRAINING = "museformer_plan"
TASK = "museformer_language_modeling"


ARCHITECTURES: dict[str, dict[str, Any]] = {
    ARCH: {},
    f"{ARCH}_mini": {
        "attention_embed_dim": 160,
        "ffn_embed_dim": 640,
        "num_attention_heads": (4,),
        "token_embed_dim": 160,
        "injection_ahead": 1,
        "bar_abs_pos_embed_dim": 64,
        "beat_abs_pos_embed_dim": 64,
    },
    f"{ARCH}_small": {
        "attention_embed_dim": 384,
        "ffn_embed_dim": 1536,
        "num_attention_heads": (6,),
        "token_embed_dim": 384,
        "injection_ahead": 1,
        "bar_abs_pos_embed_dim": 192,
        "beat_abs_pos_embed_dim": 96,
    },
    f"{ARCH}_debug": {
        "num_layers": 2,
        "attention_embed_dim": 64,
        "ffn_embed_dim": 128,
        "num_attention_heads": (2,),
        "token_embed_dim": 64,
        "bar_abs_pos_embed_dim": 16,
        "beat_abs_pos_embed_dim": 16,
    },
}
"""What each architecture has else than the published one, by its name in fairseq."""


class _Absent:
    """The value of an option that the published script leaves out of the Namespace."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


@dataclass(frozen=True)
class Option:
    """One option of upstream.

    Attributes:
        name: attribute of the Namespace; the flag has dashes.
        parse: text of the command line to value.
        default: value in force in the published run; ABSENT if the attribute is not there.
        supported: the values that this implementation has; None for any.
        help: what it does.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    supported: tuple[Any, ...] | None
    help: str

    def problem(self, value: Any) -> str | None:  # noqa: ANN401  any type that a Namespace can hold
        """What is wrong with a value, if anything."""
        if self.supported is None or value in self.supported or value == self.default:
            return None
        allowed = " or ".join(repr(v) for v in self.supported)
        return f"--{self.name.replace('_', '-')} must be {allowed}, received {value!r}"


def boolean(text: str) -> bool:
    """Upstream's way to write a truth value.

    Raises:
        argparse.ArgumentTypeError: anything but true/yes/y/1 and false/no/n/0.
    """
    lowered = text.strip().lower()
    if lowered not in {"true", "yes", "y", "1", "false", "no", "n", "0"}:
        raise argparse.ArgumentTypeError(f"must be true or false, received {text!r}")
    return lowered in {"true", "yes", "y", "1"}


def literal(text: str) -> Any:  # noqa: ANN401  nested tuples of any depth
    """A Python literal such as `((((-2, 0), -4),),)`; upstream evaluates it as code, here it cannot run any.

    Raises:
        argparse.ArgumentTypeError: not a literal.
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise argparse.ArgumentTypeError(f"must be a number or nested tuples of numbers, received {text!r}") from error


def _only(name: str, value: Any, about: str) -> Option:  # noqa: ANN401
    parse: Callable[[str], Any] = boolean if isinstance(value, bool) else type(value)
    return Option(name, parse, value, (value,), about)


def _off(name: str, parse: Callable[[str], Any] = boolean, about: str = "not supported") -> Option:
    return Option(name, parse, ABSENT, (False, None), about)


def _free(name: str, parse: Callable[[str], Any], default: Any, about: str) -> Option:  # noqa: ANN401
    return Option(name, parse, default, None, about)


_UNUSED = "has no effect in this variant"
_NOTHING = ((None,),)

MODEL_OPTIONS: tuple[Option, ...] = (
    _only("attention_impl", "blocksparse", "how upstream computes attention; the mathematics are the same"),
    _free("block_size", int, 64, "size of upstream's sparse blocks; no effect"),
    _only("attention_mode", "v2s1", "two-step attention: summarise, then update"),
    _free("attention_embed_dim", int, 512, "width of both streams"),
    _free("num_layers", int, 4, "layers"),
    _free("num_attention_heads", literal, (8,), "heads, the same number in every layer"),
    _only("normalize_before", value=True, about="pre-norm layers"),
    _free("ffn_embed_dim", int, 2048, "inner width of the feed-forward network"),
    _free("dropout", float, 0.1, "dropout after embeddings, attention and feed-forward network"),
    _free("attention_dropout", float, 0.1, "dropout on attention probabilities"),
    _only("activation_fn", "gelu", "activation of the feed-forward network"),
    _only("no_final_norm", value=False, about="leave out the last layer norm"),
    _free("con2con", literal, ((PUBLISHED_NEAR,),), "bars read note by note: (per layer (per head (spans)))"),
    _only("con2con_self", "full", "a token reads its own bar"),
    _free("con2sum", literal, ((PUBLISHED_FAR,),), "bars read as summaries: (per layer (per head (spans)))"),
    _only("con2sum_self", "none", "a token does not read its own bar's summary"),
    Option("sum2con", literal, _NOTHING, (_NOTHING,), "other bars that a summary reads"),
    _only("sum2con_self", "full", "a summary reads its own bar"),
    Option("sum2sum", literal, _NOTHING, (_NOTHING,), "other summaries that a summary reads"),
    _only("sum2sum_self", "full", "a summary reads itself"),
    _only("con2con_causal", value=True, about="tokens read the past only"),
    _only("pref2pref_mode", "lt", "how the begin-of-song token reads itself"),
    _only("sum2pref_mode", "none", "summaries do not read the begin-of-song token"),
    _only("pref2sum_mode", "none", "the begin-of-song token reads no summaries"),
    _only("con2pref_mode", "full", "every token reads the begin-of-song token"),
    _only("pref2con_mode", "none", "the begin-of-song token reads no bars"),
    _only("num_summary_tokens_each_chunk", 1, "summary tokens of a bar"),
    _free("max_summary_tokens", int, ABSENT, _UNUSED),
    _only("concat_sum_embeddings", value=True, about="concatenate the embeddings of a summary token"),
    _only("concat_reg_embeddings", value=True, about="concatenate the embeddings of a token"),
    _only("proj_sum_embeddings", value=True, about="project the embeddings of a summary token"),
    _only("proj_reg_embeddings", value=True, about="project the embeddings of a token"),
    _off("share_embedding_projection"),
    _only("share_input_output_embed", value=False, about="tie output and input embeddings"),
    _only("no_scale_embedding", value=False, about="do not scale embeddings"),
    _only("layernorm_embedding", value=False, about="layer norm on embeddings"),
    _free("share_layernorm_embedding", boolean, default=True, about=_UNUSED),
    _free("token_embed_dim", int, 512, "width of the token embedding"),
    _only("use_token_in_chunk_abs_pos", value=False, about="embed the position in the bar"),
    _free("learned_token_in_chunk_abs_pos", boolean, ABSENT, _UNUSED),
    _free("max_token_in_chunk_abs_pos", int, ABSENT, _UNUSED),
    _free("token_in_chunk_abs_pos_embed_dim", int, ABSENT, _UNUSED),
    _only("use_token_abs_pos", value=False, about="embed the position in the song"),
    _free("learned_token_abs_pos", boolean, ABSENT, _UNUSED),
    _free("max_token_abs_pos", int, ABSENT, _UNUSED),
    _free("token_abs_pos_embed_dim", int, ABSENT, _UNUSED),
    _only("use_bar_abs_pos", value=True, about="embed the bar number"),
    _off("learned_bar_abs_pos"),
    _free("max_bar_abs_pos", int, 512, "rows of upstream's table; here there is no limit"),
    _free("bar_abs_pos_embed_dim", int, 256, "width of the bar embedding"),
    _off("valid_parts_for_bar_abs_pos", str),
    _only("use_beat_abs_pos", value=True, about="embed the onset position"),
    _off("learned_beat_abs_pos"),
    _free("max_beat_abs_pos", int, 64, "rows of upstream's table; here there is no limit"),
    _free("beat_abs_pos_embed_dim", int, 128, "width of the onset position's embedding"),
    _off("beat_abs_pos_padding_on_sum"),
    _off("gradient_checkpointing"),
    _free("gradient_checkpointing_every_n_layer", int, ABSENT, _UNUSED),
    _free("gradient_checkpointing_layers", literal, ABSENT, _UNUSED),
    _only("share_self_attention_layer_norm", value=True, about="one layer norm for both streams"),
    _only("share_ffn", value=True, about="one feed-forward network for both streams"),
    _only("share_final_layer_norm", value=True, about="one final layer norm for both streams"),
    _off("chunk_ffn", int),
    _free("attn_query_proj_bias", boolean, default=True, about=_UNUSED),
    _free("attn_key_proj_bias", boolean, default=True, about=_UNUSED),
    _free("attn_value_proj_bias", boolean, default=True, about=_UNUSED),
    _only("attn_out_proj_bias", value=True, about="bias of the output projection"),
    _off("attn_sum_key2_proj_bias"),
    _off("attn_sum_value2_proj_bias"),
    _off("attn_share_key2_value2_proj_weight"),
    _only("add_different_kqv_bias_for_sum_and_reg", value=True, about="own query, key and value biases of each stream"),
    _off("add_different_out_bias_for_sum_and_reg"),
    _only("attn_share_query_proj", value=True, about="one query projection for both streams"),
    _only("attn_share_key_proj", value=True, about="one key projection for both streams"),
    _only("attn_share_value_proj", value=True, about="one value projection for both streams"),
    _only("attn_share_out_proj", value=True, about="one output projection for both streams"),
)

TASK_OPTIONS: tuple[Option, ...] = (
    _free("tokens_per_sample", int, 1024, "accepted as upstream; a sample is always one whole song"),
    _free("max_target_positions", int, None, "longest song in tokens; no limit if not given"),
    _only("output_dictionary_size", -1, "size of the output vocabulary; -1 for all"),
    _only("eob_token", "b-1", "the token that ends a bar"),
    _free("eoc_token", str, "e-1", _UNUSED),
    _only("chunking_scheme", "bar_aware", "what a chunk is"),
    _free("fixed_chunking_length", int, None, _UNUSED),
    _free("max_size_train", int, None, "leave out longer training songs (tokens)"),
    _free("max_size_valid", int, None, "leave out longer validation songs (tokens)"),
    _free("max_size_test", int, None, "leave out longer test songs (tokens)"),
    _free("truncate_train", int, None, "cut training songs to so many tokens"),
    _free("truncate_valid", int, None, "cut validation songs to so many tokens"),
    _free("truncate_test", int, None, "cut test songs to so many tokens"),
    _free("take_bos_as_bar", boolean, default=False, about="the begin-of-song token is a bar of its own"),
    _free("beat_mask_ts", boolean, default=False, about="time signatures, not tempos, have no onset position"),
)

SIZES: tuple[str, ...] = (
    *("num_layers", "attention_embed_dim", "ffn_embed_dim", "num_attention_heads", "token_embed_dim"),
    *("bar_abs_pos_embed_dim", "beat_abs_pos_embed_dim", "con2con", "con2sum", "take_bos_as_bar", "beat_mask_ts"),
)
"""The options that weights fit: whoever goes on with a model's weights must have its values."""


def vocabulary_of(size: int) -> Vocabulary | None:
    """The vocabulary of MuseFormer that has so many symbols, if there is one."""
    return next((known for known in (published(), general()) if len(known) == size), None)


def config_from_arguments(arguments: Mapping[str, Any], vocabulary: Vocabulary) -> MuseFormerConfig:
    """What a Namespace (`vars(args)`) of upstream says about a model; options it lacks count as published.

    Raises:
        InputError: variants that this implementation does not have, all of them at once.
    """
    values = {option.name: arguments.get(option.name, option.default) for option in (*MODEL_OPTIONS, *TASK_OPTIONS)}
    problems = [text for option in (*MODEL_OPTIONS, *TASK_OPTIONS) if (text := option.problem(values[option.name]))]
    layers = int(values["num_layers"])
    heads = 1
    patterns: tuple[BarPattern, ...] = (BarPattern(),)
    try:
        heads = _heads(values["num_attention_heads"])
        near, far = _spans("con2con", values["con2con"], layers), _spans("con2sum", values["con2sum"], layers)
        patterns = _patterns(near, far, layers)
    except InputError as error:
        problems.append(str(error))
    if problems:
        raise InputError("MeloFormer has museformer_lm_v2s1 as it was published. " + "; ".join(problems))
    return MuseFormerConfig(
        vocabulary_size=len(vocabulary),
        layers=layers,
        dim=int(values["attention_embed_dim"]),
        ffn_dim=int(values["ffn_embed_dim"]),
        heads=heads,
        token_dim=int(values["token_embed_dim"]),
        bar_dim=int(values["bar_abs_pos_embed_dim"]),
        beat_dim=int(values["beat_abs_pos_embed_dim"]),
        dropout=float(values["dropout"]),
        attention_dropout=float(values["attention_dropout"]),
        patterns=patterns,
        onset_ids=_pair(vocabulary.range("o")),
        offbeat_ids=_pair(vocabulary.range("s" if values["beat_mask_ts"] else "t")),
        chunking=_generation_chunking(arguments),
        scope=arguments.get("injection_scope") or ("plan" if arguments.get("criterion") == PLAN_TRAINING else "past"),
        ahead=int(arguments.get("injection_ahead", MuseFormerConfig.ahead)),
        most_bars=arguments.get("most_bars"),
        vocabulary_sha256=vocabulary.sha256,
    )


def arguments_from_config(config: MuseFormerConfig) -> dict[str, Any]:
    """The arguments under which upstream, or our fairseq model, builds the model of `config`."""
    values = {o.name: o.default for o in (*MODEL_OPTIONS, *TASK_OPTIONS) if o.default is not ABSENT}
    return values | {
        "arch": ARCH,
        "task": TASK,
        "num_layers": config.layers,
        "attention_embed_dim": config.dim,
        "ffn_embed_dim": config.ffn_dim,
        "num_attention_heads": (config.heads,),
        "token_embed_dim": config.token_dim,
        "bar_abs_pos_embed_dim": config.bar_dim,
        "beat_abs_pos_embed_dim": config.beat_dim,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "con2con": tuple((pattern.near,) for pattern in config.patterns),
        "con2sum": tuple((pattern.far,) for pattern in config.patterns),
        "take_bos_as_bar": config.chunking == "bosbar",
        # The published vocabulary has no time signatures: a model of it that masks theirs masks none.
        "beat_mask_ts": config.offbeat_ids in (_pair(published().range("s")), _pair(general().range("s"))),
        "injection_scope": config.scope,
        "injection_ahead": config.ahead,
        "most_bars": config.most_bars,
        "vocabulary_sha256": config.vocabulary_sha256,
    }


def _generation_chunking(arguments: Mapping[str, Any]) -> Chunking:
    bosbar = arguments.get("take_bos_as_bar", False) or arguments.get("chunking") == "bosbar"
    return "bosbar" if bosbar else "infer"


def _pair(ids: range) -> tuple[int, int]:
    return ids.start, ids.stop


def _heads(value: Any) -> int:  # noqa: ANN401  an int, a tuple, or text of either
    value = literal(value) if isinstance(value, str) else value
    numbers = set(value) if isinstance(value, (tuple, list)) else {value}
    number = next(iter(numbers), None)
    if len(numbers) != 1 or not isinstance(number, int):
        raise InputError(f"--num-attention-heads must be one number for all layers, received {value!r}")
    return number


def _spans(name: str, value: Any, layers: int) -> list[tuple[Span, ...]]:  # noqa: ANN401  nested tuples
    """Spans per layer from (per layer (per head (spans)))."""
    try:
        nested = literal(value) if isinstance(value, str) else value
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--{name} {error}") from error
    if not isinstance(nested, (tuple, list)) or len(nested) not in {1, layers}:
        raise InputError(
            f"--{name} must be (per layer (per head (spans))) for 1 or {layers} layers, received {value!r}"
        )
    found = []
    for by_head in nested:
        schemes = {_scheme(name, spans) for spans in by_head} if isinstance(by_head, (tuple, list)) else set()
        if len(schemes) != 1:
            raise InputError(f"--{name} must give one scheme to all heads of a layer, received {by_head!r}")
        found.append(schemes.pop())
    return found


def _scheme(name: str, spans: Any) -> tuple[Span, ...]:  # noqa: ANN401  None or an iterable of spans
    if spans is None:
        return ()
    if not isinstance(spans, Iterable) or isinstance(spans, str):
        raise InputError(f"--{name} must hold tuples of spans, received {spans!r}")
    return tuple(_span(name, span) for span in spans)


def _span(name: str, span: Any) -> Span:  # noqa: ANN401  checked here
    if isinstance(span, int) and span < 0:
        return span
    if isinstance(span, (tuple, list)) and len(span) == 2:
        first, end = span
        if (first is None or isinstance(first, int)) and isinstance(end, int) and end <= 0:
            return first, end
    raise InputError(
        f"--{name}: a span must be a negative number or a pair (first or None, end <= 0), received {span!r}"
    )


def _patterns(near: list[tuple[Span, ...]], far: list[tuple[Span, ...]], layers: int) -> tuple[BarPattern, ...]:
    if len(near) == len(far) == 1:
        return (BarPattern(near[0], far[0]),)
    return tuple(BarPattern(near[i if len(near) > 1 else 0], far[i if len(far) > 1 else 0]) for i in range(layers))
