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
import tempfile
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

    Sound = Iterator[NDArray[np.float32]]
    """Blocks (frames, 2), `RATE` frames a second, one after the other."""

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
_PIECE = 1 << 18  # frames that are worked on at once
_FRAME_BYTES = 8
_AT_ONCE = 1 << 18  # frames that are asked of the synthesiser: a multiple of the 64 that it works on itself

# Where each family of eight programs sits between left (0) and right (127).
_SEATS = (58, 48, 72, 84, 64, 40, 52, 78, 70, 66, 54, 60, 74, 44, 80, 64)


def render(midi: MidiFile, path: str | Path) -> bool:
    """Play `midi` as it is written (see `playable`) into a WAV file: 44.1 kHz, stereo, 16 bit, never clipped.

    Returns:
        False, and a hint in the log once, when no synthesiser or soundfont is installed; then nothing is written.

    Raises:
        InputError: if `MELOFORMER_SOUNDFONT` names something that is not a soundfont.
    """
    sound = heard(midi, Path(path).parent)
    if sound is None:
        return False
    write_atomic(path, functools.partial(_write_wav, sound))
    return True


def heard(midi: MidiFile, scratch: Path | None = None) -> Sound | None:
    """Sound of `midi` as it is written, see `render`; None, and a hint, where it cannot be rendered.

    Args:
        midi: any song.
        scratch: folder for a file without a name, of 0.35 MB a second, while the sound is made (default: the system's).
    """
    font = soundfont()
    if font is None or not can_render():
        _hint()
        return None
    return synthesise(playable(midi), font, scratch)


def mp3(sound: Sound) -> bytes:
    """An MP3 file of sound: some 16 kB a second, which every browser plays."""
    import soundfile  # noqa: PLC0415  loads a library

    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", RATE, channels=2, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    ) as encoder:
        for block in sound:
            encoder.write(block)
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


def synthesise(midi: MidiFile, soundfont: Path, scratch: Path | None = None) -> Sound:
    """Sound of `midi` within [-1, 1], in memory that does not grow with its length; `scratch` as in `heard`.

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
    return _finished(_in_a_room(_played(synth, frames, [act for _, _, act in events])), scratch)


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
            yield note.start, 1, functools.partial(synth.noteon, channel, note.pitch, note.velocity)


def _seat(synth: Synth, bank: int, channel: int, instrument: Instrument) -> None:
    if instrument.is_drum:
        synth.program_select(channel, bank, 128, 0, is_drums=True)
    else:
        synth.program_select(channel, bank, 0, instrument.program)
        synth.control_change(channel, 10, _SEATS[instrument.program // 8])


def _played(synth: Synth, frames: NDArray[np.int_], acts: list[Callable[[], object]]) -> Sound:
    """Run the synthesiser from event to event and on through the tail."""
    now = 0
    for frame, act in zip(frames.tolist(), acts, strict=True):
        yield from _run(synth, frame - now)
        now = frame
        act()
    yield from _run(synth, round(_TAIL_SECONDS * RATE))


def _run(synth: Synth, frames: int) -> Sound:
    """Run the synthesiser for so many frames."""
    for start in range(0, frames, _AT_ONCE):
        yield np.frombuffer(synth.generate(min(_AT_ONCE, frames - start)), np.float32).reshape(-1, 2)


def _in_blocks(sound: Sound, size: int) -> Sound:
    """The same frames in blocks of so many, and the rest."""
    block, filled = np.empty((size, 2), np.float32), 0
    for piece in sound:
        rest = piece
        while len(rest):
            fits = rest[: size - filled]
            block[filled : filled + len(fits)] = fits
            filled, rest = filled + len(fits), rest[len(fits) :]
            if filled == size:
                yield block.copy()
                filled = 0
    if filled:
        yield block[:filled].copy()


def _in_a_room(sound: Sound) -> Sound:
    """Add reverberation: both sides together, convolved with decaying noise that differs from ear to ear."""
    response = _room_response(round(_REVERB_SECONDS * RATE))
    size = 1 << 18
    block = size - response.shape[1]
    spectrum = np.fft.rfft(response, size)
    # What of the piece before still sounds in this one.
    ringing: NDArray[np.floating] = np.zeros((response.shape[1], 2), dtype=np.float32)
    for dry in _in_blocks(sound, block):
        echo = np.fft.irfft(np.fft.rfft(dry.mean(axis=1), size) * spectrum, size).T
        echo[: len(ringing)] += ringing
        ringing = echo[block:].copy()
        dry[:] += _REVERB_LEVEL * echo[: len(dry)]
        yield dry


def _finished(sound: Sound, scratch: Path | None) -> Sound:
    """Cut the silent end off with a fade, and give headroom: what that takes is known at the end only."""
    with tempfile.TemporaryFile(dir=scratch) as kept:
        frames = last_heard = 0
        for block in sound:
            loud = np.flatnonzero(np.abs(block).max(axis=1) > _SILENCE)
            last_heard = frames + int(loud[-1]) if len(loud) else last_heard
            frames += len(block)
            kept.write(block.tobytes())
        end = min(frames, last_heard + round(_FADE_SECONDS * RATE))
        peak = max((np.abs(block).max() for block in _faded(kept, end)), default=np.float32(0))
        for block in _faded(kept, end):
            yield block * np.float32(_PEAK / peak) if peak > _PEAK else block


def _faded(kept: BinaryIO, end: int) -> Sound:
    """The first frames of what is kept, the last of which fade."""
    fade = round(_FADE_SECONDS * RATE)
    ramp = np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    kept.seek(0)
    for start in range(0, end, _PIECE):
        stop = min(end, start + _PIECE)
        block = np.frombuffer(kept.read((stop - start) * _FRAME_BYTES), np.float32).reshape(-1, 2).copy()
        fading = min(len(block), max(0, stop - (end - fade)))
        block[len(block) - fading :] *= ramp[stop - fading - (end - fade) : stop - (end - fade)]
        yield block


def _room_response(frames: int) -> NDArray[np.float32]:
    """Impulse response (2, frames) of unit energy: 60 dB down at its end, duller and later than the direct sound."""
    noise = np.random.default_rng(0).standard_normal((2, frames + 2))
    dull = (noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]) / 4
    time = np.linspace(0, 1, frames)
    response = dull * 10 ** (-3 * time) * (1 - np.exp(-200 * time))
    scaled: NDArray[np.float32] = (response / np.linalg.norm(response, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def _write_wav(sound: Sound, file: BinaryIO) -> None:
    # `wave` closes files only that it has opened itself: the caller still has to flush this one.
    with wave.open(file, "wb") as written:
        written.setnchannels(2)
        written.setsampwidth(2)
        written.setframerate(RATE)
        for block in sound:
            written.writeframesraw(np.rint(block * 32767).astype("<i2").tobytes())
