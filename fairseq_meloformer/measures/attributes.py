"""What can be measured in a passage: one small function per attribute, its docstring the definition.

Nothing to measure means None, and `measure` leaves the key out: a passage without pitched notes has no register, and
an empty one has not even a tempo. Whoever scores music counts a missing attribute as a failure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fairseq_meloformer.measures.passage import DRUMS, OVERLAP, STEPS, Integers, Passage, Song
from fairseq_meloformer.measures.repetition import like_an_earlier_bar
from fairseq_meloformer.measures.tonality import Tonality, tonality
from fairseq_meloformer.midi.metre import FOUR_FOUR, beat_of, index_of

if TYPE_CHECKING:
    from miditoolkit import MidiFile

Value = float | str | list[int]
Attributes = dict[str, Value]
Measure = TypeVar("Measure", bound=Callable[[Passage], Value | None])

# The control axes. Positive is fast, dense, high, leaping, sustained, loud, major, with drums.
AXES: Final = ("tempo", "density", "register", "leaps", "sustain", "loudness", "mode", "drums")
# How music moves besides. Positive is swung, syncopated, pentatonic, in chords, a crescendo, the same again.
MANNERS: Final = ("swing", "syncopation", "pentatonic", "polyphony", "dynamics", "recurrence")
ALL_AXES: Final = (*AXES, *MANNERS)
_LEAST_OFF_BEAT: Final = 12


@dataclass(frozen=True)
class Attribute:
    """How one attribute is measured, in what unit, after which source."""

    name: str
    unit: str
    source: str
    compute: Callable[[Passage], Value | None]

    @property
    def definition(self) -> str:
        """The measured quantity in words."""
        return self.compute.__doc__ or ""


ATTRIBUTES: dict[str, Attribute] = {}


def _attribute(unit: str, source: str) -> Callable[[Measure], Measure]:
    def register(compute: Measure) -> Measure:
        ATTRIBUTES[compute.__name__] = Attribute(compute.__name__, unit, source, compute)
        return compute

    return register


def measure(
    music: "MidiFile | Sequence[str] | Song",
    first_bar: int | None = None,
    last_bar: int | None = None,
    *,
    metre: str = FOUR_FOUR,
) -> Attributes:
    """Measure bars first_bar..last_bar (`last_bar` not included; None = from the start, to the end) of a song.

    Args:
        music: a MidiFile, a list of tokens, or a `Song` (cheapest when many passages of one song are measured).
        first_bar: first bar, counted from 0.
        last_bar: the bar after the last one.
        metre: of a list of tokens, which need not say it.

    Returns:
        JSON-ready values by name, in the units of `ATTRIBUTES`; what could not be measured is absent.

    Raises:
        InputError: the song has no such bars.
    """
    song = music if isinstance(music, Song) else Song(music, metre)
    return measure_passage(song.passage(first_bar or 0, last_bar))


def measure_passage(passage: Passage) -> Attributes:
    """Measure a passage that is already cut; see `measure`."""
    if len(passage) == 0:
        return {"bars": float(passage.bars)}
    values = {name: attribute.compute(passage) for name, attribute in ATTRIBUTES.items()}
    return {name: value for name, value in values.items() if value is not None}


def by_bar(tokens: Sequence[str], span: int = 1, *, metre: str = FOUR_FOUR) -> NDArray[np.float64]:
    """The control axes of every finished bar of a song.

    Args:
        tokens: of the song; what follows the last end of a bar is left out.
        span: measured are so many bars, of which a row's bar is the last; fewer at the beginning.
        metre: of the bars, if the tokens do not say it.

    Returns:
        (bars, axes) in the order of `AXES`, NaN where nothing can be measured.
    """
    ends = [place for place, symbol in enumerate(tokens, 1) if symbol == "b-1"]
    rows = np.full((len(ends), len(AXES)), np.nan)
    if not ends:
        return rows
    song = Song(tokens[: ends[-1]], metre)
    for bar in range(min(len(ends), song.bars)):
        passage = song.passage(max(0, bar + 1 - span), bar + 1)
        found = [ATTRIBUTES[axis].compute(passage) for axis in AXES] if len(passage) else []
        for column, value in enumerate(found):
            rows[bar, column] = np.nan if value is None else value
    return rows


@_attribute("bars", "score")
def bars(passage: Passage) -> float:
    """Length in bars."""
    return float(passage.bars)


@_attribute("seconds", "MIDI tempo map")
def seconds(passage: Passage) -> float:
    """Length in seconds."""
    return passage.seconds


@_attribute("quarters per minute", "MIDI tempo map")
def tempo(passage: Passage) -> float:
    """Quarters of the passage divided by the minutes they take: the average that a listener with a stop-watch gets."""
    return passage.quarters * 60 / passage.seconds


@_attribute("time signature", "MIDI time signature")
def metre(passage: Passage) -> str:
    """Time signature of the first bar."""
    return passage.metre


@_attribute("notes per bar", "note density of FIGARO (von Rütte et al. 2022) and MidiTok: notes, not positions")
def density(passage: Passage) -> float:
    """Onsets per bar.

    Every note that begins is one onset, so a chord of three is three; drums count, as they are heard.
    """
    return len(passage) / passage.bars


@_attribute("notes per second", "as density")
def density_per_second(passage: Passage) -> float:
    """Onsets per second, counted as in `density`."""
    return len(passage) / passage.seconds


@_attribute("moments per bar", "inter-onset statistics of the field, here per bar")
def attacks(passage: Passage) -> float:
    """Different moments per bar at which anything begins: a chord is one."""
    return len(np.unique(passage.start)) / passage.bars


@_attribute("MIDI pitch", "mean pitch, as in muspy and jSymbolic P-14")
def register(passage: Passage) -> float | None:
    """Mean pitch of all notes without drums."""
    return float(passage.pitched.pitch.mean()) if len(passage.pitched) else None


@_attribute("semitones", "muspy.pitch_range, jSymbolic P-8")
def pitch_range(passage: Passage) -> float | None:
    """Highest minus lowest pitch without drums."""
    return float(np.ptp(passage.pitched.pitch)) if len(passage.pitched) else None


@_attribute("semitones", "mean melodic interval, jSymbolic M-2, of the skyline (Uitdenbogerd and Zobel 1998)")
def leaps(passage: Passage) -> float | None:
    """Mean absolute interval between successive notes of the top line; the notes of a chord are no leaps."""
    _, line = passage.pitched.top_line
    return float(np.abs(np.diff(line)).mean()) if len(line) > 1 else None


@_attribute("ratio", "articulation as key overlap and detachment (Bresin and Battel 2000)")
def sustain(passage: Passage) -> float | None:
    """Mean of note length divided by the time to the next onset of the same track.

    1 is legato, a third is staccato, more is a pedal. At most 2 counts, so that one held note does not drown a
    hundred short ones. The gap is at most four quarters, as a rest between phrases is no articulation, and the
    passage's end stands for the onset after the last one.
    """
    notes = passage.pitched
    if len(notes) == 0:
        return None
    gap = np.minimum(_gaps(notes), 4 * STEPS)
    return float(np.minimum(notes.duration * STEPS / gap, 2).mean())


def _gaps(notes: Passage) -> Integers:
    """Grid steps from each note to the next later onset of its track, at least 1, (notes,)."""
    end = round(notes.quarters * STEPS)
    span = max(end, int(notes.start.max())) + 1
    onsets, group = np.unique(notes.track * span + notes.start, return_inverse=True)
    following = np.append(onsets[1:], -1)
    same_track = following // span == onsets // span
    gaps = np.where(same_track, following - onsets, end - onsets % span)
    per_note: Integers = np.maximum(gaps, 1)[group]
    return per_note


@_attribute("quarters", "mean note duration, muspy and jSymbolic RT-16 in quarters")
def length(passage: Passage) -> float | None:
    """Mean written length of the notes without drums."""
    return float(passage.pitched.duration.mean()) if len(passage.pitched) else None


@_attribute("MIDI velocity", "mean velocity, jSymbolic D-4")
def loudness(passage: Passage) -> float:
    """Mean velocity of all notes. Channel volume is the mixer's, not the player's, and does not count."""
    return float(passage.velocity.mean())


@_attribute("MIDI velocity", "least squares")
def dynamics(passage: Passage) -> float | None:
    """Change of loudness from start to end.

    Slope of velocity over time by least squares, times the passage's length. Positive is a crescendo.
    """
    place = (passage.onset - passage.lines[0]) / passage.quarters
    spread = place - place.mean()
    power = float(spread @ spread)
    return float(spread @ passage.velocity) / power if power > 0 and passage.bars > 1 else None


def _tonality(passage: Passage) -> Tonality | None:
    weights = passage.pitched.pitch_classes
    # Two pitch classes fit half a dozen keys equally well.
    return tonality(weights) if (weights > 0).sum() > 2 else None


@_attribute("difference of correlations", "Krumhansl and Kessler 1982, Krumhansl-Schmuckler algorithm")
def mode(passage: Passage) -> float | None:
    """Best correlation with a major key minus best with a minor key.

    Pitch classes weighted by sounding time. Positive is major. Needs three pitch classes.
    """
    found = _tonality(passage)
    return found.major - found.minor if found else None


@_attribute("key", "as mode")
def key(passage: Passage) -> str | None:
    """Best key, such as "C major"; its mode is the sign of `mode`."""
    found = _tonality(passage)
    return found.name if found else None


@_attribute("General MIDI programs, 128 = drums", "MIDI program changes")
def instruments(passage: Passage) -> list[int]:
    """Programs that play, the one with most notes first."""
    programs, counts = np.unique(passage.program, return_counts=True)
    return [int(program) for program in programs[np.argsort(-counts, kind="stable")]]


@_attribute("share of notes", "MIDI channel 10")
def drums(passage: Passage) -> float:
    """Share of the notes that drums play; 0 is a passage without drums."""
    return float((passage.program == DRUMS).mean())


@_attribute("notes", "muspy.polyphony")
def polyphony(passage: Passage) -> float | None:
    """Mean number of notes that sound together, over the time in which any sounds; without drums."""
    sounding = passage.pitched.sounding
    return float(sounding[sounding > 0].mean()) if len(sounding) else None


@_attribute("share of notes", "syncopation as a tie over the beat (Huron and Ommen 2006)")
def syncopation(passage: Passage) -> float | None:
    """Share of notes without drums that begin off the beat and are held across the next one.

    The beat is a quarter, or three eighths where they come in threes, as in 6/8.
    """
    notes = passage.pitched
    if len(notes) == 0:
        return None
    beat = beat_of(index_of(passage.metre))
    past_beat = notes.start % beat
    off = (past_beat >= OVERLAP) & (past_beat <= beat - OVERLAP)
    held = notes.duration * STEPS > beat - past_beat + OVERLAP
    return float((off & held).mean())


@_attribute("share of notes", "triplet feel against even subdivision (Friberg and Sundström 2002)")
def swing(passage: Passage) -> float | None:
    """Share of the notes off the beat that begin at a third or two thirds of it, drums included.

    Needs a dozen notes off the beat, and beats that are not of three eighths, which begin there without swinging.
    """
    beat = beat_of(index_of(passage.metre))
    past_beat = passage.start % beat
    off = past_beat[past_beat > 0]
    if beat != STEPS or len(off) < _LEAST_OFF_BEAT:
        return None
    return float((off % (STEPS // 3) == 0).mean())


@_attribute("share of time", "best of the twelve anhemitonic pentatonic scales")
def pentatonic(passage: Passage) -> float | None:
    """Largest share of the sounding time, without drums, that one major pentatonic scale has.

    Its relative minor one has the same notes. Needs three pitch classes, as `mode`.
    """
    weights = passage.pitched.pitch_classes
    if (weights > 0).sum() < 3:
        return None
    return float(max(np.roll(weights, -root)[[0, 2, 4, 7, 9]].sum() for root in range(12)) / weights.sum())


@_attribute("Jaccard likeness", "see `repetition.like_an_earlier_bar`")
def recurrence(passage: Passage) -> float | None:
    """How like bars are to an earlier one: mean, from the fifth bar on, of the largest share of notes in common."""
    return like_an_earlier_bar(passage)


def _scaled(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0, 1))


@_attribute(
    "0..1", "proxy: arousal cues of Gabrielsson and Lindström 2010; range = 5th to 95th percentile of Lakh passages"
)
def energy(passage: Passage) -> float:
    """Mean of loudness (53..122), notes per second (3.6..44, in octaves) and tempo (66..186), each scaled to 0..1.

    A proxy, checked on no listener.
    """
    busy = _scaled(float(np.log2(len(passage) / passage.seconds)), np.log2(3.6), np.log2(44))
    return (_scaled(loudness(passage), 53, 122) + busy + _scaled(tempo(passage), 66, 186)) / 3


@_attribute("0..1", "proxy: valence cues of Gabrielsson and Lindström 2010")
def valence(passage: Passage) -> float | None:
    """Half mode (-0.3..0.3), a quarter tempo (66..186), a quarter register (47..70), each scaled to 0..1.

    A proxy, checked on no listener.
    """
    colour, height = mode(passage), register(passage)
    if colour is None or height is None:
        return None
    return _scaled(colour, -0.3, 0.3) / 2 + _scaled(tempo(passage), 66, 186) / 4 + _scaled(height, 47, 70) / 4
