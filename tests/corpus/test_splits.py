from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_meloformer.corpus.splits import SongKeys, assign, title_key
from fairseq_meloformer.errors import InputError

SONGS = st.lists(
    st.tuples(st.sampled_from(["", "Hallo", "hallo!", "雪", "Ａbc", "ABC", "x"]), st.integers(0, 12), st.booleans()),
    max_size=30,
).map(
    lambda rows: [
        SongKeys(f"{number}.mid", title, str(content), "train" if given else "")
        for number, (title, content, given) in enumerate(rows)
    ]
)


def songs(count: int) -> list[SongKeys]:
    return [SongKeys(f"{number}.mid", f"song {number}", f"notes {number}") for number in range(count)]


@settings(deadline=None)
@given(SONGS)
def test_nothing_leaks(corpus: list[SongKeys]) -> None:
    splits = assign(corpus, 0.3, 0.3)
    assert set(splits) == {song.path for song in corpus}
    for one in corpus:
        for other in corpus:
            same_title = title_key(one.title) and title_key(one.title) == title_key(other.title)
            if same_title or one.content == other.content:
                assert splits[one.path] == splits[other.path]
        if one.given:
            assert splits[one.path] == "train"


def test_titles_and_contents_join_in_chains() -> None:
    corpus = [
        SongKeys("a", "Moon", "1", "valid"),
        SongKeys("b", "moon.", "2"),
        SongKeys("c", "", "2"),
        SongKeys("d", "Sun", "2", "test"),
        SongKeys("e", "SUN", "3"),
    ]
    assert set(assign(corpus, 0.0, 0.0).values()) == {"valid"}


def test_shares_are_kept_and_further_songs_move_nobody() -> None:
    few, many = assign(songs(1000), 0.1, 0.05), assign(songs(2000), 0.1, 0.05)
    assert all(many[path] == split for path, split in few.items())
    counts = Counter(many.values())
    assert counts["valid"] == pytest.approx(200, rel=0.2)
    assert counts["test"] == pytest.approx(100, rel=0.3)


def test_other_tokens_of_the_same_songs_move_nobody() -> None:
    transposed = [replace(song, content=f"other {song.content}") for song in songs(300)]
    assert assign(transposed, 0.2, 0.2) == assign(songs(300), 0.2, 0.2)
    untitled = [replace(song, title="") for song in songs(300)]
    assert assign(untitled, 0.2, 0.2) == assign([replace(s, content=s.path) for s in untitled], 0.2, 0.2)


def test_small_corpora_get_every_demanded_split() -> None:
    assert set(assign(songs(3), 0.01, 0.01).values()) == {"train", "valid", "test"}
    assert Counter(assign(songs(5), 0.01, 0).values()) == {"train": 4, "valid": 1}
    assert set(assign(songs(1), 0.01, 0.01).values()) == {"train"}


def test_senseless_demands_are_refused() -> None:
    with pytest.raises(InputError, match="shares"):
        assign(songs(3), 0.5, 0.5)
    with pytest.raises(InputError, match="dev"):
        assign([SongKeys("a", "", "1", "dev")], 0.1, 0.1)
