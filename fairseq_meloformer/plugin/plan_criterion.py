"""The criterion `museformer_plan`: cross entropy, with the song's own plan injected into a share of the batches."""

import math
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion, CrossEntropyCriterionConfig
from fairseq.logging import metrics
from fairseq.models import FairseqLanguageModel
from torch import Tensor
from torch.nn.functional import nll_loss

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection import inject
from fairseq_meloformer.injection.plan_training import PlanTraining, own_summaries

if TYPE_CHECKING:
    from fairseq_meloformer.museformer.model import MuseFormer

_DEFAULT = PlanTraining()
Logs = dict[str, Any]
Result = tuple[Tensor, int, Logs]


@dataclass
class PlanCriterionConfig(CrossEntropyCriterionConfig):
    """Options on the command line; see `PlanTraining`."""

    plan_probability: float = field(
        default=_DEFAULT.probability, metadata={"help": "share of batches into which the songs' own plan is injected"}
    )
    plan_noise: str = field(
        default=repr(_DEFAULT.noise), metadata={"help": "noise on the plan in standard deviations, to choose from"}
    )
    plan_dropped: str = field(
        default=repr(_DEFAULT.dropped), metadata={"help": "shares of bars that the plan lacks, to choose from"}
    )
    plan_near: str = field(
        default=repr(_DEFAULT.near),
        metadata={"help": "distances of bars that are still read note by note, to choose from; None: all"},
    )
    plan_through: bool = field(
        default=_DEFAULT.through,
        metadata={"help": "train the summaries that are injected too, not only how they are read"},
    )
    tempo_weight: float = field(
        default=1.0,
        metadata={"help": "of tempo tokens in the training loss: one in a bar is easily overlooked, by plans too"},
    )


@register_criterion("museformer_plan", dataclass=PlanCriterionConfig)
class PlanCriterion(CrossEntropyCriterion):
    """Cross entropy under plan training; validation reports the loss without a plan and the loss with one."""

    def __init__(
        self,
        task: Any,  # noqa: ANN401
        sentence_avg: bool,
        plan_probability: float,
        plan_noise: str,
        plan_dropped: str,
        plan_near: str,
        plan_through: bool,
        tempo_weight: float,
    ) -> None:
        super().__init__(task, sentence_avg)
        self.recipe = PlanTraining(
            probability=plan_probability,
            noise=_listed("--plan-noise", plan_noise, _is_number),
            dropped=_listed("--plan-dropped", plan_dropped, _is_number),
            near=_listed("--plan-near", plan_near, _is_near),
            through=plan_through,
        )
        if not tempo_weight > 0:
            raise InputError(f"--tempo-weight must be above 0, received {tempo_weight}")
        symbols = task.source_dictionary.symbols
        tempi = torch.tensor([symbol.startswith("t-") for symbol in symbols])
        self.weights = torch.where(tempi, tempo_weight, 1.0)

    def forward(self, model: FairseqLanguageModel, sample: Mapping[str, Any], reduce: bool = True) -> Result:
        """Loss of a batch, number of tokens, and what to log."""
        tokens = sample["net_input"]["src_tokens"]
        decoder: MuseFormer = model.decoder
        if model.training:
            wanted = self.recipe.wanted()
            with self.recipe.injected(decoder, tokens) if wanted else nullcontext():
                loss, size, logs = super().forward(model, sample, reduce=reduce)
            return loss, size, _with_plan(logs, loss if wanted else None)
        loss, size, logs = super().forward(model, sample, reduce=reduce)
        with torch.no_grad():
            plan, mask = own_summaries(decoder, tokens)
        with inject(decoder, plan, scope="plan", mask=mask):
            planned, _, _ = super().forward(model, sample, reduce=reduce)
        return loss, size, _with_plan(logs, planned)

    def compute_loss(
        self,
        model: FairseqLanguageModel,
        net_output: tuple[Tensor, None],
        sample: Mapping[str, Any],
        reduce: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Sum of the losses of all tokens, or each; weighted in training only."""
        scores = model.get_normalized_probs(net_output, log_probs=True).flatten(0, 1)
        targets = model.get_targets(sample, net_output).flatten()
        weights = self.weights.to(scores) if model.training else None
        loss = nll_loss(scores, targets, weights, ignore_index=self.padding_idx, reduction="sum" if reduce else "none")
        return loss, loss

    @staticmethod
    def reduce_metrics(logging_outputs: Sequence[Logs]) -> None:
        """Mean loss in bits a token: `loss` (in validation without a plan), and `plan_loss` of what had a plan."""
        CrossEntropyCriterion.reduce_metrics(logging_outputs)
        tokens = sum(int(log["plan_tokens"]) for log in logging_outputs)
        if tokens:
            total = sum(float(log["plan_loss"]) for log in logging_outputs)
            metrics.log_scalar("plan_loss", total / tokens / math.log(2), tokens, round=3)


def _listed(flag: str, text: str, fits: Callable[[object], bool]) -> tuple[Any, ...]:
    """The entries of a list as Python writes it."""
    try:
        entries = literal_eval(text)
    except (ValueError, SyntaxError):
        entries = None
    if not isinstance(entries, tuple | list) or not all(map(fits, entries)):
        default = getattr(PlanCriterionConfig, flag.removeprefix("--").replace("-", "_"))
        raise InputError(f"{flag} must be a list such as {default!r}, received {text!r}")
    return tuple(entries)


def _is_number(entry: object) -> bool:
    return isinstance(entry, int | float)


def _is_near(entry: object) -> bool:
    return entry is None or (isinstance(entry, tuple | list) and all(isinstance(bar, int) for bar in entry))


def _with_plan(logs: Logs, loss: Tensor | None) -> Logs:
    """The same keys in every process, since fairseq adds them up."""
    planned = (0.0, 0) if loss is None else (loss.data, logs["ntokens"])
    return {**logs, "plan_loss": planned[0], "plan_tokens": planned[1]}
