"""The full system: decoding control on top of the injected plan, by constraints, tilted logits and choosing candidates.

What a prompt says outright (a tempo, a key, a metre, instruments) is kept exactly, and so are chords in most bars. What
it is understood to ask for otherwise tilts the logits, and of several candidates the one that is measured to be nearest
to it, and does not stay on a note, is kept. "Bridge only" is composing without any of this; reports keep the two apart.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import torch
from miditoolkit import MidiFile
from torch import Tensor

from fairseq_meloformer import hub
from fairseq_meloformer.composing.choosing import CORPUS, nearest, target
from fairseq_meloformer.composing.duration import timed
from fairseq_meloformer.composing.feel import feel, growth, kicks
from fairseq_meloformer.composing.harmony import closes, harmonised, harmony, worn
from fairseq_meloformer.composing.marks import marked
from fairseq_meloformer.composing.parts import Part, key_of, named_players, part_at, players_of
from fairseq_meloformer.composing.piece import Piece
from fairseq_meloformer.composing.tilt import leap_tilt, tilt
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import Value
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.measures.tonality import PITCH_NAMES
from fairseq_meloformer.midi.general_midi import SOUNDS, can_play, move_into_reach
from fairseq_meloformer.midi.metre import length_of
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.checkpoints import model_hash
from fairseq_meloformer.museformer.rules import MUST
from fairseq_meloformer.pretrained import MUSEFORMER
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.tokens.codes import tempo_code
from fairseq_meloformer.tokens.vocabulary import Vocabulary
from fairseq_meloformer.words.directions import SILENCE
from fairseq_meloformer.words.instruments import SIX
from fairseq_meloformer.words.probe import Probe, amounts
from fairseq_meloformer.words.prompts import Request, seed_of

QUANTILES: Final = "quantiles.json"
"""File beside a model: quantiles of the axes in what it writes without injection, or in its corpus."""

_MOST_CANDIDATES: Final = 1000

# How much of the tilt axes get. The plan says leaps and mode least well, and of the rest enough. Twenty-four prompts of
# development.jsonl, 16 bars, the best of four: of 132 directions that are read 122 are heard with all of the tilt on
# all axes, 118 without the plan; with this 123, and 97 without the plan.
_TILTED_FULLY: Final = frozenset({"leaps", "mode"})
_OF_TILT_ELSE: Final = 1 / 3


@dataclass(frozen=True, eq=False)
class DecodingControl:
    """Decoding control, and how far it goes.

    Attributes:
        probe: reads prompts.
        quantiles: of what the model writes without being asked for anything, or of its corpus.
        strength: of the tilt of the logits, see `tilt`; 0 for none. Leaps and mode get all of it, others a third.
        best_of: candidates of which the one nearest to the request is kept.

    Raises:
        InputError: no candidate, or a tilt that would leave nothing of the model.
    """

    probe: Probe
    quantiles: Quantiles
    strength: float = 0.3
    best_of: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 1 <= self.best_of <= _MOST_CANDIDATES or not 0 <= self.strength <= 10:
            raise InputError(
                f"the full system needs 1 to {_MOST_CANDIDATES} candidates and a tilt of 0 to 10, received "
                f"{self.best_of} and {self.strength}"
            )

    @classmethod
    def from_pretrained(cls, probe: str | Path, museformer: str | Path, strength: float, best_of: int) -> Self:
        """Load a probe, and the quantiles beside a model."""
        return cls(Probe.from_pretrained(probe), quantiles_of(museformer), strength, best_of)

    def identity(self) -> dict[str, Any]:
        """What of it shapes pieces, for the manifest: how far it goes, and hashes of the probe and the quantiles."""
        quantiles = hashlib.sha256(json.dumps(self.quantiles.values, sort_keys=True).encode()).hexdigest()
        probe = model_hash(self.probe.state_dict())
        return {"strength": self.strength, "best_of": self.best_of, "probe": probe, "quantiles": quantiles}

    def settled(self, request: Request, parts: Sequence[Part]) -> tuple[Request, list[Part]]:
        """A request and its parts with what must be known before a note is written: bars, tempi, key and chords.

        A piece is moved from C major or A minor to the asked key already, so that instruments keep to their ranges
        there, and nowhere else; chords that are letters say the key that they are best written in themselves.
        """
        request, parts = timed(request, parts, self._usual_tempo(parts[0]))
        parts = [part if part.tempo else replace(part, tempo=part.style_tempo) for part in parts]
        chords = next((part.wishes.chords for part in parts if part.wishes.chords), None)
        key = chords.home(key_of(parts)) if chords else key_of(parts)
        if key is None:
            return request, parts
        written = "C major" if key.endswith("major") else "A minor"
        way = shift_to(key, written, parts[0].profile.get("register", 0.0))
        if request.transposition not in (0, way):
            unkept = f"a transposition by {request.transposition:+d} semitones (the piece is in {key})"
            parts = [parts[0].but(unkept), *parts[1:]]
        request = replace(request, transposition=way)
        if chords is None:
            return request, parts
        lengths = [request.bars if part.last is None else part.last - part.first for part in parts]
        sounding = [harmonised(part, key_of(parts), way, bars) for part, bars in zip(parts, lengths, strict=True)]
        return request, sounding

    def _usual_tempo(self, part: Part) -> float:
        """Quarters per minute of a piece of which no tempo is asked, as slow or fast as is asked."""
        asked = part.profile.get("tempo", 0.0)
        if part.style_tempo is not None:
            return part.style_tempo
        return self.quantiles.value("tempo", math.copysign(target(asked), asked) if asked else 0.0)

    def candidates(self, request: Request) -> list[Request]:
        """A request under several seeds; the first is the piece that composing without choosing gives."""
        others = [replace(request, seed=seed_of(request.seed, "candidate", index)) for index in range(1, self.best_of)]
        return [request, *others]

    def bias(
        self, vocabulary: Vocabulary, songs: Sequence[Sequence[Part]], lengths: Sequence[int], metres: Sequence[str]
    ) -> Bias:
        """What to add to the logits of songs of these metres and numbers of bars."""
        chords = harmony(songs, max(lengths), metres)
        growing = any("dynamics" in part.profile for parts in songs for part in parts)
        bars = max(lengths) if chords or growing else max(parts[-1].first for parts in songs) + 1
        rows: dict[tuple[int, float], tuple[Tensor, float]] = {}

        def row(part: Part, metre: str, grown: float) -> tuple[Tensor, float]:
            if (id(part), grown) not in rows:
                rows[id(part), grown] = self._row(vocabulary, part, metre, grown)
            return rows[id(part), grown]

        of_bars = [
            [row(part := part_at(parts, bar), metre, growth(part, bar, length)) for bar in range(bars)]
            for parts, length, metre in zip(songs, lengths, metres, strict=True)
        ]
        return Bias(
            vocabulary,
            torch.stack([torch.stack([tokens for tokens, _ in song]) for song in of_bars]),
            torch.tensor([[leaps for _, leaps in song] for song in of_bars]),
            chords,
            kicks(songs, bars, metres),
            torch.tensor([int(length_of(metre)) for metre in metres]),
            closes(songs, lengths),
            worn(songs, bars),
        )

    def choose(self, candidates: Sequence[Piece], request: Request, parts: Sequence[Part]) -> Piece:
        """The nearest candidate, in the asked key, under the request's own seed, with what was understood."""
        piece = nearest(candidates, parts, self.quantiles)
        key = None if any(part.chords for part in parts) else key_of(parts)
        midi, rest = (_played(piece.midi, request), 0) if key is None else _in_key(piece, key)
        shift = piece.request.transposition - request.transposition + rest
        understood = [part.as_row() for part in parts]
        about = {
            "understood": understood,
            "candidate_seed": piece.request.seed,
            "moved_to_key": shift,
            "players": named_players(players_of(request)),
        }
        return replace(piece, request=request, midi=marked(midi, request.sections, parts), about=about)

    def _row(self, vocabulary: Vocabulary, part: Part, metre: str, grown: float) -> tuple[Tensor, float]:
        """Bias of tokens and of leaps while a part is written, whose loudness has grown so far (see `growth`)."""
        amount = amounts(torch.tensor(list(part.profile.values()))).tolist()
        asked = {
            axis: self.strength * (1.0 if axis in _TILTED_FULLY else _OF_TILT_ELSE) * value
            for axis, value in zip(part.profile, amount, strict=True)
        }
        if grown:
            asked["loudness"] = asked.get("loudness", 0.0) + self.strength * grown
        bias = tilt(vocabulary, asked, part.required | part.usual) + feel(vocabulary, part.traits, metre)
        tempi = vocabulary.range("t")  # one that no song has needs words
        slowest, fastest = map(int, tempo_code(CORPUS["tempo"] if part.tempo is None else (part.tempo, part.tempo)))
        bias[tempi.start : tempi.start + slowest] -= MUST
        bias[tempi.start + fastest + 1 : tempi.stop] -= MUST
        for program in SIX - part.programs:
            bias[_instrument(vocabulary, program)] -= MUST
        return bias, leap_tilt(asked)


def _played(midi: MidiFile, request: Request) -> MidiFile:
    """The song with the instruments that are asked for in the place of the six that stand for them."""
    players = players_of(request)
    for track in midi.instruments:
        program = players.get(int(track.program))
        if not track.is_drum and program is not None and program != track.program:
            track.program, track.name = program, SOUNDS[program].name
    return midi


def quantiles_of(model: str | Path) -> Quantiles:
    """The quantiles beside a model, which may be a file; if there are none, those of the embedded one (mostly Lakh)."""
    place = hub.local(model)
    path = (place.parent if place.is_file() else place) / QUANTILES
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


def _in_key(piece: Piece, key: str) -> tuple[MidiFile, int]:
    """The piece with the key's tonic, if who plays it can play it there, and by how many semitones it was moved.

    Rather than that it stay in another key, notes beyond their instruments are moved by an octave.
    """

    def moved(shift: int) -> MidiFile:
        tokens = remi.transpose(piece.tokens, piece.request.transposition + shift)
        return _played(remi.decode(tokens, piece.metre), piece.request)

    way = shift_to(key, piece.attributes.get("key"))
    for shift in (way, way - 12 if way > 0 else way + 12):
        midi = moved(shift)
        if can_play(midi):
            return midi, shift
    midi = moved(way)
    move_into_reach(midi)
    return midi, way


def _instrument(vocabulary: Vocabulary, program: int) -> list[int]:
    token = f"i-{program}"
    return vocabulary.ids([token]) if token in vocabulary else []
