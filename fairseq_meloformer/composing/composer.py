"""From sentences to pieces: plan, injection, decoding, choice. What the package offers as `Composer` and `compose`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
from miditoolkit import MidiFile
from torch import Tensor

from fairseq_meloformer.bridge import checkpoints as bridges
from fairseq_meloformer.bridge.model import Bridge
from fairseq_meloformer.composing.decoding import Plan, Songs, write
from fairseq_meloformer.composing.full_system import DecodingControl
from fairseq_meloformer.composing.harmony import chords_of
from fairseq_meloformer.composing.marks import marked
from fairseq_meloformer.composing.parts import (
    Part,
    counted,
    key_of,
    metre_of,
    named,
    named_players,
    only_planned,
    players_of,
    told,
    understand,
)
from fairseq_meloformer.composing.piece import OnBar, Piece, Progress, Settings
from fairseq_meloformer.composing.regeneration import Infilling
from fairseq_meloformer.composing.returns import Returns, drawn
from fairseq_meloformer.composing.sections import plan_requests
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.general_midi import SOUNDS
from fairseq_meloformer.midi.metre import FOUR_FOUR
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import NAMES
from fairseq_meloformer.museformer.bias import Bias
from fairseq_meloformer.museformer.checkpoints import model_hash
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.museformer.precision import Precision, convert
from fairseq_meloformer.museformer.uncached import AnyMuseFormer
from fairseq_meloformer.pretrained import BRIDGE, MUSEFORMER
from fairseq_meloformer.summaries.extraction import extract
from fairseq_meloformer.tokens import remi, vocabulary
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, Vocabulary
from fairseq_meloformer.weights import usable
from fairseq_meloformer.words.probe import DEFAULT as PROBE
from fairseq_meloformer.words.prompts import Request, from_texts

DEFAULT_BARS = 16  # of a piece that nothing says the length of


def compose(
    text: str, *, bars: int | None = None, seed: int = 0, settings: Settings | None = None, on_bar: OnBar | None = None
) -> Piece:
    """Compose a piece with the embedded models, as `meloformer compose` does; see `Composer.compose`."""
    return _embedded().compose([text], settings, bars=bars, seed=seed, on_bar=on_bar)[0]


@cache
def _embedded() -> "Composer":
    return Composer.from_pretrained()


class Composer:
    """A MuseFormer, the bridge that makes its plans, and what controls its decoding on top of these.

        composer = Composer.from_pretrained(device="cuda")
        storm, lullaby = composer.compose(["暴风雨", "a slow lullaby"], bars=16, seed=7)
        storm.save("storm.mid")

    Args:
        model: ours, or a foreign one, which takes one piece at a time and has scope "past" only.
        bridge: needed to compose from text.
        control: with it this is the full system, without it the plan alone steers ("bridge only").

    Raises:
        InputError: a bridge that was trained for a model of other sizes, or a model whose vocabulary is not known.
    """

    def __init__(
        self, model: AnyMuseFormer, bridge: Bridge | None = None, control: DecodingControl | None = None
    ) -> None:
        self.model = model
        self.bridge = bridge
        self.control = control
        self.vocabulary = vocabulary_of(model)
        wanted = (model.config.layers, model.config.dim)
        if bridge is not None and (bridge.config.layers, bridge.config.dim) != wanted:
            raise InputError(
                f"a bridge for this MuseFormer must make {wanted[0]} layers of {wanted[1]}, but was trained for "
                f"{bridge.config.layers} of {bridge.config.dim}: train it on a store that this model was extracted into"
            )
        if bridge is not None and control is not None:
            bridge.read_with(control.probe)

    @classmethod
    def from_pretrained(
        cls,
        museformer: str | Path = MUSEFORMER,
        bridge: str | Path | None = BRIDGE,
        *,
        probe: str | Path | None = PROBE,
        tilt: float = DecodingControl.strength,
        best_of: int = DecodingControl.best_of,
        device: str | torch.device = "cpu",
        dtype: Precision = "float32",
        another_museformer: bool = False,
    ) -> Self:
        """Load the models once, for any number of pieces.

        Args:
            museformer: a directory, a fairseq checkpoint, or a Hub id.
            bridge: likewise; None to compose without one.
            probe: reads texts for the control of decoding; None for the plan alone.
            tilt: see `DecodingControl.strength`.
            best_of: see `DecodingControl.best_of`.
            device: "cpu", "cuda", "cuda:1" ...
            dtype: of the MuseFormer's weights: "float32", "bfloat16" or "int8".
            another_museformer: take a bridge that was trained for another MuseFormer of these sizes.

        Raises:
            InputError: something that cannot be loaded, or does not fit together.
        """
        control = None if probe is None else DecodingControl.from_pretrained(probe, museformer, tilt, best_of)
        device = usable(device)
        model = MuseFormer.from_pretrained(museformer)
        plans = None if bridge is None else bridge_of(model, bridge, device, another_museformer=another_museformer)
        return cls(convert(model.to(device), dtype), plans, control)

    def identity(self) -> dict[str, Any]:
        """Hashes of the models, and how far decoding is controlled: what shapes pieces besides request and settings."""
        bridge = self.bridge
        return {
            "full_system": None if self.control is None else self.control.identity(),
            "museformer": model_hash(self.model.state_dict()),
            "bridge": None if bridge is None else model_hash(bridge.state_dict()),
            **({} if bridge is None or bridge.asked is None else {"reader": model_hash(bridge.reader.state_dict())}),
        }

    def compose(
        self,
        wanted: Sequence[str | Request],
        settings: Settings | None = None,
        oracle: Tensor | tuple[Tensor, Tensor] | None = None,
        *,
        bars: int | None = None,
        seed: int = 0,
        on_bar: OnBar | None = None,
    ) -> list[Piece]:
        """Compose a batch of pieces; none depends on the others of its batch.

        Args:
            wanted: texts, or requests that say more. A text that comes again becomes another piece.
            settings: how; the defaults if None.
            oracle: summaries (bars, layers, dim) that all pieces follow in place of the bridge's, or a plan for each
                (batch, bars, layers, dim) with its mask (batch, bars).
            bars: of pieces that are wanted by a text; what the text says, or else the bridge, if None.
            seed: of these pieces, from which each makes its own.
            on_bar: told of every finished bar. To stop, let it raise an exception: it comes out of here.

        Raises:
            InputError: what cannot be composed so.
        """
        settings = settings or Settings()
        requests = _requests(wanted, bars, seed)
        if not requests:
            return []
        control, planned = self.control, settings.injected and oracle is None
        if control is None:
            parts = understand(None, requests) if planned else [[] for _ in requests]
            made = self._made(requests, settings, oracle, None, on_bar)
            chosen = [replace(piece, midi=marked(piece.midi, piece.request.sections)) for piece in made]
            said = map(counted, requests, parts)
            parts = [[only_planned(part) for part in of_one] for of_one in said]
        else:
            settled = map(control.settled, requests, understand(control.probe, requests))
            sized, parts = (list(column) for column in zip(*settled, strict=True))
            # All candidates are as long as the first: a long one among them would be waited for in vain.
            sized = self._sized(sized) if planned else sized
            drafts = [draft for request in sized for draft in control.candidates(request)]
            made = self._made(drafts, settings, oracle, parts, on_bar)
            candidates = [made[first : first + control.best_of] for first in range(0, len(made), control.best_of)]
            chosen = list(map(control.choose, candidates, requests, parts))
        return [_told(piece, of_one) for piece, of_one in zip(chosen, parts, strict=True)]

    def _made(
        self,
        drafts: Sequence[Request],
        settings: Settings,
        oracle: Tensor | tuple[Tensor, Tensor] | None,
        parts: Sequence[Sequence[Part]] | None,
        on_bar: OnBar | None,
    ) -> list[Piece]:
        """A piece for each draft; the parts are those of the requests of which drafts are candidates."""
        plan = self._plan(drafts, settings, oracle) if settings.injected else None
        bars = self._bars(drafts, plan)
        bias, metres, number, settled = None, [FOUR_FOUR] * len(drafts), 1, [True] * len(drafts)
        of_drafts: Sequence[Sequence[Part]] = [()] * len(drafts)
        if self.control is not None and parts is not None:
            number = self.control.best_of
            of_drafts = [of_one for of_one in parts for _ in range(number)]
            metres = list(map(metre_of, of_drafts))
            bias = self.control.bias(self.vocabulary, of_drafts, bars, metres)
            settled = [number == 1 and (key_of(of_one) is None or of_one[0].chords != ()) for of_one in parts]
        returns: list[Returns] = [{}] * len(drafts)
        if settings.recall and oracle is None:  # whose songs have their own
            returns = [_form(*song) for song in zip(drafts, bars, of_drafts, strict=True)]
            plan = plan and plan.returning(returns)
        songs = replace(self._songs(drafts, bars, plan, bias), metres=metres, returns=returns)
        told = None if on_bar is None else self._teller(on_bar, drafts, songs, number, settled)
        written = write(self.model, self.vocabulary, songs, settings, told)
        return [self._piece(draft, song, metre) for draft, song, metre in zip(drafts, written, metres, strict=True)]

    def recompose(
        self, requests: Sequence[Request], settings: Settings, passage: Infilling, *, on_bar: OnBar | None = None
    ) -> list[Piece]:
        """Compose bars of an existing piece, once for each request; all else of its file stays as it is.

        The bars before are the prompt. The plan has the summaries of all bars that stay, so that in scope "plan" the
        new bars lead to those that follow. Controlled decoding gives the new bars its tilt and instruments; neither
        another tempo or key nor a choice among candidates, which are matters of a whole piece.

        Args:
            requests: what the new bars should sound like, and their seeds. Texts are planned for the whole piece, so
                that bars in the middle do not sound like a beginning.
            settings: how.
            passage: the bars, and the instruments that are written in them.
            on_bar: see `compose`; bars of the prompt count.

        Raises:
            InputError: a timeline that fits neither the piece nor the bars.
        """
        if not requests:
            return []
        wanted = [passage.in_whole(request) for request in requests]
        plan = self._held(self._plan(wanted, settings), passage) if settings.injected else None
        own, metres = frozenset(passage.arrangement.roles.values()), [passage.arrangement.metre] * len(wanted)
        written, bias = [passage.programs or own] * len(wanted), None
        if self.control is None:
            parts = understand(None, wanted) if settings.injected else [[] for _ in wanted]
            parts = [[part if passage.own else only_planned(part) for part in of_one] for of_one in parts]
        else:
            parts = list(map(passage.kept, requests, understand(self.control.probe, wanted)))
            heard = parts
            if passage.programs is None:
                written = [named(of_one) or own.union(*(part.required for part in of_one)) for of_one in parts]
            else:
                heard = [[part.of_tracks(passage.programs) for part in of_one] for of_one in parts]
            bias = self.control.bias(self.vocabulary, heard, [passage.total] * len(heard), metres)
            bias = replace(bias.since(range(len(wanted)), passage.begin), close=None)  # its key is its own
            if passage.programs is not None:
                bias = replace(bias, worn=None)  # and its chords are those of the tracks that stay
        prompt = self.vocabulary.ids(passage.prompt)
        songs = self._songs(wanted, [passage.written] * len(wanted), plan, bias)
        given = [passage.given(programs) for programs in written]
        pitches = [passage.pitches] * len(wanted)
        songs = replace(songs, prompts=[prompt] * len(wanted), given=given, pitches=pitches, metres=metres)
        told = None if on_bar is None else self._teller(on_bar, wanted, songs, 1, [True] * len(wanted))
        pieces = []
        made = write(self.model, self.vocabulary, songs, settings, told)
        for request, programs, song, of_one in zip(wanted, written, made, parts, strict=True):
            tokens = self.vocabulary.tokens(song)
            file = passage.splice(tokens[len(prompt) :], programs)
            about = {
                "written": [name for program, name in NAMES.items() if program in programs],
                "players": named_players({role: program for program, role in passage.arrangement.players.items()}),
            }
            piece = Piece(request, [*tokens, *passage.rest], file.song, metres[0], about=about, file=file)
            pieces.append(_told(piece, of_one))
        return pieces

    def _plan(
        self,
        requests: Sequence[Request],
        settings: Settings,
        oracle: Tensor | tuple[Tensor, Tensor] | None = None,
    ) -> Plan:
        """The oracle's plans, or else those that the bridge makes for the requests."""
        own = None if self.bridge is None else self.bridge.config
        scope = settings.scope or (own and own.scope) or self.model.config.scope
        layers = own.plan_layers if own and settings.layers is None else settings.layers
        if oracle is not None:
            values, mask = _for_all(oracle, len(requests))
        elif self.bridge is None:
            raise InputError("composing from text needs a bridge: give --bridge, or compose with --no-injection")
        elif scope == "history" and any(request.sections for request in requests):
            raise InputError(
                'a timeline needs a plan whose bars are the piece\'s own: scope "plan" or "past", not "history"'
            )
        else:
            values, mask = plan_requests(
                self.bridge,
                requests,
                outside=self._outside,
                guidance_scale=settings.guidance_scale,
                nfe=settings.nfe,
            )
        return Plan(values, mask, scope, layers, settings.strength, self._outside)

    def _held(self, plan: Plan, passage: Infilling) -> Plan:
        """Plans whose bars are the piece's own but for the new ones."""
        if plan.scope == "history":  # where the whole plan stands for music before the piece
            return plan
        held = passage.held(plan.values, summaries_of(self.model, passage.tokens).to(plan.values), self._outside)
        return replace(plan, values=held, mask=plan.mask[:, : held.shape[1]])

    def _sized(self, requests: Sequence[Request]) -> list[Request]:
        """The requests with the number of bars that the bridge would choose where they name none."""
        if self.bridge is None:
            return list(requests)
        texts, seeds = [request.text for request in requests], [request.seed for request in requests]
        counts = self.bridge.count_bars(texts, self.bridge.read(texts), [None] * len(texts), seeds)
        return [
            request if request.bars is not None or request.sections else replace(request, bars=count - self._outside)
            for request, count in zip(requests, counts, strict=True)
        ]

    @property
    def _outside(self) -> int:
        """Bars of a plan that are not music: in the "bosbar" chunking the begin-of-song token is a bar."""
        return int(self.model.config.chunking == "bosbar")

    def _bars(self, requests: Sequence[Request], plan: Plan | None) -> list[int]:
        """How many bars each piece shall have."""
        if plan is None:
            planned = [DEFAULT_BARS] * len(requests)
        else:
            planned = [int(count) - self._outside for count in plan.mask.sum(1)]
        return [
            count if request.bars is None else request.bars for request, count in zip(requests, planned, strict=True)
        ]

    def _songs(
        self,
        requests: Sequence[Request],
        bars: list[int],
        plan: Plan | None,
        bias: Bias | None,
    ) -> Songs:
        changes = [{section.first - 1 for section in request.sections} for request in requests]
        seeds = [request.seed for request in requests]
        pitches = [_playable(request, {} if self.control is None else players_of(request)) for request in requests]
        none: list[Returns] = [{}] * len(requests)
        return Songs([[]] * len(requests), bars, seeds, changes, pitches, [FOUR_FOUR] * len(requests), none, plan, bias)

    def _teller(
        self, on_bar: OnBar, drafts: Sequence[Request], songs: Songs, candidates: int, settled: Sequence[bool]
    ) -> Callable[[int, list[int]], None]:
        """What turns a song's number and ids into `Progress`."""

        def told(row: int, ids: list[int]) -> None:
            piece, candidate = divmod(row, candidates)
            bars, tokens, metre = ids.count(BAR_END), self.vocabulary.tokens(ids), songs.metres[row]
            total = songs.bars[row]
            on_bar(Progress(drafts[row], piece, candidate, candidates, bars, total, tokens, metre, settled[piece]))

        return told

    def _piece(self, request: Request, song: list[int], metre: str) -> Piece:
        tokens = self.vocabulary.tokens(song)
        return Piece(request, tokens, remi.decode(remi.transpose(tokens, request.transposition), metre), metre)


def bridge_of(
    model: AnyMuseFormer, bridge: str | Path, device: str | torch.device, *, another_museformer: bool = False
) -> Bridge:
    """Load the bridge of a MuseFormer.

    Args:
        model: in float32.
        bridge: its bridge, by path or Hub id.
        device: where it works.
        another_museformer: take one that was trained for another MuseFormer of these sizes.

    Raises:
        InputError: one that cannot be loaded, or was trained for another MuseFormer.
    """
    plans = bridges.load(bridge, device)
    wanted, found = plans.config.museformer, model_hash(model.state_dict())
    if not another_museformer and wanted not in ("", found):
        raise InputError(
            f"a bridge must be of the MuseFormer that it makes plans for, but {bridge} was trained for "
            f"{wanted[:12]} and the model is {found[:12]}: extract a store with this one and train a bridge "
            "on it, or say --another-museformer to compose with both all the same"
        )
    return plans


def _told(piece: Piece, parts: Sequence[Part]) -> Piece:
    """A piece with what was understood of its text, and what of it was not kept."""
    unheard = ["the text (nothing that is injected is made of it)"] if piece.request.text else []
    understood, unkept = told(piece.request, parts) if parts else ([], unheard)
    return replace(piece, understood=understood, not_honoured=unkept)


def _form(request: Request, bars: int, parts: Sequence[Part]) -> Returns:
    """What returns in a piece, as far as its chords return."""
    chords = [chords_of(parts, bar) for bar in range(bars)] if parts else [()] * bars
    asked = parts[0].profile.get("recurrence", 0.0) if parts else 0.0
    form = drawn(bars, request.seed, request.sections, asked)
    return {bar: earlier for bar, earlier in form.items() if chords[bar] == chords[earlier]}


def _requests(wanted: Sequence[str | Request], bars: int | None, seed: int) -> list[Request]:
    """The requests; of a text the one that the command line makes of it, and piece after piece if it comes again."""
    if isinstance(wanted, str):
        raise InputError(f"a composer takes a list of texts, received a single one: write [{wanted!r}]")
    before = Counter[str]()
    requests = []
    for one in wanted:
        if isinstance(one, Request):
            requests.append(one)
            continue
        (prompt,) = from_texts([one])
        requests.append(prompt.request(before[one], Request("", seed=seed, bars=bars)))
        before[one] += 1
    return requests


def _playable(request: Request, players: Mapping[int, int]) -> dict[int, range]:
    """By program, the pitches in the model's key that can be played where the finished piece is moved to.

    Args:
        request: says where to.
        players: by role of the six, the program that its track is given to.
    """
    shift = request.transposition
    heard = {program: sound.pitches for program, sound in enumerate(SOUNDS)}
    heard |= {role: heard[program] for role, program in players.items()}
    moved = {program: range(pitches.start - shift, pitches.stop - shift) for program, pitches in heard.items()}
    return moved | {DRUMS: SOUNDS[DRUMS].pitches}


def _for_all(plan: Tensor | tuple[Tensor, Tensor], songs: int) -> tuple[Tensor, Tensor]:
    """One plan (bars, layers, dim) for all songs, or each plan for as many as are candidates of one piece; masks."""
    if isinstance(plan, tuple):
        values, mask = (part.repeat_interleave(songs // len(part), 0) for part in plan)
        return values, mask
    return plan.expand(songs, -1, -1, -1), plan.new_ones(songs, len(plan), dtype=torch.bool)


def vocabulary_of(model: AnyMuseFormer) -> Vocabulary:
    """The vocabulary a model was trained with.

    Raises:
        InputError: it is neither of the two that this package knows.
    """
    known = (vocabulary.published(), vocabulary.general())
    wanted = model.config.vocabulary_sha256
    for candidate in known:
        if candidate.sha256 == wanted if wanted else len(candidate) == model.config.vocabulary_size:
            return candidate
    raise InputError(
        f"a MuseFormer must use dict.txt ({known[0].sha256[:12]}) or general_use_dict.txt ({known[1].sha256[:12]}), "
        f"but this one was trained with {wanted[:12] or f'{model.config.vocabulary_size} symbols'}"
    )


def plan_of(model: AnyMuseFormer, midi: MidiFile) -> tuple[Tensor, int]:
    """The plan of an existing song: the oracle to compare a bridge with.

    Args:
        model: whose summaries to take.
        midi: six tracks in 4/4, as `merge_six_tracks` makes them.

    Returns:
        Summaries (bars, layers, dim), and the semitones by which the song was moved to C major or A minor for it.

    Raises:
        InputError: the song has tokens that the model does not know.
    """
    tokens = remi.encode(
        midi, "REMIGEN2", normalise_pitch=True, ignore_time_signature=True, instrument_order="six_tracks"
    )
    return summaries_of(model, tokens), remi.transposition(midi)


def summaries_of(model: AnyMuseFormer, tokens: Sequence[str]) -> Tensor:
    """Summaries (bars, layers, dim) of a song in the model's key.

    Raises:
        InputError: the song has tokens that the model does not know.
    """
    summaries, _ = extract(model, ids_of(model, tokens))
    return summaries[0]


def ids_of(model: AnyMuseFormer, tokens: Sequence[str]) -> Tensor:
    """What a model reads of a song: (1, tokens + 1) ids, BOS first, on its device.

    Raises:
        InputError: the song has tokens that the model does not know.
    """
    return torch.tensor([[BOS, *vocabulary_of(model).ids(tokens)]], device=next(model.parameters()).device)
