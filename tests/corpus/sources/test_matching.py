"""Matching on the real titles of POP909, as players, uploaders and typing fingers spell them."""

import json
from random import Random

import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.corpus.sources import titles
from fairseq_meloformer.corpus.sources.matching import ACCEPT, ListedSong, Matcher, songs_of
from fairseq_meloformer.errors import InputError

TRADITIONAL = opencc.OpenCC("s2t")


def wide(text):
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def typo(text, rng):
    """One character missing, doubled, or two exchanged, in titles long enough to stay recognisable."""
    if len(text) < 4:
        return text
    at = rng.randrange(len(text) - 1)
    before, one, other, after = text[:at], text[at], text[at + 1], text[at + 2 :]
    return before + rng.choice([other, one + one + other, other + one]) + after


TITLE_NOISE = [
    lambda t, _: t,
    lambda t, _: f"{t} (Live)",
    lambda t, _: f"{t}（伴奏）",
    lambda t, _: f"《{t}》",
    lambda t, _: f"{t} [钢琴版]",
    lambda t, _: f"{t} - Live at 上海体育场",
    lambda t, _: f"{t} (电影《夏天》主题曲)",
    lambda t, _: f"{t} feat. 某某",
    lambda t, _: f" {wide(t)} ",
    lambda t, _: TRADITIONAL.convert(t),
    lambda t, _: t.upper().replace(" ", ""),
    typo,
]
ARTIST_NOISE = [
    lambda a, _: a,
    lambda a, _: a,
    lambda a, _: TRADITIONAL.convert(a),
    lambda a, _: f"{a}/群星",
    lambda a, _: f"{a} feat. Somebody",
    lambda a, _: f"{a} (Official)",
    lambda a, _: wide(a),
]


@pytest.fixture(scope="session")
def pop909(shared):
    rows = map(json.loads, (shared / "data" / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
    return songs_of((row for row in rows if row["source"] == "pop909"), "metadata.jsonl")


@pytest.fixture(scope="session")
def outcome(pop909):
    """Every second song is in the collection; all are asked for, with noise: (asked, match)."""
    rng = Random(4)
    matcher = Matcher(pop909[::2])
    return [
        (song, matcher.match(noise(song.title, rng), rng.choice(ARTIST_NOISE)(song.artist, rng)))
        for song in pop909
        for noise in rng.sample(TITLE_NOISE, 3)
    ]


def figures(pop909, outcome, least):
    present = {song.path for song in pop909[::2]}
    found = [(song, match) for song, match in outcome if match and match.confidence >= least]
    right = [song for song, match in found if [other.path for other in match.songs] == [song.path]]
    return len(right) / len(found), len(right) / sum(song.path in present for song, _ in outcome)


def test_precision_and_recall_on_noisy_titles(pop909, outcome):
    precision, recall = figures(pop909, outcome, ACCEPT)
    with_review = figures(pop909, outcome, 0)
    assert precision >= 0.99
    assert recall >= 0.95
    assert with_review[1] >= 0.98


def test_without_an_artist_nothing_is_certain(pop909):
    matcher = Matcher(pop909)
    matches = [matcher.match(song.title, "") for song in pop909]
    assert all(match and song in match.songs for song, match in zip(pop909, matches, strict=True))
    assert max(match.confidence for match in matches) < ACCEPT


def test_another_singer_is_another_song(pop909):
    matcher = Matcher(pop909)
    shifted = [matcher.match(song.title, pop909[(n + 400) % len(pop909)].artist) for n, song in enumerate(pop909)]
    wrong = [match for match in shifted if match and match.confidence >= ACCEPT]
    assert len(wrong) <= len(pop909) // 100  # a few singers have two songs 400 places apart


SONGS = [
    ListedSong("a.mid", "后来", "刘若英"),
    ListedSong("b.mid", "后来", "某乐队"),
    ListedSong("c.mid", "Mariage d'Amour", "Paul de Senneville"),
    ListedSong("d.mid", "十年", "陈奕迅"),
    ListedSong("d2.mid", "十年 (钢琴版)", "陈奕迅"),
    ListedSong("e.mid", "简单爱", "Jay Chou"),
]


@pytest.mark.parametrize(
    ("title", "artist", "paths", "certain"),
    [
        ("後來", "劉若英", ["a.mid"], True),
        ("后来", "", ["a.mid", "b.mid"], False),
        ("MARIAGE D’AMOUR", "paul de senneville", ["c.mid"], True),
        ("Mariage d'Amour (Piano)", "Senneville; Clayderman", ["c.mid"], True),
        ("十年", "陳奕迅 Eason Chan", ["d.mid"], True),
        ("简单爱", "周杰伦", ["e.mid"], False),
        ("简单爱", "周杰伦 Jay Chou", ["e.mid"], True),
        ("后来的我们", "五月天", None, False),
        ("!!!", "", None, False),
    ],
)
def test_cases(title, artist, paths, certain):
    match = Matcher(SONGS).match(title, artist)
    assert (match and [song.path for song in match.songs]) == paths
    assert bool(match and match.confidence >= ACCEPT) == certain


def test_one_song_with_two_files_is_found_in_both():
    twins = [ListedSong("1.mid", "十年", "陈奕迅"), ListedSong("2.mid", "十年", "陈奕迅")]
    assert Matcher(twins).match("十年(Live)", "陈奕迅").songs == tuple(twins)


def test_a_title_that_goes_on_with_another_word_is_another_song():
    matcher = Matcher([ListedSong("stay.mid", "Stay", "Sam Smith")])
    found = matcher.match("Stay With Me", "Sam Smith")
    assert found is None or found.confidence < ACCEPT
    assert matcher.match("Stay (with Somebody)", "Sam Smith").confidence >= ACCEPT


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_breaks_it(title, artist):
    read = titles.title(title)
    assert bool(read.base) == bool(read.full)
    match = Matcher(SONGS).match(title, artist)
    assert match is None or 0.6 <= match.confidence <= 1


def test_a_collection_without_titles_is_said():
    with pytest.raises(InputError, match="rows with path and title"):
        songs_of([{"path": "a.mid"}], "rows.jsonl")
