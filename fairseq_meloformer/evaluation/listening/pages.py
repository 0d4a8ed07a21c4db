"""The page of a listening test: texts, sounds at equal loudness, questions in both languages."""

from __future__ import annotations

import copy
from bisect import bisect_left
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from miditoolkit import Note

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.render import audio
from fairseq_meloformer.render.loudness import loudness
from fairseq_meloformer.render.page import data_url, filled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from miditoolkit import MidiFile
    from numpy.typing import NDArray

LOUDNESS: Final = -20.0
"""LUFS of every sound, or less where one of them would be clipped."""
_PEAK: Final = 10 ** (-1 / 20)
_AUDIBLE: Final = 1e-3
_FADE_SECONDS: Final = 1.5


@dataclass(frozen=True)
class Sound:
    """A sound as an address that holds it, and its length."""

    data: str
    seconds: float


def sounds(pieces: Mapping[Path, MidiFile], most: float) -> dict[Path, Sound]:
    """The first `most` seconds of pieces, from the first note on, all at one loudness; a silent piece stays silent.

    Raises:
        InputError: no synthesiser or soundfont is installed.
    """
    samples = {path: _excerpt(midi, most) for path, midi in pieces.items()}
    levels = {path: loudness(sound, audio.RATE) for path, sound in samples.items()}
    gains = levelled(levels, {path: float(np.abs(sound).max(initial=0)) for path, sound in samples.items()})
    return {
        path: Sound(data_url("audio/mpeg", audio.mp3(iter([sound * np.float32(gains[path])]))), len(sound) / audio.RATE)
        for path, sound in samples.items()
    }


def levelled(levels: Mapping[Path, float], peaks: Mapping[Path, float]) -> dict[Path, float]:
    """Factors that bring sounds of these levels (LUFS) to one, at which no peak is above -1 dB."""
    heard = [path for path, level in levels.items() if np.isfinite(level)]
    rooms = (levels[path] + 20 * np.log10(_PEAK / peaks[path]) for path in heard)
    target = min((LOUDNESS, *rooms))
    return {path: 10 ** ((target - level) / 20) if path in heard else 1.0 for path, level in levels.items()}


def _excerpt(midi: MidiFile, most: float) -> NDArray[np.float32]:
    sound = audio.heard(_beginning(midi, most))
    if sound is None:
        raise InputError(audio.HINT)
    samples = np.concatenate(list(sound))
    first = int(np.argmax(np.abs(samples).max(axis=1) > _AUDIBLE)) if len(samples) else 0
    samples = samples[first : first + round(most * audio.RATE)]
    fade = min(round(_FADE_SECONDS * audio.RATE), len(samples))
    samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return samples


def _beginning(midi: MidiFile, most: float) -> MidiFile:
    """The notes of the first `most` seconds from the first note on: the rest would be rendered for nothing."""
    notes = [note for track in midi.instruments for note in track.notes]
    limit = audio.seconds(midi, [min((note.start for note in notes), default=0)])[0] + most
    last = max((note.end for note in notes), default=0)
    end = bisect_left(range(last), limit, key=lambda tick: float(audio.seconds(midi, [tick])[0]))
    song = copy.copy(midi)
    song.instruments = [copy.copy(track) for track in midi.instruments]
    for track in song.instruments:
        begun = (note for note in track.notes if note.start < end)
        track.notes = [Note(note.velocity, note.pitch, note.start, min(note.end, end)) for note in begun]
    return song


def write(
    path: Path,
    study: str,
    texts: Mapping[str, str],
    items: Mapping[str, Mapping[str, Any]],
    pairs: Mapping[str, Mapping[str, Any]],
    sounds: Mapping[Path, Sound],
) -> None:
    """Write the page: nothing in it tells which arm a piece is of."""
    played = sorted(sounds, key=lambda one: sounds[one].data)  # an order that says nothing
    place = {one: index for index, one in enumerate(played)}
    data = {
        "study": study,
        "items": [
            {"code": code, "text": texts[item["prompt"]], "sounds": [place[item["path"]]]}
            for code, item in items.items()
        ],
        "pairs": [
            {"code": code, "text": texts[pair["prompt"]], "sounds": [place[one] for one in pair["paths"]]}
            for code, pair in pairs.items()
        ],
        "sounds": [sounds[one].data for one in played],
    }
    page = filled(files(__package__).joinpath("page.html"), title="Listening test · 听音测试", data=data)
    write_atomic(path, lambda file: file.write(page.encode()))
