from miditoolkit import Instrument, MidiFile, Note
from music21 import instrument

from fairseq_meloformer.midi.general_midi import SOUNDS, can_play, move_into_reach
from fairseq_meloformer.midi.notes import DRUMS


def test_every_program_and_the_kit_have_a_name_a_range_and_a_place():
    assert len(SOUNDS) == 129
    assert len({sound.name for sound in SOUNDS}) == 129
    assert all(len(sound.pitches) >= 12 and sound.pitches[0] >= 0 and sound.pitches[-1] <= 127 for sound in SOUNDS)
    assert SOUNDS[DRUMS].pitches == range(35, 82)
    assert (SOUNDS[40].pitches[0], SOUNDS[40].name) == (55, "Violin")


def test_lowest_notes_are_those_that_music21_knows():
    classes = (
        instrument.Piano, instrument.Harpsichord, instrument.Accordion, instrument.AcousticGuitar, instrument.Violin,
        instrument.ElectricGuitar, instrument.Viola, instrument.Violoncello, instrument.Trombone, instrument.Tuba,
        instrument.Oboe, instrument.Bassoon, instrument.Flute, instrument.Recorder,
        instrument.Clarinet, instrument.TenorSaxophone, instrument.AltoSaxophone, instrument.Piccolo,
        instrument.EnglishHorn, instrument.Trumpet, instrument.SopranoSaxophone,
    )  # fmt: skip
    for made in (kind() for kind in classes):
        written = made.lowestNote
        lowest = written if made.transposition is None else written.transpose(made.transposition)
        assert SOUNDS[made.midiProgram].pitches[0] == lowest.midi, made


def test_notes_that_an_instrument_cannot_play_are_moved_by_octaves_but_never_drums():
    song = MidiFile()
    for program, is_drum, pitches in ((73, False, (30, 50, 60, 97, 99, 120)), (0, True, (30, 40))):
        track = Instrument(program, is_drum=is_drum)
        track.notes = [Note(64, pitch, 0, 480) for pitch in pitches]
        song.instruments.append(track)
    assert not can_play(song)
    move_into_reach(song)
    flute, drums = ([note.pitch for note in track.notes] for track in song.instruments)
    assert flute == [66, 62, 60, 97, 87, 96]
    assert drums == [30, 40]
