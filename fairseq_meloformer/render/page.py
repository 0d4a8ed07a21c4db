"""A page of a piece: its roll, its sound and what was understood, in one file that asks for nothing from anywhere."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairseq_meloformer.jobs import write_atomic
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.writing import playable
from fairseq_meloformer.render import audio
from fairseq_meloformer.render.roll import RollLayout
from fairseq_meloformer.words.facts import instrument_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from miditoolkit import MidiFile
    from numpy.typing import NDArray


def write(path: str | Path, midi: MidiFile, data: bytes, title: str, told: Mapping[str, object]) -> bool:
    """Write the page of `midi`, in Chinese or English after the reader's browser, with its sound as MP3 in it.

    Args:
        path: of the page.
        midi: what is drawn and heard, as it is written (see `playable`).
        data: the MIDI file, which the page offers.
        title: the text of the piece; of any origin.
        told: `understood` and `not_kept` (lists of words), and `seed`.

    Returns:
        False if no synthesiser and soundfont are installed; the page says so then.
    """
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)  # there the sound is made, before the page is written
    heard = audio.heard(midi, folder)
    sound = None if heard is None else data_url("audio/mpeg", audio.mp3(heard))
    content = {"title": title, "midi": data_url("audio/midi", data), "sound": sound, **told, **_roll(playable(midi))}
    page = filled(files(__package__).joinpath("page.html"), title=title, data=content)
    write_atomic(path, lambda file: file.write(page.encode()))
    return sound is not None


def filled(body: Traversable, title: str, data: object) -> str:
    """A page: head.html, and a body with its `{{data}}`, JSON in a script element of which nothing can break out."""
    template = files(__package__).joinpath("head.html").read_text("utf-8") + body.read_text("utf-8")
    values = {"title": html.escape(title), "data": json.dumps(data).replace("<", "\\u003c")}
    return re.sub(r"\{\{(title|data)\}\}", lambda match: values[match[1]], template)


def data_url(kind: str, data: bytes) -> str:
    """A file of a media type as an address that holds it."""
    return f"data:{kind};base64,{b64encode(data).decode()}"


def _roll(midi: MidiFile) -> dict[str, Any]:
    """Notes [start and end in seconds, pitch, velocity, voice, drum lane or -1], voices, lanes and bar lines."""
    roll = RollLayout.of(midi)
    played = roll.notes

    def time(quarters: NDArray[np.float64]) -> list[float]:
        ticks = np.rint(quarters * midi.ticks_per_beat).astype(int).tolist()
        return [round(float(second), 4) for second in audio.seconds(midi, ticks)]

    chinese = {name["en"]: name["zh"] for name in instrument_names()}
    order = list(roll.colours)
    columns = (
        time(played.onset),
        time(played.onset + played.duration),
        played.pitch.tolist(),
        played.velocity.tolist(),
        [order.index(name) for name in roll.names.tolist()],
        np.where(played.program == DRUMS, roll.lanes, -1).tolist(),
    )
    return {
        "notes": list(zip(*columns, strict=True)),
        "voices": [{"en": name, "zh": chinese[name], "colour": roll.colours[name]} for name in order],
        "kit": roll.kit,
        "bars": time(roll.lines),
        "low": roll.low,
        "high": roll.high,
        "about": roll.subtitle,
    }
