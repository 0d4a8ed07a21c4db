"""The full system: decoding control on top of the injected plan, by constraints, tilted logits and choosing candidates.

What a prompt says outright (a tempo, a key, instruments) is kept exactly. What it is understood to ask for otherwise
tilts the logits, and of several candidates the one that is measured to be nearest to it, and does not stay on a note,
is kept. "Bridge only" is composing without any of this; reports keep the two apart.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from fairseq_meloformer.composing.composer import Composer, Piece, Settings
from fairseq_meloformer.composing.tilt import leap_tilt, tilt
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES, Attributes, Value, measure
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.measures.tonality import PITCH_NAMES
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.checkpoints import model_hash
from fairseq_meloformer.pretrained import MUSEFORMER
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.tokens.codes import TEMPI, tempo_code
from fairseq_meloformer.tokens.vocabulary import Vocabulary
from fairseq_meloformer.words import exact
from fairseq_meloformer.words.directions import SILENCE
from fairseq_meloformer.words.exact import Exact
from fairseq_meloformer.words.probe import Probe, amounts
from fairseq_meloformer.words.prompts import Request, seed_of

QUANTILES: Final = "quantiles.json"
"""File beside a model: quantiles of the axes in what it writes without injection, or in its corpus."""

# Added to logits of what must or must not come; the grammar still has the last word.
_MUST: Final = 1e4
# From which strength on the reading for drums decides whether they play, also beside instruments that are named.
_DRUMS_FROM: Final = 0.3
_DRUMS_BESIDE_FROM: Final = 0.7
# From which strength on a reading for tempo rules out the other side of the median.
_TEMPO_FROM: Final = 0.2
# A faint request is met on the asked side of the median, not only as faintly as it was made.
_LEAST_TARGET: Final = 0.5
# What a wrong mode costs where a key is asked for, and wrong instruments, in units of a wholly missed axis.
_WRONG_MODE: Final = 4.0
_WRONG_INSTRUMENTS: Final = 4.0
# Share of the sounding time that one pitch class may have: in real songs it has less in 95 % of places of four bars.
# The candidate that is lowest, or keeps to its mode best, may be one that stays on a note.
_DRONE: Final = 0.6
_DRONE_BARS: Final = 4


@dataclass(frozen=True)
class DecodingControl:
    """How far the full system goes.

    Attributes:
        strength: of the tilt of the logits, see `tilt`; 0 for none.
        best_of: candidates of which the one nearest to the request is kept.
    """

    strength: float = 0.5
    best_of: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            InputError: no candidate, or a tilt that would leave nothing of the model.
        """
        if self.best_of < 1 or not 0 <= self.strength <= 10:
            raise InputError(
                f"the full system needs at least 1 candidate and a tilt of 0 to 10, received {self.best_of} and "
                f"{self.strength}"
            )


@dataclass(frozen=True)
class Part:
    """What some bars (from 0, `last` not included; None for the end) are understood to ask for."""

    first: int
    last: int | None
    profile: Mapping[str, float]
    exact: Exact

    @property
    def programs(self) -> frozenset[int]:
        """Instruments of the six that may play."""
        programs = exact.SIX if self.exact.programs is None else self.exact.programs
        drums = self.profile.get("drums", 0.0)
        if self._drummed:
            return programs | {DRUMS}
        return programs - {DRUMS} if drums <= -_DRUMS_FROM and programs != {DRUMS} else programs

    @property
    def required(self) -> frozenset[int]:
        """Instruments that should be heard."""
        return (self.exact.playing | ({DRUMS} if self._drummed else set())) & self.programs

    @property
    def _drummed(self) -> bool:
        return self.profile.get("drums", 0.0) >= (_DRUMS_BESIDE_FROM if self.exact.only else _DRUMS_FROM)


class FullSystem:
    """A composer with decoding control.

    Args:
        composer: makes the candidates.
        probe: reads prompts.
        quantiles: of what the model writes without being asked for anything, or of its corpus.
        control: how far it goes.
    """

    def __init__(
        self, composer: Composer, probe: Probe, quantiles: Quantiles, control: DecodingControl | None = None
    ) -> None:
        self.composer = composer
        self.probe = probe
        self.quantiles = quantiles
        self.control = control or DecodingControl()
        if composer.bridge is not None:
            composer.bridge.read_with(probe)

    def identity(self) -> dict[str, Any]:
        """What of it shapes pieces, for the manifest: how far it goes, and hashes of the probe and the quantiles."""
        quantiles = hashlib.sha256(json.dumps(self.quantiles.values, sort_keys=True).encode()).hexdigest()
        return {**asdict(self.control), "probe": model_hash(self.probe.state_dict()), "quantiles": quantiles}

    def compose(
        self, requests: Sequence[Request], settings: Settings, oracle: Tensor | tuple[Tensor, Tensor] | None = None
    ) -> list[Piece]:
        """Compose a batch of pieces, see `Composer.compose`."""
        if not requests:
            return []
        understood = self.understand(requests)
        number = self.control.best_of
        # All candidates are as long as the first: a long one among them would be waited for in vain.
        sized = self.composer.sized(requests) if settings.injected and oracle is None else requests
        candidates = [_candidate(request, index) for request in sized for index in range(number)]
        bias = self.bias([parts for parts in understood for _ in range(number)])
        made = self.composer.compose(candidates, settings, oracle, bias=bias)
        chosen = []
        for index, (request, parts) in enumerate(zip(requests, understood, strict=True)):
            best = self._best(made[index * number : (index + 1) * number], parts)
            chosen.append(_finished(best, request, parts))
        return chosen

    def understand(self, requests: Sequence[Request]) -> list[list[Part]]:
        """What each request asks for, by section."""
        spans = [_spans(request) for request in requests]
        texts = [text for request in spans for _, _, text in request]
        readings = iter(self.probe.read(texts).tolist())
        return [[_part(first, last, text, next(readings)) for first, last, text in request] for request in spans]

    def bias(self, songs: Sequence[Sequence[Part]]) -> Bias:
        """What to add to the logits of each song."""
        bars = max(parts[-1].first for parts in songs) + 1
        rows = {id(part): self._row(part) for parts in songs for part in parts}
        of_bars = [[rows[id(_at(parts, bar))] for bar in range(bars)] for parts in songs]
        return Bias(
            self.composer.vocabulary,
            torch.stack([torch.stack([tokens for tokens, _ in song]) for song in of_bars]),
            torch.tensor([[leaps for _, leaps in song] for song in of_bars]),
        )

    def _row(self, part: Part) -> tuple[Tensor, float]:
        """Bias of tokens and of leaps while a part is written."""
        vocabulary, strength = self.composer.vocabulary, self.control.strength
        moved = strength * amounts(torch.tensor(list(part.profile.values())))
        asked = dict(zip(part.profile, moved.tolist(), strict=True))
        bias = tilt(vocabulary, asked, part.required)
        tempi = self._tempi(part)
        bias += _MUST * torch.tensor([symbol in tempi for symbol in vocabulary.symbols])
        for program in exact.SIX - part.programs:
            bias[_instrument(vocabulary, program)] -= _MUST
        return bias, leap_tilt(asked)

    def _tempi(self, part: Part) -> set[str]:
        """Tempo tokens to choose from: the one asked for, or those on the asked side of the median; none for any."""
        if part.exact.tempo is not None:
            return {f"t-{int(tempo_code(part.exact.tempo))}"}
        asked = part.profile.get("tempo", 0.0)
        quantiles = self.quantiles.values.get("tempo")
        if abs(asked) < _TEMPO_FROM or not quantiles:
            return set()
        median = float(tempo_code(quantiles[len(quantiles) // 2]))
        return {f"t-{code}" for code in range(len(TEMPI)) if (code - median) * asked > 0}

    def _best(self, candidates: Sequence[Piece], parts: Sequence[Part]) -> Piece:
        if len(candidates) == 1:
            return candidates[0]
        return min(candidates, key=lambda piece: self._distance(piece, parts))

    def _distance(self, piece: Piece, parts: Sequence[Part]) -> float:
        song = Song(piece.midi)
        bars = len(remi.bars(piece.tokens))
        total = 0.0
        for part in parts:
            last = min(part.last or bars, bars)
            total += self._missed(measure(song, part.first, last), part) * (last - part.first) / bars
        return total + drone(song)

    def _missed(self, attributes: Attributes, part: Part) -> float:
        """How far a passage falls short of what is asked, 0 if it does not."""
        positions = self.quantiles.positions(attributes)
        missed = sum(
            abs(value) * shortfall(value, positions.get(axis)) for axis, value in part.profile.items() if axis in AXES
        )
        if part.exact.key is not None and not _same_mode(attributes.get("key"), part.exact.key):
            missed += _WRONG_MODE
        playing = attributes.get("instruments")
        if part.exact.only and isinstance(playing, list):
            missed += _WRONG_INSTRUMENTS * (1 - f1(part.exact.playing, playing))
        return missed


def shortfall(asked: float, position: float | None) -> float:
    """How far a position in [-1, 1] falls short of what is asked, squared, 1 from the far end on.

    More than asked is no fault, since a reading of 0.3 says how sure it is rather than how much is wanted.
    """
    target = max(abs(asked), _LEAST_TARGET)
    reached = -1.0 if position is None else position * (1 if asked > 0 else -1)
    return (max(0.0, target - reached) / (1 + target)) ** 2


def drone(song: Song) -> float:
    """How far a song stays on one pitch class, mean of every four bars: 0 if none has too much, 1 if all is one."""
    excess = []
    for first in range(0, song.bars, _DRONE_BARS):
        notes = song.passage(first, min(first + _DRONE_BARS, song.bars)).pitched
        if len(notes):
            times = notes.pitch_classes
            excess.append(max(0.0, float(times.max() / times.sum()) - _DRONE) / (1 - _DRONE))
    return sum(excess) / len(excess) if excess else 0.0


def f1(wanted: Sequence[int] | frozenset[int], found: Sequence[int]) -> float:
    """Harmonic mean of precision and recall of a set of instruments."""
    common = len(set(wanted) & set(found))
    return 2 * common / (len(set(wanted)) + len(set(found))) if common else 0.0


def quantiles_of(model: str | Path) -> Quantiles:
    """The quantiles beside a model; if there are none, those of the embedded one, whose corpus is mostly Lakh."""
    path = Path(model) / QUANTILES
    return Quantiles.load(path if path.is_file() else MUSEFORMER / QUANTILES)


def shift_to(key: str, found: Value | None, register: float = 0.0) -> int:
    """Semitones that bring a piece whose key is `found` to the tonic of `key`; 0 if it has none.

    A piece in the other mode goes to the relative key, whose scale is the same. The way is the shortest, or upwards or
    downwards if the register is asked to be high or low.
    """
    if not isinstance(found, str):
        return 0
    wanted, mode = key.split()
    tonic, own = found.split()
    relative = 0 if own == mode else 3 if mode == "major" else -3
    up = (PITCH_NAMES.index(wanted) - PITCH_NAMES.index(tonic) - relative) % 12
    if abs(register) >= SILENCE:
        return up if register > 0 or up == 0 else up - 12
    return up if up <= 6 else up - 12


def _spans(request: Request) -> list[tuple[int, int | None, str]]:
    """First bar, the bar after the last, and text of each section, or of the whole piece."""
    if not request.sections:
        return [(0, None, request.text)]
    return [(section.first - 1, section.last, section.text) for section in request.sections]


def _candidate(request: Request, index: int) -> Request:
    """The request under another seed; the first candidate is the piece that composing without choosing gives."""
    return request if index == 0 else replace(request, seed=seed_of(request.seed, "candidate", index))


def _part(first: int, last: int | None, text: str, values: Sequence[float]) -> Part:
    asked = exact.read(text)
    profile = {axis: value for axis, value in zip(AXES, values, strict=True) if abs(value) >= SILENCE}
    if asked.key is not None:
        profile["mode"] = 1.0 if asked.key.endswith("major") else -1.0
    if "drums" not in profile and DRUMS in asked.playing:
        profile["drums"] = _DRUMS_FROM
    return Part(first, last, profile, asked)


def _at(parts: Sequence[Part], bar: int) -> Part:
    return next((part for part in parts if part.last is None or bar < part.last), parts[-1])


def _instrument(vocabulary: Vocabulary, program: int) -> list[int]:
    token = f"i-{program}"
    return vocabulary.ids([token]) if token in vocabulary else []


def _same_mode(found: Value | None, key: str) -> bool:
    return isinstance(found, str) and found.split()[1] == key.split()[1]


def _finished(piece: Piece, request: Request, parts: Sequence[Part]) -> Piece:
    """The chosen candidate in the asked key, under the request's own seed, with what was understood."""
    key = next((part.exact.key for part in parts if part.exact.key), None)
    midi, shift = piece.midi, 0
    if key is not None:
        shift = shift_to(key, measure(piece.midi).get("key"), parts[0].profile.get("register", 0.0))
        midi = remi.decode(remi.transpose(piece.tokens, request.transposition + shift))
    understood = [_as_row(part) for part in parts]
    about: dict[str, Any] = {"understood": understood, "candidate_seed": piece.request.seed, "moved_to_key": shift}
    return replace(piece, request=request, midi=midi, about=about)


def _as_row(part: Part) -> dict[str, Any]:
    """A part for the manifest."""
    asked = {name: value for name, value in asdict(part.exact).items() if name in ("tempo", "key")}
    profile = {axis: round(value, 3) for axis, value in part.profile.items()}
    return {"first": part.first, "last": part.last, "profile": profile, **asked, "programs": sorted(part.programs)}
