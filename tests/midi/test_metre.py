import pytest
from miditoolkit import Instrument, MidiFile, Note, TimeSignature

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi import beats, files, metre
from fairseq_meloformer.midi.six_tracks import in_six_tracks

EVERY = ["4/4", "3/4", "6/8", "2/4"]


def song(signatures, first=0.0, last=40.0, ticks=480):
    """Notes in eighths from `first` on; signatures: (metre, quarter from which it holds)."""
    made = MidiFile(ticks_per_beat=ticks)
    made.time_signature_changes = [
        TimeSignature(*map(int, name.split("/")), round(at * ticks)) for name, at in signatures
    ]
    made.instruments = [Instrument(0)]
    steps = range(round(2 * (last - first)) + 1)
    starts = [round((first + step / 2) * ticks) for step in steps]
    made.instruments[0].notes = [Note(90, 60 + start % 7, start, start + ticks // 4) for start in starts]
    return made


@pytest.mark.parametrize(
    ("signatures", "allowed", "found", "quarters"),
    [
        # The same bars in another spelling.
        ([("4/4", 0)], EVERY, "4/4", 0),
        ([], EVERY, "4/4", 0),
        ([("2/2", 0)], EVERY, "4/4", 0),
        ([("8/8", 0)], EVERY, "4/4", 0),
        ([("16/16", 0)], EVERY, "4/4", 0),
        ([("4/8", 0)], EVERY, "2/4", 0),
        ([("12/16", 0)], EVERY, "6/8", 0),
        ([("6/8", 0)], EVERY, "6/8", 0),
        ([("4/4", 0), ("2/2", 8), ("8/8", 24)], EVERY, "4/4", 0),
        # Two bars are one, one is two.
        ([("2/4", 0)], ["4/4"], "4/4", 0),
        ([("1/2", 0)], ["4/4"], "4/4", 0),
        ([("2/4", 0)], EVERY, "2/4", 0),
        ([("3/8", 0)], EVERY, "6/8", 0),
        ([("12/8", 0)], EVERY, "6/8", 0),
        ([("6/4", 0)], EVERY, "3/4", 0),
        ([("4/2", 0)], EVERY, "4/4", 0),
        ([("2/4", 0), ("4/4", 8)], EVERY, "4/4", 0),
        ([("4/4", 0), ("2/4", 16), ("4/4", 20)], EVERY, "4/4", 0),
        ([("2/4", 0), ("4/4", 34)], EVERY, "2/4", 0),
        # A bar that the metre makes of shorter ones.
        ([("4/4", 0), ("3/8", 8), ("3/8", 9.5), ("2/8", 11), ("4/4", 12)], ["4/4"], "4/4", 0),
        # Pickups: bar 1 begins after them.
        ([("1/4", 0), ("4/4", 1)], ["4/4"], "4/4", 3),
        ([("3/4", 0), ("4/4", 3)], ["4/4"], "4/4", 1),
        ([("1/8", 0), ("4/4", 0.5)], ["4/4"], "4/4", 3.5),
        ([("1/4", 0), ("1/8", 1), ("4/4", 1.5)], ["4/4"], "4/4", 2.5),
        ([("2/4", 0), ("4/4", 6)], ["4/4"], "4/4", 2),
        ([("1/4", 0), ("2/4", 1)], ["4/4"], "4/4", 3),
        ([("1/4", 0), ("2/4", 1)], EVERY, "2/4", 1),
        ([("1/4", 0), ("3/4", 1)], EVERY, "3/4", 2),
        ([("1/8", 0), ("6/8", 0.5)], EVERY, "6/8", 2.5),
        ([("1/16", 0), ("4/4", 0.25)], ["4/4"], "4/4", 3.75),
        # The last bar may be short, or long.
        ([("4/4", 0), ("2/4", 40)], ["4/4"], "4/4", 0),
        ([("4/4", 0), ("3/4", 40)], ["4/4"], "4/4", 0),
        ([("4/4", 0), ("7/4", 40)], ["4/4"], "4/4", 0),
        ([("4/4", 0), ("1/4", 40)], ["4/4"], "4/4", 0),
        ([("3/4", 0), ("2/4", 39)], EVERY, "3/4", 0),
        # After the last note it matters to nobody, nor before the first.
        ([("4/4", 0), ("7/8", 44)], ["4/4"], "4/4", 0),
        # Any metre whose bars the tokens can hold.
        ([("5/4", 0)], ["4/4", "5/4"], "5/4", 0),
        ([("7/8", 0)], ["7/8"], "7/8", 0),
    ],
)
def test_songs_are_brought_into_one_metre(signatures, allowed, found, quarters):
    made = song(signatures)
    assert beats.place(made, allowed) == beats.Placement(found, round(480 * quarters))
    for aligned in (beats.align(made, allowed), in_six_tracks(made, allowed)):
        assert files.metre_of(aligned) == found
        assert files.notes(aligned).onset.tolist() == (files.notes(made).onset + quarters).tolist()


def test_an_empty_bar_before_the_first_note_may_be_of_any_length():
    made = song([("6/4", 0), ("4/4", 6)], first=6)
    assert beats.place(made).shift == 2 * 480
    assert files.bar_lines(beats.align(made)).tolist()[:3] == [0, 4, 8]


@pytest.mark.parametrize(
    ("signatures", "allowed", "message"),
    [
        ([("3/4", 0)], ["4/4"], "must be in 4/4, but is in 3/4"),
        ([("6/8", 0)], ["4/4", "3/4"], "must be in 4/4 or 3/4, but is in 6/8"),
        ([("7/8", 0)], EVERY, "but is in 7/8"),
        ([("4/4", 0), ("2/4", 8), ("4/4", 10)], ["4/4"], "is in 4/4 and has a bar of 4/4 at quarter 10 that does not"),
        ([("4/4", 0), ("3/4", 20), ("4/4", 23)], EVERY, "is in 4/4 and has a bar of 4/4 at quarter 23"),
        ([("4/4", 0), ("5/4", 20), ("4/4", 25)], EVERY, "is in 4/4 and has a bar of 5/4 at quarter 20"),
        ([("3/4", 0), ("4/4", 12)], EVERY, "is in 4/4 and has a bar of 3/4 at quarter 3"),
    ],
)
def test_songs_that_have_no_metre_throughout_are_refused(signatures, allowed, message):
    with pytest.raises(InputError, match=message):
        beats.place(song(signatures), allowed)


@pytest.mark.parametrize(("name", "pattern"), [
    ("4/4", [(0, 2, 36), (2, 1, 43), (3, 1, 43)]),
    ("3/4", [(0, 1, 36), (1, 1, 60), (2, 1, 60)]),
    ("6/8", [(0, 1, 36), (1, 0.5, 60), (1.5, 1, 43), (2.5, 0.5, 60)]),
    ("2/4", [(0, 1, 36), (1, 0.5, 60), (1.5, 0.5, 60)]),
])  # fmt: skip
@pytest.mark.parametrize("late", [0.1, 1.35, -0.1 + 2])
def test_bars_of_songs_beside_the_grid_are_found_in_every_metre(name, pattern, late):
    bar = metre.LENGTHS[metre.index_of(name)] / metre.POSITIONS
    made = song([(name, 0)])
    made.instruments[0].notes = [
        Note(90, pitch + chord, round((late + bar * place + at) * 480), round((late + bar * place + at + length) * 480))
        for place in range(24)
        for chord in ((0, 4, 7), (5, 9, 12), (7, 11, 14), (-3, 0, 4))[place % 4]
        for at, length, pitch in pattern
    ]
    aligned = beats.align(made, EVERY)
    assert files.metre_of(aligned) == name
    onset = files.notes(aligned).onset
    assert abs((onset[0] / bar) - round(onset[0] / bar)) < 0.01


def test_lists_of_metres_are_read():
    assert metre.listed("4/4, 3/4,6/8", most=64) == ["4/4", "3/4", "6/8"]
    for text, message in [("4/4,", "but is ''"), ("7/4", "one of 7/4 has 84"), ("1/64", "one of 1/64 has 0.75")]:
        with pytest.raises(InputError, match=message):
            metre.listed(text, most=64)


def test_beats_are_quarters_or_three_eighths():
    names = ("4/4", "3/4", "2/2", "3/8", "6/8", "9/8", "12/8", "6/4")
    assert [metre.beat_of(metre.index_of(name)) for name in names] == [12, 12, 12, 12, 18, 18, 18, 12]
