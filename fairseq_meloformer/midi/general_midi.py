"""The sounds of General MIDI: their names, the pitches that can be played on each, and their place in a score.

Pitches are those that sound. Orchestral instruments: professional players' ranges after S. Adler, The Study of
Orchestration (W. W. Norton, 3rd ed. 2002), and D. Daniels, Ranges of Orchestral Instruments (orchestralibrary.com);
fretted ones: the open strings and the frets of the usual build; keyboards: their keys (Rhodes 73, Clavinet D6, Hammond
and church manuals); a section: all its instruments together. Synthesizers, effects and unpitched sounds have the keys
of a piano. Of folk instruments without a standard the usual concert build is meant. Names, and the drum kit's pitches:
General MIDI System Level 1 (MIDI Manufacturers Association, RP-003).
"""

from typing import Final, NamedTuple

from miditoolkit import Instrument, MidiFile

from fairseq_meloformer.midi.notes import DRUMS

_KEYS: Final = "A0 C8"
_RANGES: Final = (
    ("Acoustic Grand Piano", _KEYS), ("Bright Acoustic Piano", _KEYS), ("Electric Grand Piano", _KEYS),
    ("Honky-tonk Piano", _KEYS), ("Electric Piano 1", "E1 E7"), ("Electric Piano 2", "C2 C7"),
    ("Harpsichord", "F1 F6"), ("Clavi", "F1 E6"),
    ("Celesta", "C4 C8"), ("Glockenspiel", "G5 C8"), ("Music Box", "C4 C8"), ("Vibraphone", "F3 F6"),
    ("Marimba", "C2 C7"), ("Xylophone", "F4 C8"), ("Tubular Bells", "C4 F5"), ("Dulcimer", "D2 E6"),
    ("Drawbar Organ", "C2 C7"), ("Percussive Organ", "C2 C7"), ("Rock Organ", "C2 C7"), ("Church Organ", "C2 C7"),
    ("Reed Organ", "F1 F6"), ("Accordion", "F3 A6"), ("Harmonica", "C4 D7"), ("Tango Accordion", "C2 B6"),
    ("Acoustic Guitar (nylon)", "E2 B5"), ("Acoustic Guitar (steel)", "E2 C6"), ("Electric Guitar (jazz)", "E2 D6"),
    ("Electric Guitar (clean)", "E2 E6"), ("Electric Guitar (muted)", "E2 E6"), ("Overdriven Guitar", "E2 E6"),
    ("Distortion Guitar", "E2 E6"), ("Guitar Harmonics", "E3 E7"),
    ("Acoustic Bass", "C1 G4"), ("Electric Bass (finger)", "B0 G4"), ("Electric Bass (pick)", "B0 G4"),
    ("Fretless Bass", "B0 G4"), ("Slap Bass 1", "B0 G4"), ("Slap Bass 2", "B0 G4"), ("Synth Bass 1", _KEYS),
    ("Synth Bass 2", _KEYS),
    ("Violin", "G3 A7"), ("Viola", "C3 E6"), ("Cello", "C2 C6"), ("Contrabass", "C1 G4"),
    ("Tremolo Strings", "C1 A7"), ("Pizzicato Strings", "C1 E6"), ("Orchestral Harp", "B0 G#7"), ("Timpani", "C2 C4"),
    ("String Ensemble 1", "C1 A7"), ("String Ensemble 2", "C1 A7"), ("SynthStrings 1", _KEYS),
    ("SynthStrings 2", _KEYS), ("Choir Aahs", "E2 C6"), ("Voice Oohs", "E2 C6"), ("Synth Voice", _KEYS),
    ("Orchestra Hit", _KEYS),
    ("Trumpet", "E3 C6"), ("Trombone", "E2 F5"), ("Tuba", "D1 F4"), ("Muted Trumpet", "E3 C6"),
    ("French Horn", "B1 F5"), ("Brass Section", "E2 C6"), ("SynthBrass 1", _KEYS), ("SynthBrass 2", _KEYS),
    ("Soprano Sax", "G#3 E6"), ("Alto Sax", "C#3 A5"), ("Tenor Sax", "G#2 E5"), ("Baritone Sax", "C2 A4"),
    ("Oboe", "A#3 A6"), ("English Horn", "E3 C6"), ("Bassoon", "A#1 E5"), ("Clarinet", "D3 A#6"),
    ("Piccolo", "D5 C8"), ("Flute", "C4 D7"), ("Recorder", "F4 D7"), ("Pan Flute", "G4 G7"),
    ("Blown Bottle", "C4 C6"), ("Shakuhachi", "D4 D7"), ("Whistle", "D5 D7"), ("Ocarina", "A4 F6"),
    ("Lead 1 (square)", _KEYS), ("Lead 2 (sawtooth)", _KEYS), ("Lead 3 (calliope)", _KEYS), ("Lead 4 (chiff)", _KEYS),
    ("Lead 5 (charang)", _KEYS), ("Lead 6 (voice)", _KEYS), ("Lead 7 (fifths)", _KEYS), ("Lead 8 (bass + lead)", _KEYS),
    ("Pad 1 (new age)", _KEYS), ("Pad 2 (warm)", _KEYS), ("Pad 3 (polysynth)", _KEYS), ("Pad 4 (choir)", _KEYS),
    ("Pad 5 (bowed)", _KEYS), ("Pad 6 (metallic)", _KEYS), ("Pad 7 (halo)", _KEYS), ("Pad 8 (sweep)", _KEYS),
    ("FX 1 (rain)", _KEYS), ("FX 2 (soundtrack)", _KEYS), ("FX 3 (crystal)", _KEYS), ("FX 4 (atmosphere)", _KEYS),
    ("FX 5 (brightness)", _KEYS), ("FX 6 (goblins)", _KEYS), ("FX 7 (echoes)", _KEYS), ("FX 8 (sci-fi)", _KEYS),
    ("Sitar", "G2 G5"), ("Banjo", "D3 C6"), ("Shamisen", "C3 C6"), ("Koto", "D2 D6"), ("Kalimba", "C4 E6"),
    ("Bagpipe", "G4 A5"), ("Fiddle", "G3 A7"), ("Shanai", "C4 C6"),
    ("Tinkle Bell", _KEYS), ("Agogo", _KEYS), ("Steel Drums", "C4 E6"), ("Woodblock", _KEYS), ("Taiko Drum", _KEYS),
    ("Melodic Tom", _KEYS), ("Synth Drum", _KEYS), ("Reverse Cymbal", _KEYS),
    ("Guitar Fret Noise", _KEYS), ("Breath Noise", _KEYS), ("Seashore", _KEYS), ("Bird Tweet", _KEYS),
    ("Telephone Ring", _KEYS), ("Helicopter", _KEYS), ("Applause", _KEYS), ("Gunshot", _KEYS),
    ("Drums", "B1 A5"),
)  # fmt: skip

# From the top of a score to its foot: a band's melodies, chords and strings, then what they stand on.
_SCORE: Final = (
    range(80, 88), range(72, 80), range(64, 72), (60, 56, 59, 57, 58, 61, 62, 63), (52, 53, 54), (40, 110), (41,),
    (42,), (47, *range(8, 16), 108, *range(112, 120)), (46,), (*range(24, 32), *range(104, 108)), range(24),
    (44, 45, 48, 49, 50, 51, 55), (*range(88, 104), 109, 111, *range(120, 128)), (*range(32, 40), 43), (DRUMS,),
)  # fmt: skip
_PLACES: Final = {program: place for place, group in enumerate(_SCORE) for program in group}

_NATURALS: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Sound(NamedTuple):
    """One sound of General MIDI.

    Attributes:
        name: as General MIDI has it.
        pitches: MIDI pitches that can be played; of the drum kit those that have a drum.
        place: in a score, from the top; sounds of one family share it.
    """

    name: str
    pitches: range
    place: int


def _pitch(name: str) -> int:
    """MIDI pitch of "C#4"; C4 is 60."""
    return 12 * (int(name[-1]) + 1) + _NATURALS[name[0]] + name.count("#")


def _sounds() -> tuple[Sound, ...]:
    spans = [[_pitch(end) for end in ends.split()] for _, ends in _RANGES]
    return tuple(
        Sound(name, range(low, high + 1), _PLACES[program])
        for program, ((name, _), (low, high)) in enumerate(zip(_RANGES, spans, strict=True))
    )


SOUNDS: Final = _sounds()
"""By program 0..127; 128 is the drum kit."""


def can_play(midi: MidiFile) -> bool:
    """Whether every instrument of a song can play all of its notes."""
    return all(note.pitch in _reach(track) for track in midi.instruments for note in track.notes)


def move_into_reach(midi: MidiFile) -> None:
    """Move notes that their instruments cannot play by octaves, as players do, in place; not those of drums."""
    for track in midi.instruments:
        reach = _reach(track)
        for note in track.notes if not track.is_drum else ():
            below, above = reach[0] - note.pitch, note.pitch - reach[-1]
            note.pitch += 12 * (max(0, -(-below // 12)) - max(0, -(-above // 12)))


def _reach(track: Instrument) -> range:
    return SOUNDS[DRUMS if track.is_drum else track.program].pitches
