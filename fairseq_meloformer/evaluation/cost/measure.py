"""What a unit of each stage takes on the machine at hand, and how many FLOPs it is: a minute of real steps.

A FLOP is one addition or multiplication of a matrix product, counted by torch itself as the steps run.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from fairseq_meloformer.bridge.baselines.objective import loss as bridge_loss
from fairseq_meloformer.bridge.model import Bridge, BridgeConfig
from fairseq_meloformer.bridge.objective import Batch, Weights
from fairseq_meloformer.corpus.prepare import PrepareSettings, tokenise
from fairseq_meloformer.encoders import registry
from fairseq_meloformer.encoders.embeddings import TextStates
from fairseq_meloformer.evaluation.cost.work import PASSAGE_BARS, TOKENS, UPDATE_TOKENS
from fairseq_meloformer.injection.plan_training import PlanTraining
from fairseq_meloformer.measures.attributes import ALL_AXES
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.museformer.precision import autocast
from fairseq_meloformer.tokens.remi_decoding import decode
from fairseq_meloformer.tokens.vocabulary import BOS, published

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from fairseq_meloformer.evaluation.cost.work import Size

_SONG: Final = 1200  # tokens of the song that steps are measured on
_TEXTS: Final = ("a slow lullaby, high and soft", "暴风雨", "a night train through snow", "江南烟雨，古筝")
_PASSAGES: Final = 8
_FILES: Final = 4
_COMPONENTS: Final = 128


@dataclass(frozen=True)
class Unit:
    """What one unit of a stage takes.

    Attributes:
        seconds: of one core, or of the GPU, of this machine, if nothing else is done there.
        flops: of matrix products here.
        gpu_flops: in the form that a GPU calculates in.
        gpu_operations: that the processor has to start there.
    """

    seconds: float
    flops: float = 0.0
    gpu_flops: float = 0.0
    gpu_operations: float = 0.0


@dataclass(frozen=True)
class Measured:
    """A size on this machine.

    Attributes:
        units: by stage, see `work.STAGES`; files are prepared by one core.
        museformer, bridge: parameters of each.
        kept_a_token: bytes that a training step keeps of a token for its way back.
    """

    units: dict[str, Unit]
    museformer: int
    bridge: int
    kept_a_token: float


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that are started while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """See torch's."""
        self.count += 1
        return func(*args, **(kwargs or {}))


def measure(size: Size, device: torch.device) -> Measured:
    """Run each stage's step on invented music: once to warm up, once by the clock and once to count."""
    torch.manual_seed(0)
    model = MuseFormer(size.museformer).to(device)
    tokens, bars = _tokens(_SONG, 1)
    kept = [0]

    def keep(tensor: Tensor) -> Tensor:
        kept[0] += tensor.nbytes
        return tensor

    steps = _museformer_steps(model, tokens.to(device), bars)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        steps["train MuseFormer"]()
    # Tensors without numbers: a batch as the scripts have it, in the form that a GPU takes, at no cost.
    batch, most = _tokens(UPDATE_TOKENS // 2, 2)
    abroad = _museformer_steps(MuseFormer(size.museformer).to("meta"), batch.to("meta"), most)
    units = {"prepare": Unit(_file_seconds())}
    for stage, step in steps.items():
        flops, operations = _counted(abroad[stage], batch.numel())
        units[stage] = _unit(step, tokens.numel(), device, flops, operations)
    encoder = registry.load("e5-small", device)
    units["encode texts"] = _unit(lambda: encoder.encode(_TEXTS), len(_TEXTS), device)
    layers, dim = size.museformer.layers, size.museformer.dim
    components = min(_COMPONENTS, layers * dim)
    config = BridgeConfig(layers, dim, encoder.dim, components, size.bridge, attributes=True)
    bridge = Bridge(config).to(device)
    units["train bridge"] = _unit(_bridge_step(bridge, encoder.encode(_TEXTS), device), _PASSAGES, device)
    museformer, network = (sum(p.numel() for p in module.parameters()) for module in (model, bridge))
    return Measured(units, museformer, network, kept[0] / tokens.numel())


def _tokens(length: int, songs: int) -> tuple[Tensor, int]:
    """Ids (songs, about length) of one song, and its bars."""
    words = song(length - 1)
    return torch.tensor([[BOS, *published().ids(words)]] * songs), words.count("b-1")


def _museformer_steps(model: MuseFormer, tokens: Tensor, bars: int) -> dict[str, Callable[[], object]]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    recipe = PlanTraining(probability=1.0, through=True)
    precision = nullcontext() if tokens.is_meta else autocast(tokens.device)

    def learn(injected: AbstractContextManager[None]) -> None:
        with precision, injected:
            logits = model.train()(tokens, bars=bars)
        optimizer.zero_grad()
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
        torch.autograd.backward(loss)
        optimizer.step()

    def with_plan() -> None:
        with precision:
            plan, mask = recipe.plan(model, tokens, bars)
        learn(recipe.injected(model, plan, mask))

    @torch.no_grad()
    def extract() -> None:
        model.eval().summaries(tokens, bars=bars)

    return {"train MuseFormer": lambda: learn(nullcontext()), "tune it to plans": with_plan, "extract": extract}


def _unit(
    step: Callable[[], object], count: int, device: torch.device, gpu_flops: float = 0.0, gpu_operations: float = 0.0
) -> Unit:
    """A step of so many units; where a GPU's form is not given, it is the one here."""
    step()
    _wait(device)
    # What else a processor does is not counted; what a GPU does is not the processor's.
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    began = clock()
    step()
    _wait(device)
    seconds = clock() - began
    flops, operations = _counted(step, count)
    return Unit(seconds / count, flops, gpu_flops or flops, gpu_operations or operations)


def _counted(step: Callable[[], object], count: int) -> tuple[float, float]:
    """FLOPs and operations of a unit."""
    with FlopCounterMode(display=False) as flops, Operations() as operations:
        step()
    return flops.get_total_flops() / count, operations.count / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _bridge_step(bridge: Bridge, texts: TextStates, device: torch.device) -> Callable[[], None]:
    optimizer = torch.optim.Adam(bridge.parameters(), lr=1e-4)
    text = TextStates.pad([texts.texts()[number % len(_TEXTS)] for number in range(_PASSAGES)])
    config = bridge.config
    summaries = torch.randn(_PASSAGES, PASSAGE_BARS, config.layers, config.dim, device=device)
    bars = torch.full((_PASSAGES,), PASSAGE_BARS, device=device)
    batch = Batch(summaries, bars, text, range(_PASSAGES), torch.zeros(_PASSAGES, len(ALL_AXES), device=device))

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(bridge_loss(bridge, batch, Weights()).total / _PASSAGES)
        optimizer.step()

    return step


def _file_seconds() -> float:
    """Seconds in which one core turns a MIDI file into tokens and measurements, in windows as bridges learn from."""
    settings = PrepareSettings(
        "published", "4/4", normalise_pitch=True, window_bars="8-32", hop=None, augment=0, seed=0
    )
    with TemporaryDirectory() as folder:
        for number in range(_FILES):
            decode(song(TOKENS, number)).dump(str(Path(folder) / f"{number}.mid"))
        work = partial(tokenise, Path(folder), settings)
        work("0.mid")
        began = time.process_time()
        for number in range(_FILES):
            work(f"{number}.mid")
        return (time.process_time() - began) / _FILES


def song(most: int, seed: int = 0) -> list[str]:
    """A song of whole bars of about 120 tokens, of all instruments of the six tracks, with at most so many tokens."""
    rng = Random(seed)
    tokens: list[str] = []
    while True:
        bar = ["t-28"]
        for onset in range(0, 48, 6):
            bar.append(f"o-{onset}")
            for program, low, high in ((80, 67, 84), (128, 163, 170), (43, 36, 48)):
                if program != 80 or onset % 12 == 0:
                    bar += [f"i-{program}", f"p-{rng.randint(low, high)}", "d-5", f"v-{rng.randint(15, 25)}"]
        bar.append("b-1")
        if len(tokens) + len(bar) > most:
            return tokens
        tokens += bar
