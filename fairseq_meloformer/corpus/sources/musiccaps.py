"""MusicCaps (Agostinelli et al. 2023): captions that musicians wrote of ten seconds of audio each, CC-BY-SA 4.0.

Its captions become ours where somebody has transcribed the audio: a MIDI file is found by the YouTube id in its name
(`ID.mid`, `ID_30_40.mid`, `Title [ID].mid`). All of them serve as examples of wording for the annotator (`wording`).
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import numpy as np
from tqdm import tqdm

from fairseq_meloformer import midi
from fairseq_meloformer.corpus.prepare import find
from fairseq_meloformer.corpus.sources.exports import read_text
from fairseq_meloformer.corpus.sources.rows import CaptionRow, Report
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.beats import moved, place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE: Final = "musiccaps"
LICENCE: Final = "CC-BY-SA-4.0 (MusicCaps)"

_COLUMNS: Final = ("ytid", "start_s", "end_s", "aspect_list", "caption")
_ID: Final = re.compile(r"^(?P<bare>[\w-]{11})(?P<clip>[_ -]\d+[_ -]\d+)?$|\[(?P<bracketed>[\w-]{11})\]$")
# What is true of a recording and not of its notes.
_RECORDED: Final = re.compile(
    r"\b(?:(?:low|poor|bad|high|good|average|audio|sound|recording)[- ]+(?:audio |sound |recording )?quality"
    r"|noisy|background noise|static noise|hiss(?:ing)?|in mono|in stereo|mono recording|microphone"
    r"|(?:amateur(?:ish)?|live|home|field) recording|mastered|distorted audio)\b",
    re.IGNORECASE,
)
_QUALITY: Final = re.compile(
    r"\b(?:very |rather )?(?:low|poor|bad|high|good)[- ](?:audio |sound )?quality,? (?=\w)"
    r"|\bnoisy,? (?=recording|song)",
    re.IGNORECASE,
)
_A_CLIPS_ROOM: Final = 5.0
"""Seconds by which a transcription of the clip alone may be longer than it: notes that ring, a bar filled up."""


@dataclass(frozen=True)
class Clip:
    """A row of MusicCaps; times in seconds of the video."""

    ytid: str
    start: float
    end: float
    aspects: tuple[str, ...]
    text: str


def read(path: Path) -> list[Clip]:
    """Rows of `musiccaps-public.csv`.

    Raises:
        InputError: if it is not in that form.
    """
    table = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if missing := [name for name in _COLUMNS if name not in (table.fieldnames or ())]:
        raise InputError(f"{path} must be MusicCaps' table with {', '.join(_COLUMNS)}; it lacks {', '.join(missing)}")
    clips = []
    for row in table:
        try:
            aspects = tuple(map(str, ast.literal_eval(row["aspect_list"])))
            clips.append(Clip(row["ytid"], float(row["start_s"]), float(row["end_s"]), aspects, row["caption"].strip()))
        except (TypeError, ValueError, SyntaxError, AttributeError) as error:
            raise InputError(f"{path}, line {table.line_num}: must be a row of MusicCaps; {error}") from error
    return clips


def captions(path: Path, folder: Path, report: Report) -> Iterator[CaptionRow]:
    """Two captions of every clip whose transcription is in a folder of MIDI files: its text and its list of aspects.

    Raises:
        InputError: if there are no MIDI files, or the captions are not in MusicCaps' form.
    """
    files = defaultdict(list)
    for name in find(folder):
        if found := _ID.search(PurePosixPath(name).stem):
            files[found["bare"] or found["bracketed"]].append((name, bool(found["clip"])))
    for clip in tqdm(read(path), desc="MusicCaps", disable=None):
        report.read += 1
        if clip.ytid not in files:
            report.drop("no MIDI file with this YouTube id")
        for name, is_clip in files.get(clip.ytid, []):
            try:
                bars = None if is_clip else _bars(folder / name, clip)
            except InputError:
                report.drop("MIDI file cannot be used")
                continue
            for text in _texts(clip, report):
                yield CaptionRow(name, bars, text, "en", SOURCE, LICENCE)


def _texts(clip: Clip, report: Report) -> Iterator[str]:
    text = of_notes(clip.text)
    if text != clip.text:
        report.details["texts_without_what_only_a_recording_has"] = (
            report.details.get("texts_without_what_only_a_recording_has", 0) + 1
        )
    if text:
        yield text
    else:
        report.drop("about the recording only")
    if aspects := [aspect for aspect in clip.aspects if not _RECORDED.search(aspect)]:
        yield ", ".join(aspects)


def of_notes(text: str) -> str:
    """A caption without what it says of the recording's quality: a word where that is enough, else the sentence."""
    sentences = re.split(r"(?<=[.!?])\s+", _QUALITY.sub("", text))
    return " ".join(sentence for sentence in sentences if not _RECORDED.search(sentence))


def wording(path: Path) -> list[str]:
    """Texts of MusicCaps that show how people speak of music, without what only recordings have."""
    return sorted({text for clip in read(path) if (text := of_notes(clip.text))})


def _bars(path: Path, clip: Clip) -> tuple[int, int] | None:
    """Bars of the song that the clip covers for the most part; None where the file is of the clip alone.

    They are those of `prepare` where it counts the song in 4/4, as it does by default; else the file's own.

    Raises:
        InputError: the file cannot be read, or is too short to have the clip in it.
    """
    song = midi.read(path)
    counted, later = song, 0
    with suppress(InputError):
        placement = place(song)
        counted, later = moved(song, placement), placement.shift
    ticks = np.round(midi.bar_lines(counted) * song.ticks_per_beat).astype(int) - later
    times = np.asarray(song.get_tick_to_time_mapping())
    seconds = times[np.clip(ticks, 0, len(times) - 1)]
    if seconds[-1] <= clip.end - clip.start + _A_CLIPS_ROOM:
        return None
    middles = (seconds[:-1] + seconds[1:]) / 2
    covered = np.flatnonzero((middles >= clip.start) & (middles < clip.end))
    if not len(covered):
        raise InputError(f"{path} must last until the clip from {clip.start} to {clip.end} s; it ends at {seconds[-1]}")
    return int(covered[0]), int(covered[-1]) + 1
