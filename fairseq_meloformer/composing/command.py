"""The command `meloformer compose`: from a sentence to MIDI, a picture and sound, without fairseq."""

import argparse
import dataclasses
import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, Self, TypeVar

from miditoolkit import MidiFile
from torch import Tensor

from fairseq_meloformer import midi
from fairseq_meloformer.composing.composer import Composer, plan_of
from fairseq_meloformer.composing.full_system import DecodingControl
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.composing.pieces import Job, PieceFolder, compose_all, made_with
from fairseq_meloformer.composing.regeneration import Infilling, Original
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.six_tracks import NAMES, in_six_tracks
from fairseq_meloformer.museformer.config import SCOPES
from fairseq_meloformer.museformer.precision import PRECISIONS
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.pretrained import BRIDGE, MUSEFORMER
from fairseq_meloformer.stamps import sha256_file
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.probe import DEFAULT as PROBE
from fairseq_meloformer.words.prompt_files import LONGEST_ID, read_prompts
from fairseq_meloformer.words.prompts import Prompt, Request, from_texts
from fairseq_meloformer.words.timeline import bar_range

_S = TypeVar("_S", Settings, Sampling)
_MOST_PIECES: Final = 100_000  # of one prompt
_TRACKS: Final = {name.lower(): program for program, name in NAMES.items()}
_DRAWN: Final[tuple[str, ...]] = ("temperature", "top_k", "top_p", "logit_guidance")
_PLANNED: Final = {
    "inject_scope": "scope",
    "inject_layers": "layers",
    "inject_strength": "strength",
    "guidance_scale": "guidance_scale",
    "nfe": "nfe",
}
"""Arguments of drawing and of the plan, and what they are called in settings; not given they are None."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `meloformer compose`."""
    parser.description = (
        "Write music to descriptions in Chinese or English: for each piece <id>-<k>.mid, a piano roll (.png), sound "
        "(.wav) and a line of manifest.jsonl. Stopped at any moment, the same command goes on."
    )
    parser.add_argument(
        "text",
        nargs="*",
        help='what it should sound like: "a night train through snow", 暴风雨, or by bars "1-8: calm | 9-24: storm"',
    )
    parser.add_argument("--prompts", metavar="FILE", help="prompts, one a line, or JSONL with id, text, bars, seed")
    parser.add_argument("--skip-bad", action="store_true", help="leave out lines of FILE that are no prompts")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="pieces per prompt (default 1)")
    parser.add_argument("--bars", type=int, metavar="N", help="length in bars (default: what the text says)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, another piece (default 0)")
    parser.add_argument("--transpose", type=int, default=0, metavar="N", help="move pieces by N semitones")
    parser.add_argument("--no-audio", action="store_true", help="write no sound")
    parser.add_argument("--no-picture", action="store_true", help="write no piano roll")
    parser.add_argument(
        "--score",
        action="store_true",
        help="write scores: .musicxml, and .pdf where MuseScore, or verovio and typst, are installed",
    )
    parser.add_argument(
        "--html", action="store_true", help="write pages to send to somebody: roll, sound and what was understood"
    )
    again = parser.add_argument_group("an existing piece", "new bars for it; everything else in its file stays")
    again.add_argument(
        "--from",
        dest="original",
        metavar="MIDI",
        help="the piece: a MIDI file of any origin, or its name in its folder: out/storm-0; without a text its own is "
        "taken, and values of the plan and of the drawing of tokens that are not given are those it was made with",
    )
    again.add_argument("--regenerate", metavar="9-16", help="compose these bars anew")
    again.add_argument("--continue", dest="after", type=int, metavar="N", help="compose so many bars after its end")
    again.add_argument("--before", type=int, metavar="N", help="compose so many bars before it, an introduction")
    again.add_argument(
        "--tracks",
        metavar="lead,drums",
        help=f"compose only these instruments and read the others: {', '.join(_TRACKS)} (default: those that the text "
        "is for, or else all)",
    )
    models = parser.add_argument_group("models")
    models.add_argument(
        "--model",
        metavar="PATH",
        default=str(MUSEFORMER),
        help="MuseFormer: a path, or a Hub id owner/name[@revision] (default: embedded)",
    )
    models.add_argument(
        "--bridge", metavar="PATH", default=str(BRIDGE), help="its bridge, likewise (default: embedded)"
    )
    models.add_argument(
        "--another-museformer", action="store_true", help="take a bridge that was trained for another MuseFormer"
    )
    models.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    models.add_argument(
        "--dtype",
        choices=PRECISIONS,
        default="float32",
        help="weights of the MuseFormer: int8 is faster on CPUs, bfloat16 on GPUs; both change the music a little, and "
        "with them a piece depends on those composed beside it, unless --batch-size is 1",
    )
    models.add_argument("--batch-size", type=int, default=16, metavar="N", help="pieces composed together (default 16)")
    plan = parser.add_argument_group("plan")
    add_plan_arguments(plan)
    plan.add_argument("--no-injection", action="store_true", help="plain MuseFormer: the text is not heard")
    plan.add_argument(
        "--bridge-only", action="store_true", help="only the plan: no exact tempo, key and instruments, see below"
    )
    plan.add_argument("--plan-from", metavar="MIDI", help="take the plan from this song instead of the bridge (oracle)")
    add_full_system_arguments(
        parser.add_argument_group(
            "full system", "decoding control on top of the plan; off with --bridge-only, --no-injection and --plan-from"
        )
    )
    drawing = parser.add_argument_group("drawing of tokens")
    drawing.add_argument("--temperature", type=float, metavar="T")
    drawing.add_argument("--top-k", type=int, metavar="K", help="0 for all, 1 for greedy")
    drawing.add_argument("--top-p", type=float, metavar="P")
    drawing.add_argument(
        "--no-recall", action="store_true", help="what was written does not help to foretell what comes"
    )
    parser.set_defaults(**dict.fromkeys((*_DRAWN, *_PLANNED)))


def add_plan_arguments(group: Any) -> None:  # noqa: ANN401  argparse has no public type for a group
    """Flags of the plan and its injection, which `fairseq-generate` has too."""
    settings = Settings()
    group.add_argument("--inject-scope", choices=SCOPES, help="where the plan acts (default: the model's best)")
    group.add_argument("--inject-layers", type=_layers, metavar="0,1,...", help="its layers (default: the bridge's)")
    for flag, default, meaning in (
        ("--inject-strength", settings.strength, "1 replaces the model's own summaries, 0 leaves them"),
        ("--guidance-scale", settings.guidance_scale, "of the bridge: weight of the text against no text"),
        ("--logit-guidance", settings.sampling.logit_guidance, "u + W (c - u) of logits with (c) and without (u) plan"),
    ):
        group.add_argument(flag, type=float, default=default, metavar="W", help=f"{meaning} (default {default:g})")
    group.add_argument("--nfe", type=int, default=settings.nfe, metavar="N", help="steps of the bridge (default 10)")


def add_full_system_arguments(group: Any) -> None:  # noqa: ANN401  argparse has no public type for a group
    """Flags of decoding control."""
    group.add_argument(
        "--tilt",
        type=float,
        default=DecodingControl.strength,
        metavar="W",
        help="standard deviations by which leaps and mode move; velocities, durations, pitches ... by a third of it "
        "(default %(default)s)",
    )
    group.add_argument(
        "--best-of",
        type=int,
        default=DecodingControl.best_of,
        metavar="N",
        help="keep the nearest to the text of N candidates (default %(default)s)",
    )
    group.add_argument("--probe", metavar="PATH", default=str(PROBE), help="reads texts (default: embedded)")


def numbers(text: str, flag: str = "--inject-layers") -> tuple[int, ...]:
    """Comma-separated whole numbers, given to a flag.

    Raises:
        InputError: anything else.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{flag} must be whole numbers such as 0,1,3, received {text!r}") from error


def _layers(text: str) -> tuple[int, ...]:
    try:
        return numbers(text, "layers")
    except InputError as error:  # a ValueError, of which argparse would not tell what it says
        raise argparse.ArgumentTypeError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class Order:
    """What a command line asks for: pieces of their own, or bars of an existing one.

    Attributes:
        jobs: the pieces.
        original: the existing piece.
        passage: its bars that are composed.
        song: whose plan all pieces follow.
    """

    jobs: list[Job]
    original: Original | None
    passage: Infilling | None
    song: MidiFile | None

    @classmethod
    def of(cls, args: argparse.Namespace) -> Self:
        """Read it off the arguments.

        Raises:
            InputError: arguments that cannot be used, or not together.
        """
        _check(args)
        original = Original.read(args.original) if args.original else None
        prompts = _prompts(args, original)
        passage = None if original is None else _passage(args, original)
        song = in_six_tracks(midi.read(args.plan_from)) if args.plan_from else None
        shift = 0 if song is None else remi.transposition(song)
        defaults = Request("", seed=args.seed, bars=args.bars, transposition=args.transpose - shift)
        if passage is not None:
            defaults = dataclasses.replace(defaults, bars=passage.total, transposition=-passage.shift)
        jobs = [
            (prompt, number, prompt.request(number, defaults)) for prompt in prompts for number in range(args.count)
        ]
        if passage is not None:
            jobs = [(prompt, number, passage.in_whole(request)) for prompt, number, request in jobs]
        return cls(jobs, original, passage, song)

    def settings(self, args: argparse.Namespace) -> Settings:
        """How the pieces are made: as the arguments say, and else as the existing piece was."""
        row = {} if self.original is None or self.original.row is None else self.original.row
        return _settings(args, row.get("settings", {}))

    def oracle(self, composer: Composer) -> Tensor | None:
        """The plan of the song, if one is given."""
        return None if self.song is None else plan_of(composer.model, self.song)[0]

    def made_with(self, args: argparse.Namespace, settings: Settings, composer: Composer) -> dict[str, Any]:
        """What the manifest says of how the pieces are made."""
        return {
            **made_with(settings, composer),
            **({"plan_from": sha256_file(args.plan_from)} if args.plan_from else {}),
            **_anew(self.passage, self.original),
            **({} if args.dtype == "float32" else {"dtype": args.dtype}),
        }


def is_controlled(args: argparse.Namespace) -> bool:
    """Whether decoding is controlled, on top of the plan."""
    return not (args.bridge_only or args.no_injection or args.plan_from)


def run(args: argparse.Namespace) -> int:
    """Compose, and print the path of each piece as it is written."""
    order = Order.of(args)
    settings = order.settings(args)
    composer = Composer.from_pretrained(
        args.model,
        None if args.no_injection or args.plan_from else args.bridge,
        probe=args.probe if is_controlled(args) else None,
        tilt=args.tilt,
        best_of=args.best_of,
        device=args.device,
        dtype=args.dtype,
        another_museformer=args.another_museformer,
    )
    with PieceFolder(
        args.output,
        order.made_with(args, settings, composer),
        picture=not args.no_picture,
        sound=not args.no_audio,
        score=args.score,
        page=args.html,
    ) as folder:
        for row in compose_all(
            composer,
            folder,
            order.jobs,
            settings,
            batch_size=args.batch_size,
            oracle=order.oracle(composer),
            passage=order.passage,
        ):
            sys.stderr.write(_reading(row))
            for file in row["files"].values():
                sys.stdout.write(f"{folder.directory / file}\n")
    return 0


def _reading(row: dict[str, Any]) -> str:
    """One line on what was understood of a piece's text and what of it was not kept; none where that is nothing."""
    found = (("understood", row["understood"]), ("not kept", row["not_honoured"]))
    told = [f"{name}: {', '.join(said)}" for name, said in found if said]
    return f"{row['piece']}: {'; '.join(told)}\n" if told else ""


def _check(args: argparse.Namespace) -> None:
    """Report everything that is wrong with the arguments at once."""
    checks = (
        (
            not (args.text and args.prompts) and bool(args.text or args.prompts or args.original),
            "give either texts or --prompts FILE",
        ),
        (1 <= args.count <= _MOST_PIECES, f"--count must be from 1 to {_MOST_PIECES}, received {args.count}"),
        (args.batch_size >= 1, f"--batch-size must be at least 1, received {args.batch_size}"),
        (args.bars is None or args.bars >= 1, f"--bars must be at least 1, received {args.bars}"),
        (not (args.no_injection and args.plan_from), "--no-injection leaves no use for --plan-from: give one of them"),
        (
            sum(value is not None for value in (args.regenerate, args.after, args.before)) == bool(args.original),
            "--from MIDI goes together with one of --regenerate BARS, --continue N and --before N: give both",
        ),
        (
            not args.tracks or bool(args.original),
            "--tracks says what of an existing piece is composed: give --from MIDI",
        ),
        (args.after is None or args.after >= 1, f"--continue must be at least 1 bar, received {args.after}"),
        (args.before is None or args.before >= 1, f"--before must be at least 1 bar, received {args.before}"),
        (
            not args.original or not (args.bars or args.transpose or args.plan_from),
            "--from keeps the piece's key and plans from the text: no --bars, --transpose or --plan-from",
        ),
    )
    if problems := [text for holds, text in checks if not holds]:
        raise InputError("; ".join(problems))


def _prompts(args: argparse.Namespace, original: Original | None) -> list[Prompt]:
    """What is asked for; of an existing piece what it was composed to, if nothing else is."""
    if original is not None and not (args.text or args.prompts):
        what = args.regenerate or (f"continue-{args.after}" if args.after else f"before-{args.before}")
        return [original.prompt(_id(original.path.stem, what))]
    prompts = read_prompts(args.prompts, skip_bad=args.skip_bad) if args.prompts else from_texts(args.text)
    if original is None:
        return prompts
    return [  # length and key are the piece's
        dataclasses.replace(prompt, options={name: prompt.options[name] for name in prompt.options if name == "seed"})
        for prompt in prompts
    ]


def _id(stem: str, what: str) -> str:
    """The name of what is composed for a file: that of the file is cut, and told apart by a hash, if it is too long."""
    if len(os.fsencode(f"{stem}_{what}")) <= LONGEST_ID:
        return f"{stem}_{what}"
    name = os.fsencode(stem)
    return f"{name[: LONGEST_ID // 2].decode(errors='ignore')}_{hashlib.sha256(name).hexdigest()[:6]}_{what}"


def _passage(args: argparse.Namespace, original: Original) -> Infilling:
    """The bars to compose, and whether to the piece's own text."""
    return dataclasses.replace(_bars_of(args, original), own=not (args.text or args.prompts))


def _bars_of(args: argparse.Namespace, original: Original) -> Infilling:
    programs = _programs(args.tracks) if args.tracks else None
    if args.after:
        return Infilling.after(original.arrangement, args.after, shift=original.shift, programs=programs)
    if args.before:
        return Infilling.before(original.arrangement, args.before, shift=original.shift, programs=programs)
    span = bar_range(args.regenerate)
    if span is None:
        raise InputError(f"--regenerate must be bars such as 9-16, received {args.regenerate!r}")
    return Infilling.of(original.arrangement, *span, shift=original.shift, programs=programs)


def _programs(tracks: str) -> frozenset[int]:
    """Programs of instruments by their names."""
    names = [name.strip().lower() for name in tracks.split(",")]
    if unknown := [name for name in names if name not in _TRACKS]:
        raise InputError(f"--tracks must be some of {', '.join(_TRACKS)}, received {unknown[0]!r}")
    return frozenset(_TRACKS[name] for name in names)


def _anew(passage: Infilling | None, original: Original | None) -> dict[str, Any]:
    """What the manifest says of bars that were composed for an existing piece."""
    if passage is None or original is None:
        return {}
    row = {"from": sha256_file(original.path), "bars": [passage.first, passage.last], "added": passage.added}
    tracks = [name for name, program in _TRACKS.items() if program in (passage.programs or ())]
    return {"regenerated": {**row, "tracks": tracks} if tracks else row}


def _settings(args: argparse.Namespace, made: Mapping[str, Any]) -> Settings:
    """As the arguments say, and else as an existing piece was made; whether a plan is injected only they say."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    drawn = {name: given[name] for name in _DRAWN if name in given}
    planned = {field: given[name] for name, field in _PLANNED.items() if name in given}
    sampling = _filled(Sampling(), {**made.get("sampling", {}), **drawn})
    settings = _filled(Settings(), {**made, **planned, "sampling": sampling, "injected": not args.no_injection})
    return dataclasses.replace(settings, recall=False) if args.no_recall else settings


def _filled(usual: _S, values: Mapping[str, Any]) -> _S:
    changes: dict[str, Any] = {
        field.name: tuple(values[field.name]) if isinstance(values[field.name], list) else values[field.name]
        for field in dataclasses.fields(usual)
        if field.name in values
    }
    return dataclasses.replace(usual, **changes)
