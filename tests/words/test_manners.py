"""How music is to move is read in two languages, denials too, and not where a word means something else."""

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import MANNERS
from fairseq_meloformer.words import manners as manners_of
from fairseq_meloformer.words.manners import manners, said
from fairseq_meloformer.words.wishes import read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a tune with a swing feel", {"swing": 1}),
        ("no swing, please", {"swing": -1}),
        ("straight eighths", {"swing": -1}),
        ("有摇摆感的钢琴", {"swing": 1}),
        ("syncopated bass", {"syncopation": 1}),
        ("without syncopation", {"syncopation": -1}),
        ("切分节奏", {"syncopation": 1}),
        ("不要切分", {"syncopation": -1}),
        ("a pentatonic melody", {"pentatonic": 1}),
        ("五声音阶", {"pentatonic": 1}),
        ("chromatic runs", {"pentatonic": -1}),
        ("rich chords", {"polyphony": 1}),
        ("一条旋律线", {"polyphony": -1}),
        ("arpeggios", {"polyphony": -1}),
        ("a crescendo", {"dynamics": 1}),
        ("no crescendo", {}),
        ("a decrescendo", {"dynamics": -1}),
        ("渐弱", {"dynamics": -1}),
        ("由弱到强", {"dynamics": 1}),
        ("the theme returns", {"recurrence": 1}),
        ("不断重复的音型", {"recurrence": 1}),
        ("never repeat anything, improvised", {"recurrence": -1}),
        ("不要重复", {"recurrence": -1}),
        ("not too repetitive", {"recurrence": -1}),
        ("不要太重复", {"recurrence": -1}),
        ("swung and syncopated, growing louder", {"swing": 1, "syncopation": 1, "dynamics": 1}),
    ],
)
def test_a_manner_is_read(text, expected):
    assert {axis: 1 if value > 0 else -1 for axis, value in manners(text).items()} == expected


@pytest.mark.parametrize(
    "text",
    [
        "a child on a swing",
        "a storm over the sea",
        "a chromatic harmonica",
        "反复无常",
        "a straight road",
        "a crowd of voices",
        "harmony between friends",
        "a triple jump",
        "暴风雨",
        "风吹树摇摆",
    ],
)
def test_an_everyday_word_is_no_manner(text):
    assert manners(text) == {}


def test_what_is_said_goes_before_what_a_style_has_and_is_told():
    assert read("jazz").manners["swing"] > 0.5
    straight = read("jazz without swing, crescendo")
    assert straight.manners["swing"] < -0.5
    assert straight.manners["syncopation"] > 0.5
    assert straight.understood() == ["jazz style", "straight", "ever louder"]
    assert read("a calm lake").manners == {}


def test_both_sides_of_every_manner_have_words():
    for axis in MANNERS:
        assert len({*said({axis: 1.0}), *said({axis: -1.0})}) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("swing: {}", "must have the axes swing, syncopation"),
        ("\n".join(f"{axis}: {{denied: true}}" for axis in MANNERS), "swing: must have denied and, for each side"),
    ],
)
def test_a_wrong_file_says_what_it_lacks(wrong, message, tmp_path, monkeypatch):
    monkeypatch.setattr(manners_of, "FILE", tmp_path / "manners.yaml")
    manners_of.FILE.write_text(wrong, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        manners_of._patterns.__wrapped__()
