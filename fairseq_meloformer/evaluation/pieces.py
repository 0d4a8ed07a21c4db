"""Pieces and songs in files, as reports measure them: by the six instruments of the model, in their own metre."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from miditoolkit import MidiFile

from fairseq_meloformer import jobs, midi
from fairseq_meloformer.composing.piece import MANIFEST
from fairseq_meloformer.midi.general_midi import SOUNDS
from fairseq_meloformer.midi.metre import FOUR_FOUR, song_grid, spelled
from fairseq_meloformer.midi.six_tracks import NAMES, in_six_tracks

_ROLES: Final = {name: program for program, name in NAMES.items()}

Players = Mapping[str, int]
"""The program that plays the track of each of the six, by the name of that, as manifests have it."""


def by_six(path: Path, players: Players | None = None) -> MidiFile:
    """A song by the six instruments: one that is not ours as `in_six_tracks` has it, in the metre that most of it has.

    Args:
        path: its file.
        players: of a composed piece, who are the six themselves again; all else of it is as the model wrote it.

    Raises:
        InputError: it cannot be read, or brought into this form.
    """
    song = midi.read(path)
    if players is None:
        return in_six_tracks(song, [FOUR_FOUR, *map(spelled, np.unique(song_grid(song).metres).tolist())])
    replaced = {(program, SOUNDS[program].name): _ROLES[name] for name, program in players.items()}
    for track in song.instruments:
        if not track.is_drum:
            track.program = replaced.get((track.program, track.name), track.program)
    return song


def with_players(paths: Iterable[Path]) -> Iterator[tuple[Path, Players | None]]:
    """Files, and the players of those that were composed, as the manifest beside them says; None for others."""
    manifests: dict[Path, dict[str, Players]] = {}
    for path in paths:
        if path.parent not in manifests:
            manifest = path.with_name(MANIFEST)
            rows = jobs.read_jsonl(manifest) if manifest.is_file() else ()
            told = {f"{row['piece']}.mid": row.get("full_system", {}).get("players", {}) for row in rows}
            manifests[path.parent] = told
        yield path, manifests[path.parent].get(path.name)
