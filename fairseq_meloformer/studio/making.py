"""From an ask to pieces: one set of models for everybody, controlled anew for each ask."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from torch import Tensor

from fairseq_meloformer import midi
from fairseq_meloformer.composing.composer import Composer, plan_of
from fairseq_meloformer.composing.parts import key_of, told, understand
from fairseq_meloformer.composing.piece import Piece, Progress, Settings
from fairseq_meloformer.composing.regeneration import Infilling
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.midi.arrangement import Arrangement
from fairseq_meloformer.midi.events import EventFile
from fairseq_meloformer.midi.six_tracks import NAMES, in_six_tracks
from fairseq_meloformer.midi.writing import written
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.studio.asks import MOST_BARS, Axis, ComposeAsk, Passage
from fairseq_meloformer.studio.sheets import sheet
from fairseq_meloformer.studio.shelf import Shelf
from fairseq_meloformer.words.probe import Probe
from fairseq_meloformer.words.prompts import Prompt, Request, from_texts, sections_of
from fairseq_meloformer.words.timeline import Section

Row = dict[str, Any]
Tell = Callable[[Row], None]
"""Takes an event; what it raises ends the composing."""
_PROGRAMS: Final = {name.lower(): program for program, name in NAMES.items()}


class Maker:
    """Composes what is asked for, and keeps it on a shelf.

    Args:
        composer: with a bridge, and with decoding control.
        shelf: where pieces go, and those come from that are changed.
    """

    def __init__(self, composer: Composer, shelf: Shelf) -> None:
        if composer.control is None:
            raise InputError("the studio needs a probe that reads prompts: give --probe")
        self._composer = composer
        self._control = composer.control
        self.shelf = shelf

    @property
    def probe(self) -> Probe:
        """What reads prompts."""
        return self._control.probe

    def make(self, ask: ComposeAsk, tell: Tell) -> None:
        """Compose; `tell` hears `{"event": "bar", ...}` of each finished bar and `{"event": "piece", ...}` at the end.

        Raises:
            InputError: what cannot be composed so.
        """
        if ask.passage is None:
            self._compose(ask, tell)
        else:
            self._recompose(ask, ask.passage, tell)

    def _compose(self, ask: ComposeAsk, tell: Tell) -> None:
        plan, shift = self._plan(ask)
        defaults = Request("", seed=ask.seed, bars=ask.bars, transposition=ask.transpose - shift)
        (prompt,) = from_texts([ask.text])
        requests = _requests(ask, prompt, defaults)
        for request in requests:
            _short_enough(request.bars)
        composer = self._composer_for(ask)
        pieces = composer.compose(requests, _settings(ask), plan, on_bar=_teller(tell))
        for number, piece in enumerate(pieces):
            moved = piece.request.transposition + int(piece.about.get("moved_to_key", 0))
            row = {**_about(ask, [], number), "shift": -moved}
            self._keep(tell, number, piece, row)

    def _recompose(self, ask: ComposeAsk, wanted: Passage, tell: Tell) -> None:
        original = self.shelf.get(wanted.piece)
        stand_ins = dict(original.get("stand_ins", []))
        arrangement = Arrangement.of(EventFile.read(self.shelf.path(wanted.piece)), players=stand_ins)
        passage = _passage(wanted, arrangement, original.get("shift"))
        passage = replace(passage, own=bool(original["made"]) and not ask.text)
        _short_enough(passage.total)
        prompt = from_texts([ask.text])[0] if ask.text else _prompt(original)
        defaults = Request("", seed=ask.seed, bars=passage.total, transposition=-passage.shift)
        composer = self._composer_for(ask)
        pieces = composer.recompose(_requests(ask, prompt, defaults), _settings(ask), passage, on_bar=_teller(tell))
        for number, piece in enumerate(pieces):
            bars = [passage.first, passage.last]
            about = _about(ask, original["made"], number)
            row = {**about, "text": prompt.text, "shift": passage.shift, "written": bars}
            self._keep(tell, number, piece, row)

    def _plan(self, ask: ComposeAsk) -> tuple[Tensor | None, int]:
        if ask.plan_from is None:
            return None, 0
        return plan_of(self._composer.model, in_six_tracks(midi.read(self.shelf.path(ask.plan_from))))

    def _composer_for(self, ask: ComposeAsk) -> Composer:
        probe = Steered(self.probe, ask.axes) if ask.axes else self.probe
        control = replace(self._control, probe=probe, strength=ask.tilt, best_of=ask.best_of)
        return Composer(self._composer.model, self._composer.bridge, control)

    def _keep(self, tell: Tell, number: int, piece: Piece, row: Row) -> None:
        players = piece.about.get("players", {})
        about = {
            "sections": [asdict(section) for section in piece.request.sections],
            "stand_ins": [(program, _PROGRAMS[name.lower()]) for name, program in players.items()],
            "attributes": piece.attributes,
            "parts": piece.about.get("understood", []),
            "understood": list(piece.understood),
            "not_honoured": list(piece.not_honoured),
        }
        kept = self.shelf.put({**row, **about}, piece.save)
        tell({"event": "piece", "piece": number, **kept})

    def understand(self, text: str) -> Row:
        """What a text is taken to ask for: `said`, `not_honoured`, values by axis, and the figures, for the whole text.

        Raises:
            InputError: it is no text, or a timeline with gaps.
        """
        sections = sections_of(text)
        request = Request(text, bars=sections[-1].last if sections else None, sections=sections)
        (parts,) = understand(self.probe, [request])
        rows = [part.as_row() for part in parts]
        said, not_honoured = told(request, parts)
        wishes = parts[0].wishes
        named = {one.program: one for part in reversed(parts) for one in part.wishes.instruments}
        return {
            "text": text,
            "tempo": wishes.tempo,
            "key": key_of(parts),
            "metre": next((part.wishes.metre for part in parts if part.wishes.metre), None),
            "bars": request.bars or wishes.bars,
            "seconds": wishes.seconds,
            "axes": dict(zip(AXES, _mean(rows), strict=True)),
            "programs": rows[0]["programs"],
            "instruments": [{"name": one.name, "program": one.program, "wanted": one.wanted} for one in named.values()],
            "said": said,
            "not_honoured": not_honoured,
            "sections": [asdict(section) for section in sections],
        }


class Steered(Probe):
    """A probe whose reading somebody has corrected."""

    def __init__(self, probe: Probe, axes: Mapping[Axis, float]) -> None:
        super().__init__(probe.config, probe.encoder)
        self.load_state_dict(probe.state_dict())
        self.eval()
        self._axes = dict(axes)

    def read(self, texts: Sequence[str]) -> Tensor:
        """See `Probe.read`."""
        values = super().read(texts).clone()
        for axis, value in self._axes.items():
            values[:, AXES.index(axis)] = value
        return values


def _prompt(original: Row) -> Prompt:
    """What a piece was composed to, with sections that have grown with it; of a file that was brought its name."""
    (prompt,) = from_texts([str(original["text"])])
    return replace(prompt, sections=tuple(Section(**section) for section in original.get("sections", ())))


def _requests(ask: ComposeAsk, prompt: Prompt, defaults: Request) -> list[Request]:
    """The pieces that `meloformer compose` makes of the same prompt and seed."""
    return [prompt.request(number, defaults) for number in range(ask.number, ask.number + ask.count)]


def _settings(ask: ComposeAsk) -> Settings:
    sampling = Sampling(temperature=ask.temperature, top_k=ask.top_k, top_p=ask.top_p)
    return Settings(sampling=sampling, strength=ask.strength, guidance_scale=ask.guidance_scale)


def _passage(wanted: Passage, arrangement: Arrangement, shift: int | None) -> Infilling:
    programs = frozenset(_PROGRAMS[name] for name in wanted.tracks) or None
    if wanted.after is not None:
        return Infilling.after(arrangement, wanted.after, shift=shift, programs=programs)
    if wanted.before is not None:
        return Infilling.before(arrangement, wanted.before, shift=shift, programs=programs)
    first, last = wanted.bars or (1, 1)
    return Infilling.of(arrangement, first, last, shift=shift, programs=programs)


def _about(ask: ComposeAsk, made: Sequence[Row], number: int) -> Row:
    """What was asked for, step by step, of one piece alone."""
    own = ask.model_copy(update={"count": 1, "number": ask.number + number})
    return {"text": ask.text, "made": [*made, own.model_dump(exclude_defaults=True)]}


def _short_enough(bars: int | None) -> None:
    if bars is not None and bars > MOST_BARS:
        raise InputError(f"a piece must have at most {MOST_BARS} bars here, received {bars}")


def _teller(tell: Tell) -> Callable[[Progress], None]:
    def listen(progress: Progress) -> None:
        _short_enough(progress.total)
        event: Row = {
            "event": "bar",
            "piece": progress.piece,
            "candidate": progress.candidate,
            "candidates": progress.candidates,
            "bars": progress.bars,
            "total": progress.total,
        }
        if progress.candidate == 0:
            event["draft"] = _draft(progress)
        tell(event)

    return listen


def _draft(progress: Progress) -> Row | None:
    song = progress.midi
    return sheet(written(song)) if any(track.notes for track in song.instruments) else None


def _mean(rows: Sequence[Row]) -> list[float]:
    """Values of the whole text by axis, 0 where nothing is asked."""
    return [round(sum(row["profile"].get(axis, 0.0) for row in rows) / len(rows), 3) for axis in AXES]
