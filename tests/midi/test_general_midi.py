from music21 import instrument

from fairseq_meloformer.midi.general_midi import SOUNDS
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
