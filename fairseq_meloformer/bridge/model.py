"""The bridge as a whole: networks, statistics, and the identity of the text encoder it was trained with."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, get_args

import torch
from safetensors.torch import save
from torch import Tensor, nn

from fairseq_meloformer import hub, weights
from fairseq_meloformer.bridge import sampler
from fairseq_meloformer.bridge.baselines import vae
from fairseq_meloformer.bridge.baselines.methods import DENOISING, WITH_END, Method
from fairseq_meloformer.bridge.baselines.retrieval import Retrieval
from fairseq_meloformer.bridge.conditioning import AttributeConditioning
from fairseq_meloformer.bridge.network import BarsHead, Denoiser, Endpoint, NetworkConfig
from fairseq_meloformer.bridge.process import BridgeProcess
from fairseq_meloformer.bridge.standardise import SummaryStandardiser, TextStandardiser
from fairseq_meloformer.encoders import registry
from fairseq_meloformer.encoders.embeddings import TextEncoder, TextStates
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic, write_json
from fairseq_meloformer.measures.attributes import ALL_AXES, AXES, MANNERS
from fairseq_meloformer.museformer.config import SCOPES, Scope
from fairseq_meloformer.words import wishes
from fairseq_meloformer.words.directions import SILENCE
from fairseq_meloformer.words.plain import simplified
from fairseq_meloformer.words.probe import Probe, amounts
from fairseq_meloformer.words.prompts import MOST_BARS

EndpointKind = Literal["regressed", "variational", "learned", "none"]


@dataclass(frozen=True)
class BridgeConfig:
    """Everything that a bridge is built from, apart from its weights.

    Attributes:
        layers: summaries per bar of the MuseFormer.
        dim: width of a summary.
        text_dim: width of the text encoder's states.
        components: principal components that the bridge works on, 0 for all channels.
        network: sizes of the networks.
        process: the forward process and the prediction's form.
        endpoint: z_text regressed to the music end, a variational mean and variance with a small KL term, or learned
            through the bridge's own loss alone; "none" where the end is zero, or a method has no use for it.
        most_bars: the largest number of bars that can be inferred from a text.
        method: the bridge, or what it is compared with (see `baselines`).
        bank: pieces of which retrieval chooses; 0 for the other methods.
        scope: where the plans are to be injected, if that is not for the MuseFormer to say.
        plan_layers: layers (from 0) whose summaries are made and injected; all if None.
        attributes: whether the networks are also told in numbers what is asked for (see `asked`).
        axes: how many of `attributes.ALL_AXES` these numbers are for; those of the first release knew eight.
        encoder: specification of the text encoder.
        encoder_identity: its hash; empty until it is known.
        museformer: hash of the MuseFormer whose summaries these are; empty if unknown.
    """

    layers: int
    dim: int
    text_dim: int
    components: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    process: BridgeProcess = field(default_factory=BridgeProcess)
    endpoint: EndpointKind = "regressed"
    most_bars: int = 128
    method: Method = "bridge"
    bank: int = 0
    scope: Scope | None = None
    plan_layers: tuple[int, ...] | None = None
    attributes: bool = False
    axes: int = len(AXES)
    encoder: str = "e5-small"
    encoder_identity: str = ""
    museformer: str = ""

    def __post_init__(self) -> None:
        """Refuse what no bridge can be built from."""
        sizes = (self.layers, self.dim, self.text_dim, self.most_bars)
        if not 1 <= min(sizes) <= max(*sizes, self.bank) <= weights.LARGEST or min(self.bank, self.components) < 0:
            raise InputError(
                f"layers, dim, text_dim and most_bars must be from 1 to {weights.LARGEST}, components and bank at "
                f"least 0; received {self}"
            )
        if self.endpoint not in get_args(EndpointKind):
            raise InputError(f"endpoint must be one of {', '.join(get_args(EndpointKind))}; received {self.endpoint!r}")
        if self.method not in get_args(Method):
            raise InputError(f"method must be one of {', '.join(get_args(Method))}; received {self.method!r}")
        if (self.endpoint == "none") == (self.method in WITH_END):
            raise InputError(
                f"the methods {', '.join(sorted(WITH_END))} need a text end, the others must have endpoint none; "
                f"received method {self.method} with endpoint {self.endpoint}"
            )
        if not 1 <= self.axes <= len(ALL_AXES):
            raise InputError(f"axes must be 1 to {len(ALL_AXES)}, received {self.axes}")
        if self.scope not in (None, *SCOPES):
            raise InputError(f"scope must be one of {', '.join(SCOPES)}, or None; received {self.scope!r}")
        if self.plan_layers is not None and (
            not self.plan_layers or sorted(set(self.plan_layers) & set(range(self.layers))) != list(self.plan_layers)
        ):
            raise InputError(
                f"plan_layers must be some of the MuseFormer's layers 0 to {self.layers - 1}, in order and each once; "
                f"received {self.plan_layers}"
            )


class Bridge(nn.Module):
    """From texts to plans, (batch, bars, layers, dim) summaries for a frozen MuseFormer.

    The text encoder is frozen and no part of the state; it is loaded when the first text comes.
    """

    def __init__(self, config: BridgeConfig, encoder: TextEncoder | None = None) -> None:
        super().__init__()
        self.config = config
        self.summaries = SummaryStandardiser(config.layers, config.dim, config.components, config.plan_layers)
        self.text = TextStandardiser(config.text_dim)
        channels = self.summaries.channels
        if config.method in DENOISING or config.method == "vae":
            self.denoiser = Denoiser(config.network, channels, config.text_dim)
        self.endpoint = None
        if config.endpoint != "none":
            variational = config.endpoint == "variational"
            self.endpoint = Endpoint(config.network, channels, config.text_dim, variational=variational)
        if config.method == "vae":
            self.latents = vae.Latents(channels, config.network.width)
        if config.method == "retrieval":
            self.retrieval = Retrieval(channels, config.text_dim, config.network.width, config.bank)
        self.bars_head = BarsHead(config.text_dim, config.network.width, config.most_bars)
        self.asked = AttributeConditioning(config.text_dim, config.axes) if config.attributes else None
        if encoder is not None:
            self.encoder = self._checked(encoder)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The frozen text encoder, on the bridge's device."""
        return self._checked(registry.load(self.config.encoder, self.device))

    @cached_property
    def reader(self) -> Probe:
        """What reads in a prompt the numbers that the networks are told; only if `config.attributes`."""
        return self._sharing(Probe.from_pretrained())

    def read_with(self, probe: Probe) -> None:
        """Let this probe be the reader."""
        vars(self)["reader"] = self._sharing(probe)  # set as an attribute, a module would join the bridge's weights

    def _sharing(self, probe: Probe) -> Probe:
        """The probe, with the encoder of the bridge if it is made for that: one in memory is enough."""
        if probe.config.encoder_identity == self.encoder.identity:
            probe.encoder = self.encoder
        return probe

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.summaries.mean.device

    def plan(
        self,
        texts: Sequence[str],
        bars: int | Sequence[int | None] | None = None,
        *,
        guidance_scale: float = 1.0,
        nfe: int = 10,
        seed: int | Sequence[int] = 0,
        method: sampler.Method = "deterministic",
    ) -> tuple[Tensor, Tensor]:
        """Sample a plan for each text.

        Args:
            texts: prompts, at least one.
            bars: number of bars, for all or for each; None where the text says it or the bridge is to choose.
            guidance_scale: weight of the text against the null text; 1 is the conditional model, 0 the unconditional.
            nfe: evaluations of the denoiser.
            seed: of each text, or of the first, from which the others count on. A plan depends on its own text, number
                of bars and seed, and not on the rest of the batch.
            method: "deterministic" for few steps, "posterior" for ancestral sampling.

        Returns:
            The plan (batch, bars, layers, dim), zero in padding, and a mask (batch, bars), True at bars.

        Raises:
            InputError: a number of bars is out of range, or lists are of unequal length.
        """
        seeds = [seed + index for index in range(len(texts))] if isinstance(seed, int) else list(seed)
        wanted = [bars] * len(texts) if bars is None or isinstance(bars, int) else list(bars)
        if not texts or not len(texts) == len(seeds) == len(wanted):
            raise InputError(
                f"a plan needs at least one text, and a seed and a number of bars for each (or one for all); received "
                f"{len(texts)} texts, {len(seeds)} seeds and {len(wanted)} numbers of bars"
            )
        text = self.read(texts)
        counts = self.count_bars(texts, text, wanted, seeds)
        channels, mask = self.sample(text, counts, seeds, guidance_scale=guidance_scale, nfe=nfe, method=method)
        with torch.no_grad():
            return self.summaries.denormalise(channels) * mask[..., None, None], mask

    @torch.no_grad()
    def sample(
        self,
        text: TextStates,
        bars: Sequence[int],
        seeds: Sequence[int],
        *,
        guidance_scale: float,
        nfe: int,
        method: sampler.Method,
    ) -> tuple[Tensor, Tensor]:
        """Standardised plans (batch, bars, channels), zero in padding, and the mask (batch, bars).

        Methods that do not denoise need one evaluation. Of them only retrieval heeds ``guidance_scale``, and only it
        and the autoencoder heed the seeds: of the others, a text has one plan.
        """
        mask = torch.arange(max(bars), device=self.device) < torch.tensor(bars, device=self.device)[:, None]
        if self.config.method == "retrieval":
            return self.retrieval.find(text.pooled, bars, seeds, guidance_scale), mask
        if self.config.method == "vae":
            drawn = sampler.Noise(bars, seeds, vae.PIECE + vae.BAR, self.device).draw()
            latents = vae.together(drawn[:, 0, : vae.PIECE], drawn[..., vae.PIECE :])
            return self.latents.decode(self.denoiser, latents, text, mask) * mask[..., None], mask
        ends = self.ends(text, mask)
        if self.config.method not in DENOISING:
            return ends[0] * mask[..., None], mask
        noise = sampler.Noise(bars, seeds, self.summaries.channels, self.device)
        return sampler.sample(
            self.denoiser,
            self.config.process,
            ends,
            text,
            mask,
            noise,
            guidance_scale=guidance_scale,
            nfe=nfe,
            method=method,
        ), mask

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> TextStates:
        """Encode and standardise texts, and read in them what else the networks are told."""
        texts = [simplified(text) for text in texts]
        encoded = self.encoder.encode(texts).to(self.device)
        if self.asked is None:
            return self.told(encoded, None)
        manners = [[wishes.read(text).manners.get(axis, 0.0) for axis in MANNERS] for text in texts]
        values = torch.cat([self.reader.read(texts).cpu(), torch.tensor(manners)], 1)
        asked = amounts(values).masked_fill(values.abs() < SILENCE, torch.nan)
        return self.told(encoded, asked.to(self.device))

    def told(self, text: TextStates, values: Tensor | None) -> TextStates:
        """Encoded texts as the networks take them, with values (batch, axes) of what is asked if they take those."""
        standard: TextStates = self.text(text)
        if self.asked is None:
            return standard
        if values is None:
            raise InputError("this bridge is told what is asked for in numbers, but received none")
        complete: TextStates = self.asked(standard, values)
        return complete

    @torch.no_grad()
    def count_bars(
        self, texts: Sequence[str], text: TextStates, wanted: Sequence[int | None], seeds: Sequence[int]
    ) -> list[int]:
        """Numbers of bars: those that are wanted, else stated in the text, else drawn from what the text suggests."""
        shares = self.bars_head(text.pooled).softmax(-1).cpu()
        counts = []
        for prompt, share, given, seed in zip(texts, shares, wanted, seeds, strict=True):
            drawn = 1 + int(torch.multinomial(share, 1, generator=torch.Generator().manual_seed(seed)))
            count = given if given is not None else wishes.read(prompt).bars or drawn
            if not 1 <= count <= MOST_BARS:
                raise InputError(f"a plan must have 1 to {MOST_BARS} bars; received {count} for {prompt!r}")
            counts.append(count)
        return counts

    def ends(self, text: TextStates, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of z_text, (batch, bars, channels) each, for standardised text."""
        if self.endpoint is None:
            nothing = text.pooled.new_zeros(*mask.shape, self.summaries.channels)
            return nothing, nothing
        output = self.endpoint(text, mask)
        if self.config.endpoint != "variational":
            return output, torch.zeros_like(output)
        mean, log_variance = output.chunk(2, -1)
        return mean, (log_variance.clamp(-10, 10) / 2).exp()

    def save_pretrained(self, directory: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``; the text encoder is named in the latter, not written."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_atomic(Path(directory) / "model.safetensors", lambda file: file.write(save(weights)))
        write_json(Path(directory) / "config.json", {"kind": "bridge", **dataclasses.asdict(self.config)})

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, encoder: TextEncoder | None = None, device: torch.device | str = "cpu"
    ) -> Self:
        """Read what ``save_pretrained`` wrote, ready for use.

        Args:
            directory: with ``model.safetensors`` and ``config.json``, or a Hub id.
            encoder: the text encoder, if it is loaded already or lives elsewhere than in training.
            device: where to put the weights.

        Raises:
            InputError: a file is missing or not a bridge's, or the encoder is another than in training.
        """
        directory = hub.local(directory)
        for name in ("config.json", "model.safetensors"):
            if not (directory / name).is_file():
                there = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else "no directory"
                raise InputError(
                    f"{directory} must be a bridge (config.json and model.safetensors); {name} is missing, there is "
                    f"{there}. `scripts/train_bridge.sh` writes one"
                )
        fields = weights.read_fields(directory)
        if fields.pop("kind", None) != "bridge":
            raise InputError(f"{directory / 'config.json'} must describe a bridge (kind: bridge); it does not")
        config = weights.checked(BridgeConfig, fields, str(directory / "config.json"))
        bridge = weights.described(lambda: cls(config, encoder))
        weights.fill(bridge, weights.read_tensors(directory / "model.safetensors"), str(directory))
        return bridge.to(device).eval()

    def _checked(self, encoder: TextEncoder) -> TextEncoder:
        expected = self.config.encoder_identity
        if encoder.dim != self.config.text_dim or (expected and encoder.identity != expected):
            raise InputError(
                f"this bridge was trained with the text encoder {self.config.encoder} of width {self.config.text_dim} "
                f"and identity {expected or 'unknown'}; received one of width {encoder.dim} and identity "
                f"{encoder.identity}: its weights, tokenizer or prefix differ, so name the original one or train again"
            )
        return encoder
