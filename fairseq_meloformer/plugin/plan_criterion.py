"""The criterion `museformer_plan`: cross entropy, with the song's own plan injected into a share of the batches."""

import math
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from fairseq import utils
from fairseq.criterions import register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion, CrossEntropyCriterionConfig
from fairseq.logging import metrics
from fairseq.models import FairseqLanguageModel
from torch import Tensor
from torch.nn.functional import nll_loss

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection import inject
from fairseq_meloformer.injection.attribute_training import AttributeReaders
from fairseq_meloformer.injection.plan_training import PlanTraining, own_summaries
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.museformer.arguments import PLAN_TRAINING

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
    first_bar_below: int = field(
        default=1,
        metadata={
            "help": "in training, number the bars of every second song from a random number below this on: else late "
            "bars are learnt from few songs, and those of dense ones, which --truncate-train cuts off, not at all"
        },
    )
    attribute_weight: float = field(
        default=0.0,
        metadata={
            "help": "of how well linear readers tell the control axes from the summaries, per bar and axis: summaries "
            "learn to say them. Needs --plan-through, and quantiles.json in the data folder"
        },
    )


@register_criterion(PLAN_TRAINING, dataclass=PlanCriterionConfig)
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
        first_bar_below: int,
        attribute_weight: float,
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
        if not first_bar_below >= 1:
            raise InputError(
                f"--first-bar-below must be at least 1 (no other number than 0), received {first_bar_below}"
            )
        self.first_bar_below = first_bar_below
        self.attribute_weight = attribute_weight
        self.readers = _readers(task, attribute_weight, through=plan_through)
        tempi = torch.tensor([symbol.startswith("t-") for symbol in task.source_dictionary.symbols])
        self.weights = torch.where(tempi, tempo_weight, 1.0)

    def forward(self, model: FairseqLanguageModel, sample: Mapping[str, Any], reduce: bool = True) -> Result:
        """Loss of a batch, number of tokens, and what to log."""
        tokens = sample["net_input"]["src_tokens"]
        decoder: MuseFormer = model.decoder
        if model.training:
            wanted = self.recipe.wanted()  # drawn first: processes, which share the seed, then draw the same
            with decoder.counting_from(self._first_bars(tokens)):
                if wanted:
                    return self._planned(model, sample, reduce)
                loss, size, logs = super().forward(model, sample, reduce=reduce)
            # In batches that the readers have no part in, DistributedDataParallel still expects them.
            unused = sum(parameter.sum() for parameter in self.parameters())
            return loss + 0 * unused, size, _logs(logs)
        loss, size, logs = super().forward(model, sample, reduce=reduce)
        with torch.no_grad():
            plan, mask = own_summaries(decoder, tokens, sample["net_input"]["bars"])
        with inject(decoder, plan, scope="plan", mask=mask):
            planned, _, _ = super().forward(model, sample, reduce=reduce)
        return loss, size, _logs(logs, planned)

    def load_state_dict(self, state_dict: Mapping[str, Tensor] | None, strict: bool = True, **more: bool) -> Any:  # noqa: ANN401
        """Readers go on as they were; from a checkpoint that was trained without any, they begin anew."""
        return super().load_state_dict(state_dict, strict, **more) if state_dict else None

    def _planned(self, model: FairseqLanguageModel, sample: Mapping[str, Any], reduce: bool) -> Result:
        """A batch with its songs' own plan; its loss has the readers' error in it, what is logged keeps them apart."""
        tokens, decoder = sample["net_input"]["src_tokens"], model.decoder
        plan, mask = self.recipe.plan(decoder, tokens, sample["net_input"]["bars"])
        with self.recipe.injected(decoder, plan, mask):
            loss, size, logs = super().forward(model, sample, reduce=reduce)
        if self.readers is None:
            return loss, size, _logs(logs, loss)
        error, count = self.readers(plan, mask, sample["positions"])
        return loss + self.attribute_weight * error, size, _logs(logs, loss, error, count)

    def _first_bars(self, tokens: Tensor) -> Tensor:
        """Numbers (songs,) of first bars, half of them 0."""
        songs, device = (len(tokens),), tokens.device
        return torch.randint(self.first_bar_below, songs, device=device) * torch.randint(2, songs, device=device)

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
        """Mean loss in bits a token: `loss` (in validation without a plan), and `plan_loss` of what had a plan.

        `attribute_error` is the readers' mean squared error, of positions from -1 to 1.
        """
        CrossEntropyCriterion.reduce_metrics(logging_outputs)
        tokens = sum(int(log["plan_tokens"]) for log in logging_outputs)
        if tokens:
            total = sum(float(log["plan_loss"]) for log in logging_outputs)
            metrics.log_scalar("plan_loss", total / tokens / math.log(2), tokens, round=3)
        values = sum(int(log["attribute_values"]) for log in logging_outputs)
        if values:
            total = sum(float(log["attribute_error"]) for log in logging_outputs)
            metrics.log_scalar("attribute_error", total / values, values, round=3)


def _readers(task: Any, weight: float, *, through: bool) -> AttributeReaders | None:  # noqa: ANN401
    """Readers of the task's model, if they have any weight; its songs are then measured as they are loaded."""
    if not weight >= 0:
        raise InputError(f"--attribute-weight must be at least 0, received {weight}")
    if not weight:
        return None
    if not through:
        raise InputError("--attribute-weight needs --plan-through: otherwise nothing trains the summaries")
    task.quantiles = Quantiles.load(Path(utils.split_paths(task.args.data)[0]) / "quantiles.json")
    return AttributeReaders(task.config.layers, task.config.dim)


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


def _logs(logs: Logs, planned: Tensor | None = None, error: Tensor | None = None, values: Tensor | None = None) -> Logs:
    """The same keys in every process, and tensors in all or none, since fairseq adds them up."""
    nothing = torch.zeros_like(logs["loss"])
    return {
        **logs,
        "plan_loss": nothing if planned is None else planned.data,
        "plan_tokens": 0 if planned is None else logs["ntokens"],
        "attribute_error": nothing if error is None else error.data,
        "attribute_values": nothing if values is None else values,
    }
