"""Mutated MIDI files: each is read, brought to six tracks and turned into tokens, or refused in a sentence.

python -m tests.campaigns.midi --cases 200000
"""

import logging
import random
import tempfile
from functools import cache
from pathlib import Path

from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer.midi import files
from fairseq_meloformer.midi.six_tracks import in_six_tracks
from fairseq_meloformer.tokens import remi
from tests.campaigns import campaign

_METRES = ("4/4", "3/4", "6/8", "2/4")


@cache
def originals() -> tuple[bytes, ...]:
    """Small whole files: of the six instruments, and of others; two metres."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (programs, beats) in enumerate((((80, 32, 0), 4), ((73, 33, 48, 26), 3), ((0,), 4))):
            song = MidiFile()
            song.time_signature_changes = [TimeSignature(beats, 4, 0)]
            song.tempo_changes = [TempoChange(100.0, 0), TempoChange(140.0, 960)]
            for program in programs:
                track = Instrument(program, is_drum=False, name=f"音 {program}")
                track.notes = [Note(90, 50 + n % 12, 240 * n, 240 * n + 200) for n in range(12 * beats)]
                song.instruments.append(track)
            drums = Instrument(0, is_drum=True, name="drums")
            drums.notes = [Note(80, 36, 480 * n, 480 * n + 60) for n in range(6 * beats)]
            song.instruments.append(drums)
            song.max_tick = 480 * 6 * beats + 1
            path = Path(folder) / f"{number}.mid"
            files.write(song, path, "暴风雨")
            made.append(path.read_bytes())
    return tuple(made)


@cache
def _path() -> Path:
    logging.getLogger("fairseq_meloformer").setLevel(logging.ERROR)  # what was left out of each damaged file
    return campaign.folder() / "mutated.mid"


def case(rng: random.Random) -> str:
    first, second = rng.choices(originals(), k=2)
    path = _path()
    path.write_bytes(campaign.mutated(first, rng, second))
    left_out: list[files.LeftOut] = []
    midi = files.read(path, left_out)
    tokens = remi.encode(in_six_tracks(midi, _METRES))
    if not tokens:
        raise AssertionError("no tokens of a file that was taken")
    return "mended" if left_out else "read"


if __name__ == "__main__":
    campaign.main(case, 2000)
