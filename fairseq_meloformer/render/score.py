"""A piece as it stands on paper: bars, voices, note values, spelling and clefs of every instrument.

Players read beats: an onset is moved to the nearest sixteenth of its beat, or triplet where these fit better, at most
two voices share a staff, and small gaps between notes are no rests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from miditoolkit import Instrument, MidiFile

from fairseq_meloformer.midi.metre import POSITIONS, song_grid, spelled, to_positions
from fairseq_meloformer.render.note_values import Frame, values

Note = tuple[int, int, int]
"""Start and end in positions (1/12 quarter), MIDI pitch."""

_GRIDS: Final = {3: 0.0, 4: 0.5, 2: 2.0}
"""Steps of a quarter in positions, and what each costs, in positions of displacement: triplets are harder to read."""
_COMPOUND_GRIDS: Final = {3: 0.0, 2: 1.0}
_COLLISION: Final = 2.0
"""What it costs that two onsets become one."""
_EIGHTH: Final = POSITIONS // 2

_FEET: Final = frozenset({35, 36, 44})
"""Drums that feet play."""

_MIDDLES: Final = {"treble": 71, "bass": 50, "treble8vb": 59, "bass8vb": 38, "treble8va": 83, "alto": 60}
"""Pitches of the middle lines."""
_STAFF: Final = 7
"""Semitones from the middle line to the staff's edge."""
_CHANGE: Final = 60.0
"""What a change of clef costs, in semitones beyond the staff, of all notes together."""
_CLEFS: Final = {
    **dict.fromkeys((*range(24, 32), 105), ("treble8vb",)),
    **dict.fromkeys((*range(32, 40), 43), ("bass8vb",)),
    **dict.fromkeys((8, 9, 72, 78), ("treble8va",)),
    41: ("alto", "treble"),
}
"""Clefs of programs that have their own; the others have treble and bass."""


class Figure(NamedTuple):
    """A chord, note or rest of one value.

    Attributes:
        start, end: positions (1/12 quarter) from the beginning of the bar.
        pitches: MIDI pitches, ascending; none for a rest.
        continues: whether they go on from the figure before.
        tied: whether they go on in the next one.
    """

    start: int
    end: int
    pitches: tuple[int, ...] = ()
    continues: bool = False
    tied: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar of one instrument.

    Attributes:
        start: in positions from the beginning of the piece.
        length: in positions.
        metre: such as "4/4".
        clef: treble, bass, alto, treble8vb, bass8vb, treble8va or percussion.
        voices: from the upper one; each fills the bar.
    """

    start: int
    length: int
    metre: str
    clef: str
    voices: tuple[tuple[Figure, ...], ...]


class _Chord(NamedTuple):
    """Notes that begin and end together, in positions of the piece."""

    start: int
    end: int
    pitches: tuple[int, ...]


class _Beat(NamedTuple):
    """Ends of a beat and the step of its grid, in positions of the piece."""

    start: int
    end: int
    step: int


def bars_of(midi: MidiFile, instrument: Instrument) -> list[Bar]:
    """The bars of an instrument of a song (see `midi.writing.playable`), as many for each instrument.

    What rings on after the last bar is cut there.
    """
    grid = song_grid(midi)
    frames = [
        Frame(*ends, metre) for ends, metre in zip(pairwise(grid.lines.tolist()), grid.metres.tolist(), strict=True)
    ]
    ticks = np.array([(note.start, note.end) for note in instrument.notes])
    beats = _beats(frames, np.unique(to_positions(ticks[:, 0], midi.ticks_per_beat)))
    ends = to_positions(ticks, midi.ticks_per_beat).tolist()
    notes = _on_grid([(*ends, note.pitch) for ends, note in zip(ends, instrument.notes, strict=True)], beats)
    voices = _drum_voices(notes, beats) if instrument.is_drum else _voices(notes)
    clefs = _clefs(instrument, notes, frames)
    filled = [_filled(voice, frames, beats) for voice in voices]
    return [
        Bar(frame.start, frame.end - frame.start, spelled(frame.metre), clef, _heard(list(of_bar)))
        for frame, clef, *of_bar in zip(frames, clefs, *filled, strict=True)
    ]


def spelling(pitch: int, sharps: int) -> tuple[str, int, int]:
    """Letter, accidental (semitones) and octave of a MIDI pitch in a key signature of so many sharps (flats below 0).

    Names are the nearest on the line of fifths, raised degrees of minor among them: in C major F# C# G#, and Bb Eb.
    """
    fifths = next(place for place in range(sharps - 3, sharps + 9) if (7 * place - pitch) % 12 == 0)
    letter, accidental = "FCGDAEB"[(fifths + 1) % 7], (fifths + 1) // 7
    return letter, accidental, (pitch - accidental) // 12 - 1


def _beats(frames: Sequence[Frame], onsets: npt.NDArray[np.int64]) -> list[_Beat]:
    """The beats of all bars, each with the grid that fits its onsets (distinct, ascending) best."""
    beats = []
    for frame in frames:
        grids = _COMPOUND_GRIDS if frame.beat % POSITIONS else _GRIDS
        for start in range(frame.start, frame.end, frame.beat):
            end = min(start + frame.beat, frame.end)
            inside = onsets[slice(*np.searchsorted(onsets, (start, end)))] - start
            costs = {step: cost + _misfit(inside, step) for step, cost in grids.items()}
            beats.append(_Beat(start, end, min(costs, key=lambda step: costs[step])))
    return beats


def _misfit(places: npt.NDArray[np.int64], step: int) -> float:
    """How far a grid moves the onsets of a beat, and how many of them it makes one."""
    moved = np.rint(places / step) * step
    return float(np.abs(moved - places).sum() + _COLLISION * (len(places) - len(np.unique(moved))))


def _on_grid(sounding: Sequence[Note], beats: Sequence[_Beat]) -> list[Note]:
    """Notes with both ends on the grids of their beats, at least a step long; a pitch begins once at a place."""
    starts = [beat.start for beat in beats]

    def beat_at(place: int) -> _Beat:
        return beats[max(0, int(np.searchsorted(starts, place, side="right")) - 1)]

    def moved(place: int) -> int:
        beat = beat_at(place)
        return min(beat.start + round((place - beat.start) / beat.step) * beat.step, beat.end)

    notes: dict[tuple[int, int], int] = {}
    for onset, release, pitch in sounding:
        start = moved(onset)
        if start < beats[-1].end:
            end = max(moved(release), start + beat_at(start).step)
            notes[start, pitch] = max(notes.get((start, pitch), 0), min(end, beats[-1].end))
    return sorted((start, end, pitch) for (start, pitch), end in notes.items())


def _voices(notes: Sequence[Note]) -> list[list[_Chord]]:
    """One or two voices of chords that follow each other.

    Notes that sound on for a quarter after others have begun have a voice of their own, all else ends where others
    begin. A gap of at most an eighth, and of half of what a chord has until the next, is closed.
    """
    voices: list[list[_Chord]] = [[], []]
    by_onset: dict[int, list[tuple[int, int]]] = {}
    for start, end, pitch in notes:
        by_onset.setdefault(start, []).append((end, pitch))
    last = max((end for _, end, _ in notes), default=0)
    for start, following in pairwise([*by_onset, last]):
        free = [voice for voice in voices if not voice or voice[-1].end <= start]
        if not free:
            free = [min(voices, key=lambda voice: voice[-1].end)]
            free[0][-1] = free[0][-1]._replace(end=start)
        here = by_onset[start]
        held = [note for note in here if note[0] >= following + POSITIONS]
        moving = [(min(end, following), pitch) for end, pitch in here if (end, pitch) not in held]
        if held and moving and len(free) == 1:
            held, moving = [], [(min(end, following), pitch) for end, pitch in here]
        for voice, chord in zip(free, filter(None, (moving, held)), strict=False):
            voice.append(_Chord(start, sorted(chord)[len(chord) // 2][0], tuple(sorted(pitch for _, pitch in chord))))
    return [_legato(voice) for voice in voices if voice] or [[]]


def _legato(voice: Sequence[_Chord]) -> list[_Chord]:
    closed = []
    for chord, following in pairwise([*voice, voice[-1]]):
        gap = following.start - chord.end
        closes = 0 < gap <= _EIGHTH and 2 * gap <= following.start - chord.start
        closed.append(chord._replace(end=following.start) if closes else chord)
    return closed


def _drum_voices(notes: Sequence[Note], beats: Sequence[_Beat]) -> list[list[_Chord]]:
    """Hands and feet, each hit as long as it takes to the next one or to the next beat."""
    lines = [beat.end for beat in beats]
    voices = []
    for feet in (False, True):
        hits: dict[int, list[int]] = {}
        for start, _, pitch in notes:
            if (pitch in _FEET) == feet:
                hits.setdefault(start, []).append(pitch)
        voices.append([
            _Chord(start, min(following, lines[int(np.searchsorted(lines, start, side="right"))]), tuple(hits[start]))
            for start, following in pairwise([*hits, lines[-1]])
        ])  # fmt: skip
    return [voice for voice in voices if voice] or [[]]


def _filled(voice: Sequence[_Chord], frames: Sequence[Frame], beats: Sequence[_Beat]) -> list[tuple[Figure, ...]]:
    """Every bar of a voice, with rests, in values that can be read."""
    triplets = {beat.start: beat.end for beat in beats if beat.step in {2, 4} and beat.end - beat.start == POSITIONS}
    rests = [_Chord(before.end, chord.start, ()) for before, chord in pairwise([_Chord(0, 0, ()), *voice])]
    events = [*chain.from_iterable(zip(rests, voice, strict=True))]
    events.append(_Chord(events[-1].end if events else 0, frames[-1].end, ()))
    starts = [frame.start for frame in frames]
    bars: list[list[Figure]] = [[] for _ in frames]
    for event in events:
        first, last = (int(np.searchsorted(starts, place, side="right")) for place in (event.start, event.end - 1))
        for number in range(first - 1, last):
            frame = frames[number]
            inside = max(event.start, frame.start), min(event.end, frame.end)
            for start, end in values(frame, *inside, triplets, rest=not event.pitches):
                goes_on = bool(event.pitches) and start > event.start, bool(event.pitches) and end < event.end
                bars[number].append(Figure(start - frame.start, end - frame.start, event.pitches, *goes_on))
    return [tuple(figures) for figures in bars]


def _heard(voices: Sequence[tuple[Figure, ...]]) -> tuple[tuple[Figure, ...], ...]:
    """Voices that are not silent in this bar, the upper one first; if all are, one rest."""
    heights = {
        voice: float(np.mean([pitch for figure in voice for pitch in figure.pitches]))
        for voice in voices
        if any(figure.pitches for figure in voice)
    }
    return tuple(sorted(heights, key=lambda voice: -heights[voice])) or (voices[0],)


def _clefs(instrument: Instrument, notes: Sequence[Note], frames: Sequence[Frame]) -> list[str]:
    """The clef of each bar: few ledger lines, and few changes (the cheapest way through all bars)."""
    if instrument.is_drum:
        return ["percussion"] * len(frames)
    choice = _CLEFS.get(int(instrument.program), ("treble", "bass"))
    starts = [frame.start for frame in frames]
    costs = np.zeros((len(frames), len(choice)))
    for start, _, pitch in notes:
        bar = int(np.searchsorted(starts, start, side="right")) - 1
        costs[bar] += [max(0, abs(pitch - _MIDDLES[clef]) - _STAFF) for clef in choice]
    change = _CHANGE * (1 - np.eye(len(choice)))
    total, ways = costs[0], []
    for own in costs[1:]:
        reached = total[:, None] + change
        ways.append(reached.argmin(0))
        total = reached.min(0) + own
    chosen = [int(total.argmin())]
    for way in reversed(ways):
        chosen.append(int(way[chosen[-1]]))
    return [choice[number] for number in reversed(chosen)]
