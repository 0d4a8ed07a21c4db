"""What a finished piece says beside its notes: the very tempo that was asked for, the key, a marker a section."""

import copy
from collections.abc import Sequence

from miditoolkit import KeySignature, Marker, MidiFile, TempoChange

from fairseq_meloformer.composing.parts import Part, key_of
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.measures.tonality import signature
from fairseq_meloformer.midi.files import bar_lines
from fairseq_meloformer.words.timeline import Section


def marked(midi: MidiFile, sections: Sequence[Section], parts: Sequence[Part] = ()) -> MidiFile:
    """A song with its marks; the notes are the same.

    Args:
        midi: the song, as it was decoded: its tempi are the middles of bins.
        sections: of its timeline, if it has one. Each is marked with its text.
        parts: what was asked for. Each part has the very tempo that it asks for. The key signature is the key that was
            asked for, or else the measured one.
    """
    song = copy.copy(midi)
    lines = [round(line * midi.ticks_per_beat) for line in bar_lines(midi).tolist()]
    song.tempo_changes = _exact(midi, parts, lines)
    key = key_of(parts) or measure(midi).get("key")
    song.key_signature_changes = [KeySignature(signature(key), 0)] if isinstance(key, str) else []
    for section in sections:
        if section.first < len(lines):
            said = ": ".join(filter(None, dict.fromkeys((section.name, section.text))))
            song.markers = [*song.markers, Marker(said, lines[section.first - 1])]
    return song


def _exact(midi: MidiFile, parts: Sequence[Part], lines: Sequence[int]) -> list[TempoChange]:
    """Tempo changes of a song, but in parts that ask for a tempo that one alone."""
    tempi = {change.time: change.tempo for change in midi.tempo_changes}
    for part in parts:
        if part.tempo is None or part.first + 1 >= len(lines):
            continue
        begin, end = lines[part.first], lines[min(part.last or len(lines), len(lines) - 1)]
        if end < lines[-1]:  # there the tempo that was written returns
            tempi.setdefault(end, next(change.tempo for change in reversed(midi.tempo_changes) if change.time <= end))
        kept = {time: tempo for time, tempo in tempi.items() if not begin <= time < end}
        tempi = {**kept, begin: part.tempo}
    changes: list[TempoChange] = []
    for time, tempo in sorted(tempi.items()):
        if not changes or changes[-1].tempo != tempo:
            changes.append(TempoChange(tempo, time))
    return changes
