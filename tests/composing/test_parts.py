"""What a request is understood to ask for, and what of it is not kept."""

import pytest

from fairseq_meloformer.composing.command import _reading
from fairseq_meloformer.composing.parts import key_of, metre_of, only_planned, told, understand
from fairseq_meloformer.words.prompts import Request, from_texts
from fairseq_meloformer.words.timeline import read_timeline


def heard(text):
    request = from_texts([text])[0].request(0, Request(""))
    return request, understand(None, [request])[0]


def test_a_piece_has_one_key_one_metre_and_one_player_a_track():
    _, parts = heard("1-4: a waltz in D minor for flute | 5-8: march in 2/4, G major, oboe | 9-12: D minor, flute")
    assert (key_of(parts), metre_of(parts)) == ("D minor", "3/4")
    assert [part.unkept for part in parts] == [
        (),
        (
            "G major in bars 5-8 (a piece has one key)",
            "2/4 in bars 5-8 (a piece has one metre)",
            "oboe in bars 5-8 (flute plays its track)",
        ),
        (),
    ]


@pytest.mark.parametrize(
    ("text", "key"), [("C Am F G", "C major"), ("Em C G D", "E minor"), ("4536", "C major"), ("1645, D大调", "D major")]
)
def test_chords_say_a_key(text, key):
    assert key_of(heard(text)[1]) == key


def test_what_is_understood_of_sections_is_said_once_with_their_lengths():
    understood, unkept = told(*heard("90 bpm, verse 8 bars, chorus 4 bars, with reverb"))
    assert understood[0] == "verse 8 - chorus 4 bars"
    assert understood.count("90 bpm") == 1
    assert len(unkept) == 1
    assert unkept[0].startswith("reverb")


@pytest.mark.parametrize(
    ("text", "unheard"),
    [
        ("in D minor, 90 bpm, violin", True),
        ("verse 2 bars, chorus 2 bars", True),
        ("1-2: calm | 3-4: storm", False),
        ("", False),
    ],
)
def test_a_text_beside_sections_of_their_own_is_said_not_to_be_heard(text, unheard):
    request = Request(text, bars=4, sections=read_timeline("1-2: calm | 3-4: storm"))
    unkept = told(request, understand(None, [request])[0])[1]
    assert [said.partition(" (")[0] for said in unkept] == ["the text"] * unheard


def test_a_metre_that_models_have_not_seen_is_said_to_be_an_extrapolation():
    assert ["extrapolation" in said for said in told(*heard("4/4"))[0]] == [False]
    assert ["extrapolation" in said for said in told(*heard("a jig in 6/8"))[0]] == [True]


def test_of_the_plan_alone_nothing_but_bars_is_kept():
    request, parts = heard("koto, 90 bpm, D minor, 3/4, 8 bars, about 30 seconds, C Am F G")
    understood, unkept = told(request, list(map(only_planned, parts)))
    assert understood[0] == "8 bars"
    assert len(unkept) == len(understood) - 1
    assert all(said.endswith("keeps nothing but bars)") for said in unkept)


def test_the_line_of_a_piece_is_what_its_manifest_says():
    row = {"piece": "a-0", "understood": ["90 bpm", "flute"], "not_honoured": ["a (b)"]}
    assert _reading(row) == "a-0: understood: 90 bpm, flute; not kept: a (b)\n"
    assert _reading({**row, "understood": [], "not_honoured": []}) == ""
