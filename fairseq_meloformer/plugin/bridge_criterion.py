"""The criterion `summary_bridge`: the bridge's loss, logged per quarter of the time and per layer of MuseFormer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor

from fairseq_meloformer.bridge.baselines.objective import loss
from fairseq_meloformer.bridge.objective import QUARTERS, Batch, Weights
from fairseq_meloformer.encoders.embeddings import TextStates
from fairseq_meloformer.injection import prefix_training
from fairseq_meloformer.museformer.precision import autocast
from fairseq_meloformer.plugin.bridge_model import SummaryBridgeModel
from fairseq_meloformer.plugin.options import option

_DEFAULT = Weights()
Logs = dict[str, Any]


@dataclass
class BridgeCriterionConfig(FairseqDataclass):
    """Options; see `Weights` of the core."""

    endpoint_weight: float = option(_DEFAULT.endpoint, "of the squared error of a regressed text end")
    kl_weight: float = option(_DEFAULT.kl, "of the divergence of a variational text end")
    bars_weight: float = option(_DEFAULT.bars, "of the cross-entropy of the number of bars")
    latent_weight: float = option(_DEFAULT.latents, "of the divergence of an autoencoder's latents")
    text_dropout: float = option(_DEFAULT.text_dropout, "share of songs whose text is withheld, for guidance")


@register_criterion("summary_bridge", dataclass=BridgeCriterionConfig)
class BridgeCriterion(FairseqCriterion):
    """Training takes the loss of the bridge itself, validation that of its average."""

    def __init__(
        self,
        task: Any,  # noqa: ANN401
        endpoint_weight: float,
        kl_weight: float,
        bars_weight: float,
        latent_weight: float,
        text_dropout: float,
    ) -> None:
        super().__init__(task)
        self._weights = Weights(endpoint_weight, kl_weight, bars_weight, latent_weight, text_dropout)

    def forward(
        self,
        model: SummaryBridgeModel,
        sample: Mapping[str, Any],
        reduce: bool = True,  # noqa: ARG002  always a sum
    ) -> tuple[Tensor, int, Logs]:
        """Sum of the losses of a batch, number of songs, and what to log; products in bfloat16 where that is faster."""
        given = sample["net_input"]
        text = TextStates(given["states"], given["mask"], given["pooled"])
        batch = Batch(given["summaries"], given["bars"], text, given["seeds"], given["attributes"])
        bridge = model.bridge if model.training else model.ema.average
        with autocast(bridge.device):
            if bridge.config.method == "prefix":
                museformer = self.task.museformer.to(bridge.device)
                result = prefix_training.loss(bridge, museformer, batch, given["songs"], self._weights)
            else:
                result = loss(bridge, batch, self._weights)
        logs = {"loss": result.total.detach(), "songs": result.songs, "sample_size": result.songs, **result.parts}
        return result.total, result.songs, {**logs, "ntokens": sample["ntokens"], "nsentences": sample["nsentences"]}

    @staticmethod
    def reduce_metrics(logging_outputs: Sequence[Logs]) -> None:
        """Means over songs."""
        totals: dict[str, float] = {}
        for logs in logging_outputs:
            for name, value in logs.items():
                totals[name] = totals.get(name, 0.0) + float(value)
        songs = totals["songs"]
        counts = {"songs", "sample_size", "ntokens", "nsentences"}
        for name in (name for name in totals if name not in counts and not name.startswith("quarter_")):
            metrics.log_scalar(name, totals[name] / songs, songs, round=4)
        for quarter in range(QUARTERS):
            name = f"quarter_{quarter}"
            if count := totals.get(f"{name}_songs", 0):
                metrics.log_scalar(name, totals[name] / count, count, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Whether fairseq may add up what processes log."""
        return True
