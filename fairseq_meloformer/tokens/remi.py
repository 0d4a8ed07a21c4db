"""MIDI <-> REMIGEN and REMIGEN2, MuseFormer's token languages.

A bar is `[s] t (o (i (p d v)+)+)* b-1` in REMIGEN2 and `[s] (o t (i (p d v)+)+)* b-1` in REMIGEN: its time
signature, the tempo in force (at the bar line, or at each onset), positions in ascending order, the instruments at a
position in the chosen order, and the notes of an instrument from high to low (then long to short, then loud to soft).

Times are rounded to positions (1/12 quarter): onset and end each for itself, and the difference is the duration.
Duration code k of octave e = k // 12 stands for 2^e durations and is decoded to the shortest of them; velocity is v //
4, decoded to 4 v + 2; tempo is round(12 log2(qpm / 16)) within 16..256 qpm, decoded to a whole number. Drum pitches are
shifted by 128. A note that rounds to no duration (`d-0`) is decoded to a quarter of a position.

Tokens come back from their decoded song as they were. From a written file they come back but for equal pitches that
overlap in one instrument, which only paper can hold: there the earlier note ends (see `midi.writing.playable`).
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from miditoolkit import MidiFile

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.garbage_collection import paused
from fairseq_meloformer.midi.keys import fold, semitones_to_c
from fairseq_meloformer.midi.metre import Grid, bar_grid, one_metre, to_positions
from fairseq_meloformer.midi.notes import DRUMS, note_table
from fairseq_meloformer.tokens.codes import SHORTEST, VELOCITY_STEP, duration_code, tempo_code
from fairseq_meloformer.tokens.remi_decoding import decode, split

__all__ = ["Method", "Order", "bars", "decode", "encode", "tempi_at", "transpose", "transposition"]

Method = Literal["REMIGEN", "REMIGEN2"]
Order = Literal["id", "six_tracks"]

_SIX_TRACKS: Final = (80, DRUMS, 32, 43, 25, 0, 48)
"""Lead, drums, bass, bass, guitar, piano, strings: MuseFormer's order; other programs follow by number."""

_DEFAULT_QPM: Final = 120.0
_ONSETS: Final = [f"o-{number}" for number in range(128)]
_INSTRUMENTS: Final = [f"i-{number}" for number in range(DRUMS + 1)]
_PITCHES: Final = [f"p-{number}" for number in range(256)]
_DURATIONS: Final = [f"d-{number}" for number in range(len(SHORTEST))]
_VELOCITIES: Final = [f"v-{number}" for number in range(32)]


@paused()
def encode(
    midi: MidiFile,
    method: Method = "REMIGEN2",
    normalise_pitch: bool = False,
    ignore_time_signature: bool = False,
    instrument_order: Order = "id",
) -> list[str]:
    """Tokens of a song, without the empty bars before its first and after its last note.

    Args:
        midi: the song; every track's notes are taken, tracks of one program become one instrument.
        method: "REMIGEN2" (the published model) or "REMIGEN" (the general-use form).
        normalise_pitch: transpose to C major or A minor (see `transposition`).
        ignore_time_signature: leave `s-` tokens out; the song must keep to one metre, which `decode` has to be told.
        instrument_order: "id" (program, drums last) or "six_tracks" (80, 128, 32, 43, 25, 0, 48, then the others).

    Raises:
        InputError: no notes, numbers out of MIDI's range, an unknown time signature, or a changing one that is ignored.
    """
    if method not in {"REMIGEN", "REMIGEN2"}:
        raise InputError(f"The method must be REMIGEN or REMIGEN2, but is {method!r}.")
    table = note_table(midi)
    if not table.shape[1]:
        raise InputError("A song must have at least one note to be encoded, but this one has none.")
    columns, grid = _columns(table, midi, _shift(table) if normalise_pitch else 0, instrument_order)
    if ignore_time_signature:
        one_metre(grid)
    bars = slice(columns[0, 0], columns[0, -1] + 1)
    openings = [[] if ignore_time_signature else [f"s-{metre}"] for metre in grid.metres[bars].tolist()]
    if method == "REMIGEN2":
        for opening, tempo in zip(openings, tempi_at(midi, grid.lines[bars]), strict=True):
            opening.append(f"t-{tempo}")
        return _spell(columns, openings, None)
    return _spell(columns, openings, tempi_at(midi, grid.lines[columns[0]] + columns[1]))


def transposition(midi: MidiFile) -> int:
    """Semitones (-11..9) by which `normalise_pitch` moves a song; `transpose` by their negative undoes it."""
    return _shift(note_table(midi))


def transpose(tokens: Sequence[str], semitones: int) -> list[str]:
    """Move all pitches but the drums'; what would leave 0..127 is moved back by whole octaves.

    The notes of an instrument at a position stay in descending order, so that encoded songs stay as encode makes them.

    Raises:
        InputError: a token is malformed.
    """
    pitches = [f"p-{pitch}" for pitch in fold(np.arange(128) + semitones).tolist()]
    moved: list[str] = []
    chord: list[list[str]] = []
    drums = False
    for place, symbol in enumerate(tokens):
        kind, number = split(tokens, place)
        if kind == "p":
            chord.append([symbol if drums or number >= len(pitches) else pitches[number]])
        elif kind in "dv" and chord:
            chord[-1].append(symbol)
        else:
            moved.extend(_descending(chord))
            chord = []
            moved.append(symbol)
            drums = number == DRUMS if kind == "i" else drums
    return moved + _descending(chord)


def bars(tokens: Sequence[str]) -> list[list[str]]:
    """Cut tokens after each `b-1`; what follows the last one is an unfinished bar of its own."""
    cut: list[list[str]] = [[]]
    for symbol in tokens:
        cut[-1].append(symbol)
        if symbol == "b-1":
            cut.append([])
    return cut if cut[-1] else cut[:-1]


def _descending(chord: list[list[str]]) -> list[str]:
    """Tokens of the notes of a chord, sorted; a chord whose last note is unfinished is left as it is."""
    if all(len(note) == 3 for note in chord):
        chord = sorted(chord, key=lambda note: [int(token[2:]) for token in note], reverse=True)
    return list(chain.from_iterable(chord))


def _shift(table: npt.NDArray[np.int64]) -> int:
    return semitones_to_c(table[2, table[4] != DRUMS])


def _columns(
    table: npt.NDArray[np.int64], midi: MidiFile, semitones: int, order: Order
) -> tuple[npt.NDArray[np.int64], Grid]:
    """(6, notes) bar, position in the bar, program, pitch, duration code, velocity code, in the order of the tokens."""
    onset, end = to_positions(table[:2], midi.ticks_per_beat)
    program = table[4]
    pitch = np.where(program == DRUMS, table[2] + 128, fold(table[2] + semitones))
    grid = bar_grid(midi, int(onset.max()))
    bar = np.searchsorted(grid.lines, onset, side="right") - 1
    duration, velocity = duration_code(end - onset), table[3] // VELOCITY_STEP
    columns = np.stack([bar, onset - grid.lines[bar], program, pitch, duration, velocity])
    return columns[:, np.lexsort((-velocity, -duration, -pitch, ranks(order)[program], onset))], grid


def ranks(order: Order) -> npt.NDArray[np.int64]:
    """(129,) place of each program among the instruments of a position."""
    ranks = np.arange(DRUMS + 1)
    if order == "six_tracks":
        ranks += len(_SIX_TRACKS)
        ranks[list(_SIX_TRACKS)] = np.arange(len(_SIX_TRACKS))
    elif order != "id":
        raise InputError(f"The instrument order must be id or six_tracks, but is {order!r}.")
    return ranks


def tempi_at(midi: MidiFile, positions: npt.NDArray[np.int64]) -> list[int]:
    """Code of the tempo in force at each position; 120 qpm before the first change."""
    changes = sorted(midi.tempo_changes, key=lambda change: change.time)
    times = to_positions([change.time for change in changes], midi.ticks_per_beat)
    codes = tempo_code([_DEFAULT_QPM, *(change.tempo for change in changes)])
    found: list[int] = codes[np.searchsorted(times, positions, side="right")].tolist()
    return found


def _spell(columns: npt.NDArray[np.int64], openings: list[list[str]], tempi: list[int] | None) -> list[str]:
    """Tokens of sorted notes; `openings` begin the bars, `tempi` (notes) stand after the onsets."""
    tokens: list[str] = list(openings[0])
    bar = int(columns[0, 0])
    position = instrument = -1
    upcoming = iter(openings[1:])
    for place, (note_bar, onset, program, pitch, duration, velocity) in enumerate(columns.T.tolist()):
        while bar < note_bar:
            tokens += ("b-1", *next(upcoming))
            bar, position = bar + 1, -1
        if onset != position:
            tokens.append(_ONSETS[onset])
            if tempi is not None:
                tokens.append(f"t-{tempi[place]}")
            position, instrument = onset, -1
        if program != instrument:
            tokens.append(_INSTRUMENTS[program])
            instrument = program
        tokens += (_PITCHES[pitch], _DURATIONS[duration], _VELOCITIES[velocity])
    return [*tokens, "b-1"]
