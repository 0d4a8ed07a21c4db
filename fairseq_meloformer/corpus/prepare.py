"""Turn a folder of MIDI files into training data: tokens of passages, what was measured in them, and captions.

Written to DATA: `dict.txt`; for each split `<split>.tokens` (a passage a line) and `<split>.items.jsonl` (what the
passage is, line by line); `quantiles.json`, what counts as fast or high in this corpus; `rejected.jsonl`, files that
were refused and why; `warnings.jsonl`, what was left out of the others; `prepare.json`, settings and counts;
`data_card.md` with its picture. Killed at any moment, the same command goes on; files that were mended or replaced
meanwhile are read anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from fairseq_meloformer import midi
from fairseq_meloformer.corpus import data_card
from fairseq_meloformer.corpus.augment import Augmentation, programs
from fairseq_meloformer.corpus.splits import require_shares
from fairseq_meloformer.corpus.windows import Windows
from fairseq_meloformer.corpus.writing import Corpus, Sources, write_warnings
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import JsonlLog, sole_writer, write_json
from fairseq_meloformer.jobs import run as run_job
from fairseq_meloformer.measures.attributes import measure, measure_passage
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.midi.files import SUFFIXES, LeftOut, below, metre_of
from fairseq_meloformer.midi.metre import FOUR_FOUR, listed
from fairseq_meloformer.midi.six_tracks import merge_six_tracks
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.tokens.vocabulary import Vocabulary, general, published
from fairseq_meloformer.words.prompts import writable
from fairseq_meloformer.workers import cores

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from miditoolkit import MidiFile

Row = dict[str, Any]

_SECONDS_A_FILE = 120.0
_UNUSED: Final = {
    "metadata_without_file": "rows of metadata are of no MIDI file: paths must be relative to {}",
    "captions_without_file": "captions are of no MIDI file: paths must be relative to {}",
    "captions_without_passage": "captions of files in {} are in no passage, since their file was refused, or another "
    "with its notes is taken, or there is no passage within their bars (cut shorter ones with --window-bars)",
}


@dataclass(frozen=True)
class PrepareSettings:
    """What decides how a file becomes tokens; rows that were made with other settings are not mixed.

    Attributes:
        vocabulary: "published" (six tracks, one metre, REMIGEN2) or "general" (all programs and metres, REMIGEN).
        metres: those of songs for the published vocabulary, such as "4/4,3/4".
        normalise_pitch: transpose to C major or A minor.
        window_bars: bars of a window, "16" or "8-64"; None for whole songs.
        hop: bars from one window to the next; None for its length.
        augment: variations of every window (see `augment`); only the training split gets them.
        seed: of the drawn lengths and variations.
    """

    vocabulary: str
    metres: str
    normalise_pitch: bool
    window_bars: str | None
    hop: int | None
    augment: int
    seed: int

    @property
    def symbols(self) -> Vocabulary:
        """The vocabulary itself."""
        return published() if self.vocabulary == "published" else general()

    @property
    def allowed(self) -> list[str]:
        """Metres of songs for the published vocabulary.

        Raises:
            InputError: one is none, or its bars are too long for the vocabulary, or the vocabulary is the general one.
        """
        if self.vocabulary == "general" and self.metres != FOUR_FOUR:
            raise InputError(f"the general vocabulary takes songs of all metres; leave --metres {self.metres} out")
        return listed(self.metres, most=len(self.symbols.range("o")))

    @property
    def windows(self) -> Windows:
        """How songs are cut.

        Raises:
            InputError: the numbers make no sense.
        """
        return Windows.parse(self.window_bars, self.hop)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `meloformer prepare`."""
    parser.add_argument("midi", metavar="MIDI_DIR", type=Path, help="folder of MIDI files, searched to all depths")
    parser.add_argument("--output", metavar="DATA", type=Path, required=True, help="folder to write to")
    tokens = parser.add_argument_group("tokens")
    tokens.add_argument(
        "--vocabulary",
        choices=("published", "general"),
        default="published",
        help="published: six tracks, as MuseFormer was trained (default); general: all programs and metres",
    )
    tokens.add_argument(
        "--metres",
        metavar="N/D,...",
        default=FOUR_FOUR,
        help="of songs for the published vocabulary, such as 4/4,3/4,6/8,2/4 (default 4/4: bars of 2/4 are joined)",
    )
    tokens.add_argument("--normalise-pitch", action="store_true", help="transpose to C major or A minor")
    tokens.add_argument("--window-bars", metavar="N", help="cut songs into windows of N bars, or of a range: 8-64")
    tokens.add_argument("--hop", metavar="N", type=int, help="bars from window to window (default: no overlap)")
    tokens.add_argument(
        "--augment", metavar="K", type=int, default=0, help="K variations of every training window: key, tempo, tracks"
    )
    tokens.add_argument("--seed", type=int, default=0, help="of drawn lengths and captions (default 0)")
    words = parser.add_argument_group("words and splits")
    words.add_argument("--metadata", metavar="JSONL", type=Path, help="rows with path, title, artist, licence, split")
    words.add_argument(
        "--captions", metavar="JSONL", type=Path, action="append", default=[], help="rows with path, bars, text, lang"
    )
    words.add_argument("--describe", metavar="K", type=int, default=0, help="write K captions of what is measured")
    words.add_argument(
        "--train-passages", metavar="N", type=int, help="draw N passages to train on, rare music as often as common"
    )
    words.add_argument("--valid-share", metavar="X", type=float, default=0.05, help="of songs (default 0.05)")
    words.add_argument("--test-share", metavar="X", type=float, default=0.05, help="of songs (default 0.05)")
    parser.add_argument("--workers", metavar="N", type=int, default=cores(), help="processes")


def run(args: argparse.Namespace) -> int:
    """The command `meloformer prepare`."""
    settings = PrepareSettings(
        args.vocabulary, args.metres, args.normalise_pitch, args.window_bars, args.hop, args.augment, args.seed
    )
    _ = settings.windows, settings.allowed  # before the work begins
    require_shares(args.valid_share, args.test_share)
    for name, least in {"train_passages": 1, "describe": 0, "augment": 0}.items():
        if (number := getattr(args, name)) is not None and number < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}, received {number}")
    sources = Sources.read(args.metadata, args.captions)
    paths = find(args.midi)
    data: Path = args.output
    with sole_writer(data):
        claim(data, settings)
        found = _prepare(args, settings, sources, paths)
    sys.stdout.write(json.dumps({"data": str(data), **found}, ensure_ascii=False) + "\n")
    return 0


def _prepare(args: argparse.Namespace, settings: PrepareSettings, sources: Sources, paths: list[str]) -> Row:
    """Write everything; counts of it."""
    data: Path = args.output
    with JsonlLog(data / "songs.jsonl") as songs, JsonlLog(data / "rejected.jsonl") as rejected:
        run_job(
            "prepare",
            paths,
            partial(tokenise, args.midi, settings),
            key=str,
            log=songs,
            rejected=rejected,
            workers=args.workers,
            time_limit=_SECONDS_A_FILE,
            source=args.midi.joinpath,
        )
        usable = [path for path in paths if path in songs.done]
        write_warnings(data / "warnings.jsonl", songs, usable)
        corpus = Corpus(songs, usable, sources, args.valid_share, args.test_share)
        found = corpus.write(data, args.describe, args.train_passages, args.seed)
    settings.symbols.write(data / "dict.txt")
    unused = sources.unused(paths, corpus.heard)
    for name, rows in unused.items():
        if rows:
            sys.stderr.write(f"warning: {len(rows)} {_UNUSED[name].format(args.midi)}; the first is of {rows[0]}\n")
    refused = len([path for path in paths if path in rejected.done])
    found = {"files": len(paths), "rejected": refused, **{name: len(rows) for name, rows in unused.items()}, **found}
    names = ("describe", "train_passages", "valid_share", "test_share")
    choices = {name: getattr(args, name) for name in names}
    write_json(data / "prepare.json", {"settings": dataclasses.asdict(settings), **choices, "counts": found})
    data_card.write(data)
    return found


def find(folder: Path) -> list[str]:
    """MIDI files below a folder, as sorted paths relative to it.

    Raises:
        InputError: if there is none.
    """
    if paths := sorted(path.relative_to(folder).as_posix() for path in below(folder)):
        return paths
    raise InputError(f"{folder} must be a folder with MIDI files ({', '.join(SUFFIXES)}); there is none in it")


def claim(data: Path, settings: PrepareSettings) -> None:
    """Write down the settings, or check that those of an earlier run are the same.

    Raises:
        InputError: if they are not.
    """
    path = data / "prepare.json"
    wanted = dataclasses.asdict(settings)
    if not path.exists():
        write_json(path, {"settings": wanted})
        return
    try:
        there = dict(json.loads(path.read_text("utf-8"))["settings"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} must hold the settings of an earlier run, but cannot be read: {error!r}") from error
    if there != wanted:
        differences = [
            f"{name} {there.get(name)!r}, not {wanted[name]!r}" for name in wanted if there.get(name) != wanted[name]
        ]
        raise InputError(f"{data} was begun with {'; '.join(differences)}: give these settings, or another --output")


def tokenise(folder: Path, settings: PrepareSettings, path: str) -> Row:
    """Tokens and measurements of all windows of one file; bars are counted from the first one of the (merged) song.

    Raises:
        InputError: the file cannot be used, and why.
    """
    if not writable(path):
        raise InputError("its name must be UTF-8 text, which the other files are to name it by: rename it")
    left_out: list[LeftOut] = []
    song, metre = midi.read(folder / path, left_out), FOUR_FOUR
    if settings.vocabulary == "published":
        song = merge_six_tracks(song, settings.allowed, left_out)
        metre = metre_of(song)
    tokens = _encode(song, settings)
    bars = remi.bars(tokens)
    measured = Song(tokens, metre)
    dropped = len(midi.bar_lines(song)) - 1 - len(bars)
    windows = []
    rng = Random(f"{settings.seed}/{path}")
    for first, end in settings.windows.cut(len(bars), rng):
        window = [token for bar in bars[first:end] for token in bar]
        if any(token.startswith("p-") for token in window):
            windows.append(
                {
                    "bars": [dropped + first, dropped + end],
                    "content": content_hash(window),
                    "attributes": measure_passage(measured.passage(first, end)),
                    "tokens": " ".join(window),
                    "variations": [_variation(window, metre, settings, rng) for _ in range(settings.augment)],
                }
            )
    transposition = remi.transposition(song) if settings.normalise_pitch else 0
    return {
        "content": content_hash(tokens),
        "transposition": transposition,
        "left_out": [part._asdict() for part in left_out],
        "windows": windows,
    }


def _variation(window: Sequence[str], metre: str, settings: PrepareSettings, rng: Random) -> Row:
    augmentation = Augmentation.draw(programs(window), rng, keep_key=settings.normalise_pitch)
    tokens = augmentation.apply(window)
    return {
        "augmentation": dataclasses.asdict(augmentation),
        "attributes": measure(tokens, metre=metre),
        "tokens": " ".join(tokens),
    }


def _encode(song: MidiFile, settings: PrepareSettings) -> list[str]:
    if settings.vocabulary == "published":
        tokens = remi.encode(song, "REMIGEN2", settings.normalise_pitch, True, "six_tracks")
    else:
        tokens = remi.encode(song, "REMIGEN", settings.normalise_pitch)
    settings.symbols.ids(tokens)  # refuses what the vocabulary does not have
    return tokens


def content_hash(tokens: Sequence[str]) -> str:
    """Hash of the notes alone: bars, onsets, instruments and pitches, whatever their tempo, loudness and length."""
    notes = " ".join(token for token in tokens if token[0] in "boip")
    return hashlib.sha256(notes.encode()).hexdigest()[:32]
