"""Merging a song's tracks to the six that MuseFormer was trained on: lead, drums, bass, guitar, piano, strings."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from miditoolkit import Instrument, MidiFile

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.beats import align
from fairseq_meloformer.midi.garbage_collection import paused
from fairseq_meloformer.midi.metre import FOUR_FOUR, INDICES, LENGTHS, METRES, POSITIONS, to_positions
from fairseq_meloformer.midi.notes import DRUMS, Notes, notes, one_voice
from fairseq_meloformer.midi.smf import LeftOut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LEAD, BASS, GUITAR, PIANO, STRINGS = 80, 43, 25, 0, 48

NAMES: Final = {
    LEAD: "Lead", DRUMS: "Drums", BASS: "Bass", GUITAR: "Guitar", PIANO: "Piano", STRINGS: "Strings"
}  # fmt: skip
_MELODY: Final = re.compile(
    r"m[eé]lo(?!dic)|\blead|voca|\bvox\b|\bvoice\b|\bsing|lyric|旋律|人声|人聲|主唱|メロディ|ボーカル", re.IGNORECASE
)
_NO_MELODY: Final = re.compile(r"back|harmon|choir|chor|echo|\b2nd\b|伴唱|和声|和聲|コーラス", re.IGNORECASE)
_BASS_NAME: Final = re.compile(r"\bbas+\b|贝斯|貝斯|低音|ベース", re.IGNORECASE)

_LEAD_PROGRAMS: Final = range(73, 89)
_BASS_PROGRAMS: Final = range(32, 40)
_TUNED_PROGRAMS: Final = range(112)
"""Percussion and sound effects follow."""

_OTHERS: Final = {range(8): PIANO, range(24, 32): GUITAR, range(40, 55): STRINGS}

_BEATS: Final = (16, 10_000)
_FEWEST_NOTES: Final = 16
_FEWEST_PITCHES: Final = 3
_MOST_CROSSING: Final = 0.15
_MONOPHONIC: Final = 0.9
_BUSY: Final = 0.2
"""A line that has fewer than this share of the song's bars is an effect, not the melody."""
_LEAD_ABOVE, _BASS_BELOW = 55.0, 52.0


@dataclass(frozen=True)
class _Track:
    """What tells a melody or a bass.

    monophony: share of notes that end before the next onset. bars: how many bars have onsets. pitch: mean.
    """

    index: int
    name: str
    program: int
    pitch: float
    monophony: float
    bars: int


def in_six_tracks(song: MidiFile, metres: Sequence[str] = (FOUR_FOUR,)) -> MidiFile:
    """A song in the model's form: its tracks as they are if they are only the six instruments, else merged."""
    programs = {DRUMS if track.is_drum else track.program for track in song.instruments}
    six = programs <= {LEAD, DRUMS, BASS, GUITAR, PIANO, STRINGS}
    return align(song, metres) if six else merge_six_tracks(song, metres)


@paused()
def merge_six_tracks(
    midi: MidiFile, metres: Sequence[str] = (FOUR_FOUR,), left_out: list[LeftOut] | None = None
) -> MidiFile:
    """The song with at most six tracks, in one of the metres with its first bar at tick 0 (see `beats.align`).

    Drums stay drums. The lead is the track that is named as melody, or else the highest line without chords, or else
    the tracks of programs 73-88. The bass is what is named so or has programs 32-39, or else the lowest line. Programs
    0-7 become piano, 24-31 guitar, 40-54 strings; the rest is left out. A pitch sounds once at a time in a track: a
    second onset at the same position is dropped (the longer note stays), a later one ends the note before.

    Args:
        midi: the song.
        metres: that it may have.
        left_out: a list to which tracks are added that have no place among the six.

    Raises:
        InputError: none of the metres, or a changing one; shorter than 16 or longer than 10,000 quarters; fewer than 16
            notes or 3 pitches; no lead; more than 15 % of the notes cross a bar line although they begin off the beat.
    """
    midi = align(midi, metres)
    _require_enough(notes(midi))
    roles = roles_of(midi)
    if LEAD not in roles.values():
        raise InputError(
            "A song must have a lead: a track named as melody, a high line without chords, or one of programs 73-88. "
            "This one has none; name its melody track 'melody', or leave it out."
        )
    if left_out is not None:
        left_out.extend(_without_place(midi, roles))
    merged = merged_to(midi, roles)
    _require_metre(merged, _metre(midi))
    return merged


def roles_of(midi: MidiFile) -> dict[int, int]:
    """Program of the six that each track of a song goes to, by its index; tracks that are left out are not in it.

    Args:
        midi: as `align` makes it. It need not have a lead, or as many notes as `merge_six_tracks` wants.
    """
    roles = _roles(_tracks(midi, notes(midi), LENGTHS[_metre(midi)] / POSITIONS))
    return roles | {index: DRUMS for index, track in enumerate(midi.instruments) if track.is_drum and track.notes}


def merged_to(midi: MidiFile, roles: Mapping[int, int]) -> MidiFile:
    """The song, which is as `align` makes it, with the tracks of each role (program of the six) in one."""
    merged = MidiFile(ticks_per_beat=midi.ticks_per_beat)
    merged.max_tick = midi.max_tick
    merged.tempo_changes = midi.tempo_changes
    merged.time_signature_changes = midi.time_signature_changes
    for program, name in NAMES.items():
        parts = [track.notes for index, track in enumerate(midi.instruments) if roles.get(index) == program]
        if parts:
            voice = Instrument(program % DRUMS, program == DRUMS, name)
            together = [note for part in parts for note in part]
            voice.notes = one_voice(together, to_positions([note.start for note in together], midi.ticks_per_beat))
            merged.instruments.append(voice)
    return merged


def _metre(midi: MidiFile) -> int:
    """Index of the metre of a song that `align` made."""
    (signature,) = midi.time_signature_changes
    return INDICES[signature.numerator, signature.denominator]


def _tracks(midi: MidiFile, song: Notes, bar: float) -> list[_Track]:
    """Statistics of the tracks that have notes and are no drums, with bars of so many quarters."""
    tracks = []
    for index, instrument in enumerate(midi.instruments):
        own = song.track == index
        if instrument.is_drum or not own.any():
            continue
        onset, end = song.onset[own], song.onset[own] + song.duration[own]
        apart = np.append(end[:-1] <= onset[1:] + 1 / POSITIONS, True) & np.append(np.diff(onset) > 0, True)
        tracks.append(
            _Track(
                index,
                unicodedata.normalize("NFKC", instrument.name),
                int(instrument.program),
                float(song.pitch[own].mean()),
                float(apart.mean()),
                len(np.unique(onset // bar)),
            )
        )
    return tracks


def _roles(tracks: list[_Track]) -> dict[int, int]:
    """Program of the six that each track goes to; tracks left out are not in it."""
    longest = max(track.bars for track in tracks) if tracks else 0
    lines = [
        track
        for track in tracks
        if track.monophony >= _MONOPHONIC and track.bars >= _BUSY * longest and track.program in _TUNED_PROGRAMS
    ]
    named = [track for track in tracks if _MELODY.search(track.name) and not _NO_MELODY.search(track.name)]
    bass = [
        track
        for track in tracks
        if _BASS_NAME.search(track.name) or (track.program in _BASS_PROGRAMS and track not in named)
    ]
    if not bass:
        bass = sorted((track for track in lines if track.pitch < _BASS_BELOW), key=lambda track: track.pitch)[:1]
    rest = [track for track in tracks if track not in bass]
    lead = _lead(rest, [track for track in named if track in rest], [track for track in lines if track in rest])
    roles = {
        track.index: program for track in tracks for programs, program in _OTHERS.items() if track.program in programs
    }
    roles |= {track.index: BASS for track in bass} | {track.index: LEAD for track in lead}
    return roles


def _without_place(midi: MidiFile, roles: dict[int, int]) -> Iterator[LeftOut]:
    for index, track in enumerate(midi.instruments):
        if track.notes and index not in roles:
            what = f"{len(track.notes)} notes of program {track.program}, which is none of the six instruments"
            yield LeftOut(what, f"instrument {index} ({track.name or 'without a name'})")


def _lead(tracks: list[_Track], named: list[_Track], lines: list[_Track]) -> list[_Track]:
    if named:
        return [max(named, key=lambda track: track.bars)]
    high = [track for track in lines if track.pitch >= _LEAD_ABOVE]
    if high:
        return [max(high, key=lambda track: track.pitch)]
    return [track for track in tracks if track.program in _LEAD_PROGRAMS]


def _require_enough(song: Notes) -> None:
    pitches = np.unique(song.pitch[song.program != DRUMS])
    if len(song) < _FEWEST_NOTES or len(pitches) < _FEWEST_PITCHES:
        raise InputError(
            f"A song must have at least {_FEWEST_NOTES} notes and {_FEWEST_PITCHES} pitches, "
            f"but this one has {len(song)} and {len(pitches)}."
        )
    beats = float((song.onset + song.duration).max())
    if not _BEATS[0] <= beats <= _BEATS[1]:
        raise InputError(f"A song must last {_BEATS[0]} to {_BEATS[1]} quarters, but this one lasts {beats:.1f}.")


def _require_metre(midi: MidiFile, metre: int) -> None:
    song = notes(midi)
    start: npt.NDArray[np.int64] = np.rint(song.onset * POSITIONS).astype(np.int64)
    end = np.rint((song.onset + song.duration) * POSITIONS).astype(np.int64)
    bar, beat = LENGTHS[metre], min(POSITIONS, 4 * POSITIONS // METRES[metre][1])
    crossing = float(((start % beat != 0) & (end > (start // bar + 1) * bar)).mean())
    if crossing > _MOST_CROSSING:
        raise InputError(
            f"At most {_MOST_CROSSING:.0%} of the notes may begin off the beat and cross a bar line, but "
            f"{crossing:.0%} do: the metre or the resolution of the file is wrong."
        )
