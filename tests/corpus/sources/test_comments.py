import csv
import io
import json
from random import Random

import pytest

from fairseq_meloformer.corpus.sources import comments
from fairseq_meloformer.corpus.sources.exports import likes, read_comments
from fairseq_meloformer.corpus.sources.matching import ListedSong, Matcher, songs_of
from fairseq_meloformer.corpus.sources.rows import Report
from fairseq_meloformer.errors import InputError

MATCHER = Matcher(
    [
        ListedSong("a.mid", "后来", "刘若英"),
        ListedSong("b.mid", "十年", "陈奕迅"),
        ListedSong("c.mid", "Moonlight Sonata", ""),
    ]
)
GOOD = ["前奏的钢琴像雨滴落在窗台上", "弦乐一进来就想起那年冬天", "Slow and warm, like an old radio at night."]


def export(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def comment(text, title="后来", artist="刘若英", **others):
    return {"title": title, "artist": artist, "comment": text, "likes": 3, **others}


def captions(path, per_song=50, min_likes=0, reviewed=None):
    report = Report()
    kept = comments.usable([path], min_likes, report)
    matches = comments.match(kept, MATCHER, reviewed or {})
    return list(comments.captions(kept, matches, per_song, "mine", report)), matches, report


def test_comments_become_captions_of_the_song_they_are_on(tmp_path):
    rows = [
        comment(GOOD[0], title="後來 (Live)", artist="劉若英"),
        comment(GOOD[2], title="十年", artist="陈奕迅/群星"),
        comment("好听"),
        comment("@某人 来听这首歌的钢琴"),
        comment(GOOD[1], title="没有的歌", artist="没有的人"),
        comment(GOOD[1], title="Moonlight Sonata", artist="Beethoven"),
        comment(""),
    ]
    found, matches, report = captions(export(tmp_path / "export.jsonl", rows))
    assert [(caption.path, caption.text, caption.lang) for caption in found] == [
        ("a.mid", GOOD[0], "zh"),
        ("b.mid", GOOD[2], "en"),
    ]
    assert report.read == 7 == len(found) + report.dropped.total()
    assert report.dropped == {
        "one word": 1,
        "personal data: @name": 1,
        "song not found": 1,
        "song uncertain: see the review file": 1,
        "no title or no comment": 1,
    }
    assert list(matches.uncertain) == [("Moonlight Sonata", "Beethoven")]


def test_text_is_not_touched(tmp_path):
    text = "「後來」的前奏，鋼琴像雨滴……　好美！[流泪] ❤️ ２０１９"
    found, _, _ = captions(export(tmp_path / "export.jsonl", [comment(text)]))
    assert [caption.text for caption in found] == [text]


def test_the_most_liked_stay_and_copies_go(tmp_path):
    rows = [
        comment(GOOD[0], likes=5),
        comment(GOOD[0] + "！！", likes=9),
        comment(GOOD[1], likes="1.2万"),
        comment("这首歌适合在下雨天一个人听", likes=1),
        *(comment("愿你被这个世界温柔以待", artist="刘若英", likes=n) for n in range(4)),
    ]
    path = export(tmp_path / "export.jsonl", rows)
    found, _, report = captions(path, per_song=2, min_likes=1)
    assert [caption.text for caption in found] == [GOOD[1], GOOD[0] + "！！"]
    assert report.dropped == {"said twice": 1, "copied text": 3, "too few likes": 1, "more than --per-song": 1}


def test_a_review_decides_what_was_uncertain(tmp_path):
    path = export(tmp_path / "export.jsonl", [comment(GOOD[0], title="Moonlight Sonata", artist="Beethoven")])
    _, matches, _ = captions(path)
    review = tmp_path / "review.csv"
    comments.write_review(review, matches)
    rows = list(csv.reader(io.StringIO(review.read_text("utf-8-sig"))))
    assert rows[1][:6] == ["", "Moonlight Sonata", "Beethoven", "Moonlight Sonata", "", "c.mid"]
    assert comments.read_review(review) == {}
    rows[1][0] = "是"
    review.write_text("\n".join(",".join(row) for row in rows), encoding="gb18030")
    reviewed = comments.read_review(review)
    found, _, _ = captions(path, reviewed=reviewed)
    assert [caption.path for caption in found] == ["c.mid"]
    with pytest.raises(InputError, match=r"not: gone\.mid"):
        captions(path, reviewed={("Moonlight Sonata", "Beethoven"): ["gone.mid"]})
    review.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="must be a review file"):
        comments.read_review(review)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("separator", [",", "\t"])
def test_tables_are_read_in_the_forms_spreadsheets_write(tmp_path, encoding, separator):
    path = tmp_path / "export.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        table = csv.writer(file, delimiter=separator)
        table.writerows(
            [["歌名", "歌手", "用户", "评论", "点赞数"], ["后来", "刘若英", "某人", "第一行，\n第二行", "1,234"]]
        )
    (found,) = read_comments(path)
    assert (found.title, found.artist, found.text, found.likes) == ("后来", "刘若英", "第一行，\n第二行", 1234)


def test_names_as_the_player_has_them(tmp_path):
    row = {
        "name": "后来",
        "ar": [{"name": "刘若英"}, {"name": "某人"}],
        "content": "x",
        "likedCount": 7,
        "user": {"nickname": "n"},
    }
    (found,) = read_comments(export(tmp_path / "a.jsonl", [row]))
    assert (found.title, found.artist, found.text, found.likes) == ("后来", "刘若英/某人", "x", 7)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (12, 12),
        ("1,234", 1234),
        ("1.2万", 12000),
        ("10w+", 100000),
        ("3k", 3000),
        ("999+", 999),
        (None, 0),
        ("", 0),
        ("..", 0),
        ("1.2.3", 0),
    ],
)
def test_numbers_of_likes(value, number):
    assert likes(value) == number


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"song,who\n1,2\n", r"must have a comment \(comment, content.*it has song, who"),
        ("a.csv", b"", "it has no rows"),
        ("a.csv", b'title,comment\n"open,1\n', "must be a table"),
        ("a.csv", b"\xff\xff\xff\xff", "is in neither"),
        ("a.jsonl", b'{"title": "x"}\n', "a comment"),
        ("a.jsonl", b"not json\n{}\n", "line 1"),
        ("gone.csv", None, "No such file"),
        ("gone.jsonl", None, "there is none"),
    ],
)
def test_files_that_cannot_be_used_are_said(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_comments(tmp_path / name))


def test_an_export_on_real_titles(shared, tmp_path):
    """Every tenth song of POP909 has a comment, among as many on songs that are not there."""
    rows = map(json.loads, (shared / "data" / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
    songs = songs_of((row for row in rows if row["source"] == "pop909"), "metadata.jsonl")
    there, absent = songs[::2], songs[1::2]
    rng = Random(1)
    said = [(song, f"第{song.path}首：{rng.choice(GOOD[:2])}{song.title}") for song in [*there[::10], *absent[::10]]]
    path = export(tmp_path / "export.jsonl", [comment(text, song.title, song.artist) for song, text in said])
    report = Report()
    kept = comments.usable([path], 0, report)
    matches = comments.match(kept, Matcher(there), {})
    found = list(comments.captions(kept, matches, 50, "x", report))
    expected = {song.path for song, _ in said} & {song.path for song in there}
    assert {caption.path for caption in found} == expected
    assert all(caption.path in caption.text for caption in found)
