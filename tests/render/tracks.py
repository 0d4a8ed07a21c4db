"""Pieces of given notes, and of as many bars as wanted."""

from miditoolkit import Instrument, MidiFile, Note

PIANO = 0


def piece(*tracks):
    """Each track is (program or "drums", [(start, end, pitch, velocity) in quarters])."""
    midi = MidiFile(ticks_per_beat=480)
    for program, notes in tracks:
        instrument = Instrument(0 if program == "drums" else program, is_drum=program == "drums")
        instrument.notes = [Note(v, p, round(480 * start), round(480 * end)) for start, end, p, v in notes]
        midi.instruments.append(instrument)
    return midi


def bars(count, program=PIANO):
    return piece((program, [(4 * bar, 4 * bar + 4, 60, 100) for bar in range(count)]))
