"""Chord progressions: letters, numerals, digits, names; and what only looks like them."""

import pytest

from fairseq_meloformer.words.chords import key_of, progression
from fairseq_meloformer.words.wishes import read


def names(text, key=None):
    found = progression(text)
    return "" if found is None else found.in_key(key)[0].name


@pytest.mark.parametrize(
    ("text", "chords"),
    [
        ("C Am F G", "C Am F G"),
        ("a ballad over Am - F - C - G", "Am F C G"),
        ("Dm7 | G7 | Cmaj7 | Cmaj7", "Dm G C C"),
        ("chords: Bb, Eb, F", "Bb Eb F"),
        ("| C Am | F G | C |", "C Am | F G | C"),
        ("| C Am F G |", "C Am F G"),
        ("F#m→D→A→E", "F#m D A E"),
        ("和弦：C G Am F", "C G Am F"),
        ("chord progression Em C", "Em C"),
        ("Bdim E7 Am", "Bdim E Am"),
        ("C/E F Gsus4 G", "C F Gsus4 G"),
        ("vi-IV-I-V", "Am F C G"),
        ("ii V I jazz", "Dm G C"),
        ("I - vi - IV - V", "C Am F G"),
        ("i VI III VII", "Am F C G"),
        ("4536", "F G Em Am"),
        ("1645进行", "C Am F G"),
        ("和弦走向：6415", "Am F C G"),
        ("251和弦", "Dm G C"),
        ("4-5-3-6 progression", "F G Em Am"),
        ("卡农进行", "C G Am Em F C F G"),
        ("Pachelbel's canon progression", "C G Am Em F C F G"),
        ("12-bar blues", "C C C C F F C C G F C C"),
        ("和弦Am F C G", "Am F C G"),
        ("循环C G Am F", "C G Am F"),
        ("使用C G Am F和弦", "C G Am F"),
        ("i bVI bIII bVII", "Am F C G"),
        ("I bVII IV", "C Bb F"),
        ("4536的抒情歌", "F G Em Am"),
        ("4536 ballad", "F G Em Am"),
    ],
)
def test_progressions(text, chords):
    assert names(text) == chords


@pytest.mark.parametrize(
    "text",
    [
        "A B A C",
        "plan A or B",
        "120 bpm, 4536 people",
        "in 1645 a ship sank",
        "since 1645",
        "1645年的扬州",
        "I am I",
        "C major",
        "a storm",
        "F#m",
        "A D minor piece",
    ],
)
def test_other_letters_and_numbers_are_no_chords(text):
    assert progression(text) is None


def test_degrees_are_of_the_asked_key():
    assert names("1645", "D major") == "D Bm G A"
    assert names("4536", "A minor") == "F G Em Am"
    assert names("vi IV I V", "E minor") == "Em C G D"
    assert names("C Am F G", "E minor") == "C Am F G"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("C Am F G", "C major"),
        ("Am F C G", "A minor"),
        ("Em C G D", "E minor"),
        ("D A Bm F#m G D G A", "D major"),
        ("Dm Gm A Dm", "D minor"),
    ],
)
def test_the_key_of_chords(text, key):
    assert key_of(progression(text).chords) == key


def test_chords_are_no_key_and_are_understood():
    wishes = read("C Am F G, 90 bpm")
    assert wishes.key is None
    assert "chords C Am F G" in wishes.understood()
