"""MIDI to sound, as WAV or MP3, with what pip can install: the synthesiser TinySoundFont and a General MIDI soundfont.

Both are optional, and neither is part of this package: `tinysoundfont` (MIT) is the synthesiser, and the soundfont is
TimGM6mb by Tim Brechbill (GPL-2), read out of the package `pretty_midi`, which carries it. The environment variable
`MELOFORMER_SOUNDFONT` names a better General MIDI soundfont (.sf2 or .sf3) where there is one.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import logging
import os
import wave
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.midi.writing import playable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from miditoolkit import Instrument, MidiFile
    from numpy.typing import NDArray
    from tinysoundfont import Synth

    Event = tuple[int, int, Callable[[], object]]
    """Tick, rank among the events of one tick, and what the synthesiser does."""

RATE = 44100
"""Frames per second of every WAV file."""
HINT = "no audio: a synthesiser and a soundfont come with `pip install --no-deps tinysoundfont==0.3.7 pretty_midi`"

_LOG = logging.getLogger(__name__)
_GAIN_DB = 6.0  # one piano at medium velocity peaks at about half of full scale
_PEAK = 10 ** (-1 / 20)  # 1 dB of headroom, so that players that resample do not clip either
_TAIL_SECONDS = 4.0
_FADE_SECONDS = 0.05
_SILENCE = 10 ** (-66 / 20)
_REVERB_SECONDS = 1.1
_REVERB_LEVEL = 0.16
_PIECE = 1 << 18  # frames that are worked on at once: a long song is held once, and never copied
_CONTROLS = {6, 7, 10, 11, 38, 100, 101}  # volume, pan, expression, pitch-bend range; TinySoundFont has no pedal

# Where each family of eight programs sits between left (0) and right (127) unless the file says so itself.
_SEATS = (58, 48, 72, 84, 64, 40, 52, 78, 70, 66, 54, 60, 74, 44, 80, 64)


def render(midi: MidiFile, path: str | Path) -> bool:
    """Play `midi` as it is written (see `playable`) into a WAV file: 44.1 kHz, stereo, 16 bit, never clipped.

    Returns:
        False, and a hint in the log once, when no synthesiser or soundfont is installed; then nothing is written.

    Raises:
        InputError: if `MELOFORMER_SOUNDFONT` names something that is not a soundfont.
    """
    samples = heard(midi)
    if samples is None:
        return False
    write_atomic(path, functools.partial(_write_wav, samples))
    return True


def heard(midi: MidiFile) -> NDArray[np.float32] | None:
    """Sound (frames, 2) of `midi` as it is written, see `render`; None, and a hint, where it cannot be rendered."""
    font = soundfont()
    if font is None or not can_render():
        _hint()
        return None
    return synthesise(playable(midi), font)


def mp3(samples: NDArray[np.float32]) -> bytes:
    """An MP3 file of sound (frames, 2) at `RATE`: some 16 kB a second, which every browser plays."""
    import soundfile  # noqa: PLC0415  loads a library

    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    return file.getvalue()


def can_render() -> bool:
    """Whether a synthesiser is installed; it is not imported to find out."""
    return importlib.util.find_spec("tinysoundfont") is not None


def soundfont() -> Path | None:
    """The General MIDI soundfont to play with; None if there is none.

    Raises:
        InputError: if `MELOFORMER_SOUNDFONT` names something that is not a file.
    """
    if own := os.environ.get("MELOFORMER_SOUNDFONT"):
        if not Path(own).is_file():
            raise InputError(f"MELOFORMER_SOUNDFONT must name a .sf2 or .sf3 file; there is no file {own}")
        return Path(own)
    carrier = importlib.util.find_spec("pretty_midi")
    path = Path(carrier.origin).with_name("TimGM6mb.sf2") if carrier and carrier.origin else None
    return path if path is not None and path.is_file() else None


@functools.cache
def _hint() -> None:
    """Say once what is missing."""
    _LOG.warning(HINT)


def synthesise(midi: MidiFile, soundfont: Path) -> NDArray[np.float32]:
    """Sound of `midi` (frames, 2) within [-1, 1], 44,100 frames a second.

    Raises:
        InputError: if the soundfont cannot be read or lacks a General MIDI instrument.
    """
    import tinysoundfont  # noqa: PLC0415  optional

    synth = tinysoundfont.Synth(gain=_GAIN_DB, samplerate=RATE)
    try:
        bank = synth.sfload(str(soundfont))
        events = sorted(_events(midi, synth, bank), key=lambda event: event[:2])
    except RuntimeError as error:
        raise InputError(f"{soundfont} must be a General MIDI soundfont; {error}") from error
    frames = np.rint(seconds(midi, [tick for tick, _, _ in events]) * RATE).astype(int)
    return _finish(_play(synth, frames, [act for _, _, act in events]))


def seconds(midi: MidiFile, ticks: list[int]) -> NDArray[np.float64]:
    """Times of `ticks` under the file's tempo changes; 120 qpm until the first one."""
    tempos = {0: 120.0} | {change.time: change.tempo for change in sorted(midi.tempo_changes, key=lambda c: c.time)}
    starts = np.array(list(tempos), dtype=float)
    lengths = 60 / (np.array(list(tempos.values())) * midi.ticks_per_beat)  # seconds per tick
    starts_in_seconds = np.concatenate([[0.0], np.cumsum(np.diff(starts) * lengths[:-1])])
    piece = np.searchsorted(starts, ticks, side="right") - 1
    result: NDArray[np.float64] = starts_in_seconds[piece] + (np.asarray(ticks) - starts[piece]) * lengths[piece]
    return result


def _events(midi: MidiFile, synth: Synth, bank: int) -> Iterator[Event]:
    """Everything that happens, one synthesiser channel for each instrument (MIDI's limit of 16 does not hold here)."""
    for channel, instrument in enumerate(midi.instruments):
        _seat(synth, bank, channel, instrument)
        for note in instrument.notes:
            yield note.end, 0, functools.partial(synth.noteoff, channel, note.pitch)
            yield note.start, 2, functools.partial(synth.noteon, channel, note.pitch, note.velocity)
        for change in instrument.control_changes:
            if change.number in _CONTROLS:
                yield change.time, 1, functools.partial(synth.control_change, channel, change.number, change.value)
        for bend in instrument.pitch_bends:
            yield bend.time, 1, functools.partial(synth.pitchbend, channel, bend.pitch + 8192)


def _seat(synth: Synth, bank: int, channel: int, instrument: Instrument) -> None:
    if instrument.is_drum:
        synth.program_select(channel, bank, 128, 0, is_drums=True)
    else:
        synth.program_select(channel, bank, 0, instrument.program)
        synth.control_change(channel, 10, _SEATS[instrument.program // 8])


def _play(synth: Synth, frames: NDArray[np.int_], acts: list[Callable[[], object]]) -> NDArray[np.float32]:
    """Run the synthesiser from event to event and on through the tail."""
    last = int(frames[-1]) if len(frames) else 0
    samples = np.zeros((last + round(_TAIL_SECONDS * RATE), 2), dtype=np.float32)
    now = 0
    for frame, act in zip(frames, acts, strict=True):
        if frame > now:
            samples[now:frame] = np.frombuffer(synth.generate(int(frame) - now), np.float32).reshape(-1, 2)
            now = int(frame)
        act()
    samples[now:] = np.frombuffer(synth.generate(len(samples) - now), np.float32).reshape(-1, 2)
    return samples


def _finish(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A small room around the dry sound, the silent end cut off with a fade, and headroom; all of it in its place."""
    _add_room(samples)
    fade = round(_FADE_SECONDS * RATE)
    samples = samples[: _last_heard(samples) + fade]
    samples[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    peak = max(samples.max(), -samples.min())
    if peak > _PEAK:
        samples *= np.float32(_PEAK / peak)
    return samples


def _last_heard(samples: NDArray[np.float32]) -> int:
    """Number of the last frame that is no silence; 0 if all are."""
    for stop in range(len(samples), 0, -_PIECE):
        start = max(0, stop - _PIECE)
        heard = np.flatnonzero(np.abs(samples[start:stop]).max(axis=1) > _SILENCE)
        if len(heard):
            return start + int(heard[-1])
    return 0


def _add_room(samples: NDArray[np.float32]) -> None:
    """Add reverberation: both sides together, convolved with decaying noise that differs from ear to ear."""
    response = _room_response(round(_REVERB_SECONDS * RATE))
    size = 1 << 18
    block = size - response.shape[1]
    spectrum = np.fft.rfft(response, size)
    # What of the piece before still sounds in this one.
    ringing: NDArray[np.floating] = np.zeros((response.shape[1], 2), dtype=np.float32)
    for start in range(0, len(samples), block):
        piece = samples[start : start + block]
        echo = np.fft.irfft(np.fft.rfft(piece.mean(axis=1), size) * spectrum, size).T
        echo[: len(ringing)] += ringing
        ringing = echo[block:].copy()
        piece += _REVERB_LEVEL * echo[: len(piece)]


def _room_response(frames: int) -> NDArray[np.float32]:
    """Impulse response (2, frames) of unit energy: 60 dB down at its end, duller and later than the direct sound."""
    noise = np.random.default_rng(0).standard_normal((2, frames + 2))
    dull = (noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]) / 4
    time = np.linspace(0, 1, frames)
    response = dull * 10 ** (-3 * time) * (1 - np.exp(-200 * time))
    scaled: NDArray[np.float32] = (response / np.linalg.norm(response, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def _write_wav(samples: NDArray[np.float32], file: BinaryIO) -> None:
    # `wave` closes files only that it has opened itself: the caller still has to flush this one.
    with wave.open(file, "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.setnframes(len(samples))
        for start in range(0, len(samples), _PIECE):
            sound.writeframesraw(np.rint(samples[start : start + _PIECE] * 32767).astype("<i2").tobytes())
