"""The model `summary_bridge`: the core's bridge, and the average of its weights that is sampled from."""

import argparse
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, cast

from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model, register_model_architecture

from fairseq_meloformer.bridge.baselines.methods import SETTINGS, Method
from fairseq_meloformer.bridge.checkpoints import SECONDS, STATE
from fairseq_meloformer.bridge.ema import Ema
from fairseq_meloformer.bridge.model import Bridge, BridgeConfig, EndpointKind
from fairseq_meloformer.bridge.network import SIZES, NetworkConfig
from fairseq_meloformer.bridge.process import BridgeProcess, Prediction, Schedule
from fairseq_meloformer.composing.command import numbers
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import ALL_AXES
from fairseq_meloformer.plugin.options import option

if TYPE_CHECKING:
    from fairseq_meloformer.museformer.config import Scope

MODEL = "summary_bridge"
_NETWORK = NetworkConfig()
_PROCESS = BridgeProcess()
_FIXED = ("museformer", "layers", "dim", "encoder_identity", "text_dim")  # by what a bridge is trained for


@dataclass
class BridgeModelConfig(FairseqDataclass):
    """Options of the model; see `NetworkConfig`, `BridgeProcess` and `BridgeConfig` of the core."""

    method: str = option("bridge", f"what makes plans: {', '.join(SETTINGS)}")
    width: int = option(_NETWORK.width, "width of the states of a bar")
    depth: int = option(_NETWORK.depth, "blocks of the denoiser")
    heads: int = option(_NETWORK.heads, "attention heads")
    conditioning: int = option(_NETWORK.conditioning, "width of the vector that steers the layer norms")
    endpoint_depth: int = option(_NETWORK.endpoint_depth, "blocks of the text end")
    dropout: float = option(_NETWORK.dropout, "after attention and feed-forward layers")
    components: int = option(0, "principal components that the bridge works on; 0: all channels")
    noise: float = option(_PROCESS.noise, "greatest standard deviation of the bridge")
    endpoint_noise: float = option(_PROCESS.endpoint_noise, "standard deviation of the text end")
    schedule: str = option(_PROCESS.schedule, "clock of the process: linear or i2sb")
    prediction: str = option(_PROCESS.prediction, "what the network predicts: x0, v or epsilon")
    endpoint: str = option("regressed", "how the text end is learned: regressed, variational, learned or none")
    most_bars: int = option(128, "largest number of bars that can be inferred from a text")
    attributes: bool = option(False, "tell the networks in numbers too what is asked for")
    axes: int = option(len(ALL_AXES), "how many axes these numbers are for; 8 leave out swing, scales, texture ...")
    bank: int = option(1024, "pieces of real music that retrieval chooses of")
    plan_scope: Optional[str] = option(None, "where plans are to be injected; the MuseFormer's own if not given")
    plan_layers: Optional[str] = option(None, "layers whose summaries are made and injected, 0,1,...; all if not given")
    average_decay: float = option(0.999, "decay of the average of the weights")  # fairseq has an --ema-decay


@register_model(MODEL, dataclass=BridgeModelConfig)
class SummaryBridgeModel(BaseFairseqModel):
    """A bridge in training.

    Args:
        bridge: what is trained.
        decay: of the average.
        tuned: whether its training begins from another bridge, which may be of another MuseFormer or text encoder.

    Attributes:
        bridge: what is trained.
        ema: its average; validation and sampling use it.
    """

    def __init__(self, bridge: Bridge, decay: float, *, tuned: bool = False) -> None:
        super().__init__()
        self.bridge = bridge
        self.ema = Ema(bridge, decay)
        self._tuned = tuned
        # In an earlier run of the same training, and when this one began.
        self._spent, self._began = 0.0, time.process_time()

    @classmethod
    def build_model(cls, cfg: BridgeModelConfig, task: Any) -> "SummaryBridgeModel":  # noqa: ANN401
        """Build the networks that `cfg` describes, for the task's store and encoder."""
        network = NetworkConfig(**{f.name: getattr(cfg, f.name) for f in dataclasses.fields(NetworkConfig)})
        schedule, prediction = cast("Schedule", cfg.schedule), cast("Prediction", cfg.prediction)
        process = BridgeProcess(cfg.noise, cfg.endpoint_noise, schedule, prediction)
        config = BridgeConfig(
            **task.sizes(),
            components=cfg.components,
            network=network,
            process=process,
            endpoint=cast("EndpointKind", cfg.endpoint),
            most_bars=cfg.most_bars,
            method=cast("Method", cfg.method),
            bank=cfg.bank if cfg.method == "retrieval" else 0,
            scope=cast("Optional[Scope]", cfg.plan_scope),
            plan_layers=None if cfg.plan_layers is None else numbers(cfg.plan_layers, "--plan-layers"),
            attributes=cfg.attributes,
            axes=cfg.axes,
        )
        bridge = Bridge(config)
        task.fit(bridge)
        return cls(bridge, cfg.average_decay, tuned=bool(task.cfg.finetune_from_model))

    def get_extra_state(self) -> dict[str, Any]:
        """What the bridge is made of, so that a checkpoint can be read without fairseq, and what it cost."""
        spent = self._spent + time.process_time() - self._began
        return {STATE: dataclasses.asdict(self.bridge.config), SECONDS: spent}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Go on counting the seconds; the configuration is the command line's.

        Raises:
            InputError: the state is that of a bridge for another MuseFormer or text encoder.
        """
        known, here = state.get(STATE, {}), dataclasses.asdict(self.bridge.config)
        other = [name for name in _FIXED if known.get(name) and here[name] and known[name] != here[name]]
        if other and not self._tuned:
            raise InputError(
                "a bridge goes on being trained for the MuseFormer and the text encoder that it began with, but "
                f"{' and '.join(f'{name} was {known[name]!r} and is {here[name]!r} here' for name in other)}: give the "
                "store and --text-encoder that it began with, or another --save-dir"
            )
        self._spent, self._began = float(state.get(SECONDS, 0.0)), time.process_time()

    def max_positions(self) -> None:
        """There is no limit."""


def arguments_of(config: BridgeConfig) -> dict[str, Any]:
    """The arguments under which this model, its task and its criterion are those of a bridge that is there."""
    values = {**dataclasses.asdict(config), **dataclasses.asdict(config.network), **dataclasses.asdict(config.process)}
    values |= {
        "plan_scope": config.scope,
        "plan_layers": None if config.plan_layers is None else ",".join(map(str, config.plan_layers)),
        "text_encoder": config.encoder,
    }
    names = {one.name for one in dataclasses.fields(BridgeModelConfig)} | {"text_encoder"}
    kind = {"arch": f"{MODEL}_mini", "task": MODEL, "criterion": MODEL}
    return kind | {name: value for name, value in values.items() if name in names}


def state_of(bridge: Bridge) -> dict[str, Any]:
    """A finished bridge as the state of a `SummaryBridgeModel`."""
    state: dict[str, Any] = SummaryBridgeModel(bridge, decay=0.0).state_dict()
    return state


def _architecture(size: str) -> None:
    def fill(args: argparse.Namespace) -> None:
        sizes = SIZES[size]
        method = getattr(args, "method", "bridge")
        if method not in SETTINGS:
            raise InputError(f"--method must be one of {', '.join(SETTINGS)}; received {method!r}")
        if method in ("regression", "prefix"):  # all they have is the text end: as deep as the others' denoiser
            sizes = dataclasses.replace(sizes, endpoint_depth=getattr(args, "depth", sizes.depth))
        for name, value in {**dataclasses.asdict(sizes), **SETTINGS[method]}.items():
            setattr(args, name, getattr(args, name, value))

    register_model_architecture(MODEL, f"{MODEL}_{size}")(fill)


for _size in SIZES:
    _architecture(_size)
