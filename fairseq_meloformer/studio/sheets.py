"""A piece as the page draws and plays it: notes, bar lines and tracks in seconds, as JSON."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.arrangement import Arrangement
from fairseq_meloformer.midi.events import EventFile, FileNote, Player
from fairseq_meloformer.midi.files import bar_lines
from fairseq_meloformer.midi.general_midi import SOUNDS
from fairseq_meloformer.midi.metre import POSITIONS
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import NAMES
from fairseq_meloformer.render.audio import seconds
from fairseq_meloformer.render.roll import RollLayout
from fairseq_meloformer.words.facts import instrument_names

Row = dict[str, Any]
MOST_NOTES: Final = 40_000


def sheet(data: bytes, stand_ins: Mapping[int, int] | None = None) -> Row:
    """What the page needs of a MIDI file.

    Args:
        data: of the file.
        stand_ins: see `Arrangement.of`.

    Returns:
        `lines`: seconds of the bar lines, bars being counted as they are for writing bars anew. `tempo`: quarters per
        minute, and `metre`, at the beginning. `tracks`: `name` and `zh`, `program` (128 = drums), `colour`, `role` of
        the six or None, and `notes`: [begin, length, pitch, velocity], in seconds. `changes`: whether bars of it can be
        written anew.

    Raises:
        InputError: it is not a MIDI file, or has no notes, or too many.
    """
    file = EventFile.of(data)
    song = file.song
    if not 1 <= len(file.notes) <= MOST_NOTES:
        raise InputError(f"a piece must have from 1 to {MOST_NOTES} notes, received {len(file.notes)}")
    try:
        arrangement = Arrangement.of(file, players=stand_ins)
    except InputError:
        arrangement = None
    if arrangement is None:
        ticks = [round(line * song.ticks_per_beat) for line in bar_lines(song).tolist()]
    else:
        ticks = [line * song.ticks_per_beat // POSITIONS - arrangement.late for line in arrangement.lines]
    players: dict[Player, list[FileNote]] = defaultdict(list)
    for note in file.notes:
        players[note.player].append(note)
    roles = {} if arrangement is None else arrangement.roles
    colours = RollLayout.of(song).colours
    metre = next(iter(song.time_signature_changes), None)
    return {
        "lines": _rounded(song, [max(0, tick) for tick in ticks]),
        "tempo": round(next((change.tempo for change in song.tempo_changes), 120.0)),
        "metre": f"{metre.numerator}/{metre.denominator}" if metre else "4/4",
        "changes": arrangement is not None,
        "tracks": [
            _track(file, player, players[player], roles.get(player), colours)
            for player in sorted(players, key=lambda player: SOUNDS[player.program].place)
        ],
    }


def _track(file: EventFile, player: Player, notes: list[FileNote], role: int | None, colours: dict[str, str]) -> Row:
    names = instrument_names()[player.program]
    begins = _rounded(file.song, [note.start for note in notes])
    ends = _rounded(file.song, [note.end for note in notes])
    return {
        "name": names["en"],
        "zh": names["zh"],
        "program": player.program,
        "drums": player.program == DRUMS,
        "colour": colours[names["en"]],
        "role": None if role is None else NAMES[role].lower(),
        "notes": [
            [begin, round(end - begin, 3), note.pitch, note.velocity]
            for begin, end, note in zip(begins, ends, notes, strict=True)
        ],
    }


def _rounded(song: Any, ticks: list[int]) -> list[float]:  # noqa: ANN401  miditoolkit has no types
    return [round(second, 3) for second in seconds(song, ticks).tolist()]
