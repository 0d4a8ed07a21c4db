"""Captions of MIDI files from one source, as the captions.jsonl that `meloformer prepare --captions` takes.

comments: comments on songs, matched by title and artist. musiccaps, midicaps: these data sets, for the files that you
have. llm: a language model describes what was measured. measured: the lexicon describes it. Beside OUTPUT appears a
report of what was dropped and why; --dry-run shows it, writes nothing and sends nothing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from fairseq_meloformer.corpus.sources import annotator, comments, midicaps, musiccaps, prepared
from fairseq_meloformer.corpus.sources.endpoint import ChatClient, key_from
from fairseq_meloformer.corpus.sources.matching import Matcher, songs_of
from fairseq_meloformer.corpus.sources.questions import Prompter
from fairseq_meloformer.corpus.sources.rows import CaptionRow, Report, counted, refuse_existing, write_captions
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import JsonlLog, read_jsonl, sole_writer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

_SHOWN: Final = 3


@dataclass(frozen=True)
class CaptionSource:
    """A source: how captions are made from the arguments, which flags it must have and which it may have."""

    captions: Callable[[argparse.Namespace, Report], Iterable[CaptionRow]]
    needs: tuple[str, ...]
    defaults: dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `meloformer caption`."""
    parser.add_argument("--source", choices=tuple(SOURCES), required=True, help="where captions come from")
    parser.add_argument("--output", metavar="JSONL", type=Path, required=True, help="file to write; must not exist")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written or sent, and what it costs")
    parser.add_argument("--licence", metavar="TEXT", help="comments, llm: the licence of the texts")
    files = parser.add_argument_group("comments, musiccaps, midicaps")
    files.add_argument(
        "--input", metavar="FILE", type=Path, action="append", help="export of comments (JSONL, CSV) or the data set"
    )
    files.add_argument("--midi", metavar="DIR", type=Path, help="musiccaps, midicaps: the MIDI folder of `prepare`")
    files.add_argument("--metadata", metavar="JSONL", type=Path, help="comments: rows with path, title, artist")
    files.add_argument("--min-likes", metavar="N", type=int, help="comments: leave out those with fewer (default 0)")
    files.add_argument(
        "--per-song", metavar="N", type=int, help="comments: at most so many, the most liked (default 50)"
    )
    files.add_argument("--reviewed", metavar="CSV", type=Path, help="comments: an earlier run's review file, filled in")
    data = parser.add_argument_group("llm, measured")
    data.add_argument("--data", metavar="DATA", type=Path, help="folder that `meloformer prepare` has written")
    data.add_argument("--count", metavar="N", type=int, help="captions of a passage; llm: in each language (default 2)")
    data.add_argument("--seed", metavar="N", type=int, help="measured: of the wording (default 0)")
    model = parser.add_argument_group("llm")
    model.add_argument("--model", metavar="NAME", help="the language model")
    model.add_argument("--base-url", metavar="URL", help="of any endpoint with OpenAI's protocol (default OpenAI's)")
    model.add_argument(
        "--key-variable", metavar="NAME", help="environment variable with the key (default OPENAI_API_KEY)"
    )
    model.add_argument("--limit", metavar="N", type=int, help="ask about N passages, spread evenly (default all)")
    model.add_argument("--examples", metavar="CSV", type=Path, help="MusicCaps' table, as examples of wording")
    model.add_argument("--concurrency", metavar="N", type=int, help="questions under way at once (default 4)")
    model.add_argument("--timeout", metavar="SECONDS", type=float, help="for one answer (default 120)")
    model.add_argument("--attempts", metavar="N", type=int, help="for one question (default 5)")
    model.add_argument("--price-in", metavar="X", type=float, help="for a million tokens sent, in any currency")
    model.add_argument("--price-out", metavar="X", type=float, help="for a million tokens received")
    model.add_argument("--cache", metavar="JSONL", type=Path, help="answers (default annotations.jsonl beside OUTPUT)")


def run(args: argparse.Namespace) -> int:
    """The command `meloformer caption`: 1 when no caption came out, or questions failed."""
    source = SOURCES[args.source]
    _settle(args, source)
    if args.dry_run:
        return _run(args, source)
    with sole_writer(args.output.parent):
        return _run(args, source)


def _run(args: argparse.Namespace, source: CaptionSource) -> int:
    refuse_existing(args.output)
    report = Report()
    found = source.captions(args, report)
    if args.dry_run:
        shown = list(islice(counted_through := iter(counted(found, report)), _SHOWN))
        for _ in counted_through:
            pass
        sys.stdout.write("".join(f"{caption.path}: {caption.text}\n" for caption in shown))
    else:
        write_captions(args.output, found, report, {"source": args.source, "output": str(args.output)})
    sys.stdout.write(report.table())
    return 0 if args.dry_run or (report.written and not report.details.get("failed")) else 1


def _settle(args: argparse.Namespace, source: CaptionSource) -> None:
    """Fill in the source's defaults.

    Raises:
        InputError: for every flag that is missing, that belongs to another source, or whose number makes no sense.
    """
    own = {*source.needs, *source.defaults}
    every = {name for other in SOURCES.values() for name in (*other.needs, *other.defaults)}
    problems = [f"{_flag(name)} is needed" for name in source.needs if getattr(args, name) is None]
    problems += [
        f"{_flag(name)} is for other sources" for name in sorted(every - own) if getattr(args, name) is not None
    ]
    for name in sorted(own):
        value = getattr(args, name)
        least = 0 if name in {"seed", "min_likes", "price_in", "price_out"} else 1
        if isinstance(value, (int, float)) and not (value >= least or (name == "timeout" and value > 0)):
            problems.append(f"{_flag(name)} must be at least {least}, received {value}")
    if problems:
        raise InputError(f"--source {args.source}: {'; '.join(problems)}")
    for name, default in source.defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, default)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _from_comments(args: argparse.Namespace, report: Report) -> Iterator[CaptionRow]:
    review_path: Path = args.output.with_suffix(".review.csv")
    refuse_existing(review_path)
    matcher = Matcher(songs_of(read_jsonl(args.metadata), str(args.metadata)))
    reviewed = comments.read_review(args.reviewed) if args.reviewed else {}
    kept = comments.usable(args.input, args.min_likes, report)
    matches = comments.match(kept, matcher, reviewed)
    report.details = {
        "titles_matched": len(matches.accepted),
        "titles_uncertain": len(matches.uncertain),
        "titles_not_found": len(matches.comments) - len(matches.accepted) - len(matches.uncertain),
    }
    if matches.uncertain and not args.dry_run:
        comments.write_review(review_path, matches)
    return comments.captions(kept, matches, args.per_song, args.licence, report)


def _from_musiccaps(args: argparse.Namespace, report: Report) -> Iterator[CaptionRow]:
    for path in args.input:
        yield from musiccaps.captions(path, args.midi, report)


def _from_midicaps(args: argparse.Namespace, report: Report) -> Iterator[CaptionRow]:
    for path in args.input:
        yield from midicaps.captions(path, args.midi, report)


def _from_measurements(args: argparse.Namespace, report: Report) -> Iterator[CaptionRow]:
    found = list(prepared.passages(args.data, report))
    shown = tqdm(found, desc="describe", disable=None)
    return prepared.measured(shown, prepared.quantiles(args.data), args.count, args.seed)


def _from_model(args: argparse.Namespace, report: Report) -> Iterator[CaptionRow]:
    found = list(prepared.passages(args.data, report))
    if args.limit is not None and args.limit < len(found):
        report.drop("more than --limit", len(found) - args.limit)
        found = [found[index * len(found) // args.limit] for index in range(args.limit)]
    wording = musiccaps.wording(args.examples) if args.examples else ()
    prompter = Prompter(args.model, prepared.quantiles(args.data), args.count, wording)
    cache = JsonlLog(args.cache or args.output.with_name("annotations.jsonl"))
    todo = annotator.unanswered(prompter, found, cache)
    if args.dry_run:
        estimates = [prompter.tokens(passage) for passage in tqdm(todo, desc="estimate", disable=None)]
        sent, received = (sum(tokens) for tokens in zip((0, 0), *estimates, strict=True))
        report.details = {
            "questions_to_ask": len(todo),
            "tokens_to_send_about": sent,
            "tokens_to_receive_about": received,
        }
        report.details |= _cost(args, sent, received, "cost_about")
        if todo:
            sys.stdout.write("".join(f"[{part['role']}]\n{part['content']}\n" for part in prompter.messages(todo[0])))
    else:
        endpoint = ChatClient(args.base_url, key_from(args.key_variable), args.model, args.timeout, args.attempts)
        failed = args.output.with_suffix(".failed.jsonl")
        counts = annotator.annotate(endpoint, prompter, found, cache, failed, args.concurrency)
        usage = endpoint.usage
        report.drop(f"no answer: see {failed.name}", counts.rejected)
        report.details = {
            "failed": counts.rejected,
            "questions_answered": counts.done,
            "answers_received": usage.requests,
        }
        report.details |= {"tokens_sent": usage.prompt, "tokens_received": usage.completion}
        report.details |= {"answers_without_token_count": usage.uncounted}
        report.details |= _cost(args, usage.prompt, usage.completion, "cost")
    licence = args.licence or f"as the provider of {args.model} grants"
    return annotator.captions(prompter, found, cache, licence)


def _cost(args: argparse.Namespace, sent: int, received: int, name: str) -> dict[str, float]:
    if args.price_in is None and args.price_out is None:
        return {}
    return {name: round((sent * (args.price_in or 0) + received * (args.price_out or 0)) / 1e6, 4)}


SOURCES: Final = {
    "comments": CaptionSource(
        _from_comments,
        ("input", "metadata"),
        {"min_likes": 0, "per_song": 50, "reviewed": None, "licence": comments.LICENCE},
    ),
    "musiccaps": CaptionSource(_from_musiccaps, ("input", "midi"), {}),
    "midicaps": CaptionSource(_from_midicaps, ("input", "midi"), {}),
    "llm": CaptionSource(
        _from_model,
        ("data", "model"),
        {
            "base_url": "https://api.openai.com/v1",
            "key_variable": "OPENAI_API_KEY",
            "count": 2,
            "limit": None,
            "examples": None,
            "concurrency": 4,
            "timeout": 120.0,
            "attempts": 5,
            "price_in": None,
            "price_out": None,
            "cache": None,
            "licence": None,
        },
    ),
    "measured": CaptionSource(_from_measurements, ("data",), {"count": 2, "seed": 0}),
}
