"""`meloformer caption` from end to end: every source, and `meloformer prepare` takes what comes out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from chat_server import fails, says, serving

from fairseq_meloformer.errors import InputError

SCHEMA = ["id", "path", "bars", "text", "lang", "source", "licence", "attributes"]
GOOD = ["前奏的钢琴像雨滴落在窗台上", "Slow and warm, like an old radio at night."]
BAD = ["好听", "@某人 快来听这首钢琴曲"]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory, write_song, prepared, lines):
    """Six songs with titles, prepared in passages of four bars."""
    made = tmp_path_factory.mktemp("corpus")
    folder, metadata, data = made / "midi", made / "songs.jsonl", made / "data"
    titles = ["后来", "十年", "晴天", "Moonlight", "稻香", "成都"]
    for seed, _ in enumerate(titles):
        write_song(folder / f"{seed}.mid", seed)
    lines(metadata, [{"path": f"{n}.mid", "title": title, "artist": "某人"} for n, title in enumerate(titles)])
    prepared(folder, data, "--metadata", metadata, "--window-bars", "4")
    return made


@pytest.fixture
def corpus(tmp_path, prepared_once):
    """A copy of its own: (folder, metadata, DATA)."""
    shutil.copytree(prepared_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "midi", tmp_path / "songs.jsonl", tmp_path / "data"


def taken(corpus, prepared, lines, *outputs):
    """Texts by passage after `meloformer prepare --captions`."""
    folder, metadata, data = corpus
    flags = [flag for output in outputs for flag in ("--captions", output)]
    prepared(folder, data, "--metadata", metadata, "--window-bars", "4", *flags)
    items = [item for split in ("train", "valid", "test") for item in lines(data / f"{split}.items.jsonl")]
    return {item["id"]: [caption["text"] for caption in item["captions"]] for item in items}


def test_comments_reach_the_training_data(tmp_path, corpus, caption, prepared, lines):
    export = [
        *({"title": "後來（Live）", "artist": "某人", "comment": text, "likes": 1} for text in GOOD + BAD),
        {"title": "Moonlight", "artist": "Somebody Else", "comment": "the strings sound like water", "likes": 1},
    ]
    lines(tmp_path / "export.jsonl", export)
    output = tmp_path / "comments.jsonl"
    flags = ["--source", "comments", "--input", tmp_path / "export.jsonl", "--metadata", corpus[1], "--output", output]
    status, shown = caption(*flags, "--dry-run")
    assert status == 0
    assert "personal data: @name" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "export.jsonl", "midi", "songs.jsonl"]
    assert caption(*flags)[0] == 0
    rows = lines(output)
    assert [list(row) for row in rows] == [SCHEMA, SCHEMA]
    assert {(row["path"], row["lang"]) for row in rows} == {("0.mid", "zh"), ("0.mid", "en")}
    report = json.loads((tmp_path / "comments.report.json").read_text())
    assert report["read"] == 5 == report["written"] + sum(report["dropped"].values())
    assert report["titles_uncertain"] == 1
    assert "Somebody Else" in (tmp_path / "comments.review.csv").read_text("utf-8-sig")
    texts = taken(corpus, prepared, lines, output)
    assert texts["0.mid:0-4"] == texts["0.mid:4-8"] == GOOD
    assert texts["1.mid:0-4"] == []
    with pytest.raises(InputError, match="never overwritten"):
        caption(*flags)


def test_data_sets_reach_the_training_data(tmp_path, corpus, caption, prepared, lines, write_song):
    write_song(corpus[0] / "abcdefghijk.mid", 7)
    (tmp_path / "caps.csv").write_text(
        "ytid,start_s,end_s,aspect_list,caption\nabcdefghijk,0,10,\"['sad']\",A sad tune.\nnowhere0000,0,10,[],No.\n"
    )
    lines(tmp_path / "train.json", [{"location": "1.mid", "caption": "A bright song."}])
    for source, name in (("musiccaps", "caps.csv"), ("midicaps", "train.json")):
        output = tmp_path / f"{source}.jsonl"
        flags = ["--source", source, "--input", tmp_path / name, "--midi", corpus[0], "--output", output]
        assert caption(*flags)[0] == 0
        assert all(list(row) == SCHEMA for row in lines(output))
    texts = taken(corpus, prepared, lines, tmp_path / "musiccaps.jsonl", tmp_path / "midicaps.jsonl")
    assert texts["abcdefghijk.mid:0-4"] == ["A sad tune.", "sad"]
    assert texts["1.mid:4-8"] == ["A bright song."]


def test_measurements_are_described(tmp_path, corpus, caption, prepared, lines):
    output = tmp_path / "measured.jsonl"
    assert caption("--source", "measured", "--data", corpus[2], "--count", 4, "--output", output)[0] == 0
    rows = lines(output)
    assert len(rows) == 12 * 4
    assert all(list(row) == SCHEMA and row["attributes"]["bars"] == 4 for row in rows)
    assert all(len(texts) == 4 for texts in taken(corpus, prepared, lines, output).values())


def llm(corpus, output, server, *flags):
    base = ["--source", "llm", "--data", corpus[2], "--model", "small", "--base-url", server.url, "--output", output]
    return [*base, "--concurrency", "2", *flags]


def test_a_language_model_annotates(tmp_path, corpus, caption, prepared, lines):
    output = tmp_path / "llm.jsonl"
    prices = ("--price-in", "1.5", "--price-out", "6")
    with serving(fails(429, retry_after="0.1"), says("no JSON"), delay=0.05) as server:
        status, shown = caption(*llm(corpus, output, server, *prices, "--dry-run"))
        assert (status, server.requests) == (0, [])
        assert "questions to ask" in shown
        assert "cost about" in shown
        assert "Title: " in shown
        assert not output.exists()
        assert not (tmp_path / "annotations.jsonl").exists()
        status, shown = caption(*llm(corpus, output, server, *prices))
    assert status == 0
    assert server.most_at_once == 2
    assert len(server.requests) == 12 + 2
    rows = lines(output)
    assert all(list(row) == SCHEMA for row in rows)
    assert [row["lang"] for row in rows].count("zh") == [row["lang"] for row in rows].count("en") == 12 * 2
    report = json.loads((tmp_path / "llm.report.json").read_text())
    assert (report["tokens_sent"], report["tokens_received"]) == (13 * 100, 13 * 40)
    assert report["cost"] == pytest.approx((1300 * 1.5 + 520 * 6) / 1e6, abs=1e-4)
    assert all(len(texts) == 4 for texts in taken(corpus, prepared, lines, output).values())
    assert "sk-test" not in "".join(path.read_text() for path in tmp_path.glob("*.json*"))


def test_answers_are_never_paid_for_twice(tmp_path, corpus, caption, lines):
    with serving(count=1) as server:
        caption(*llm(corpus, tmp_path / "few.jsonl", server, "--count", 1, "--limit", 5))
        assert len(server.requests) == 5
        caption(*llm(corpus, tmp_path / "all.jsonl", server, "--count", 1))
        assert len(server.requests) == 12
        caption(*llm(corpus, tmp_path / "again.jsonl", server, "--count", 1))
        assert len(server.requests) == 12
    assert lines(tmp_path / "again.jsonl") == lines(tmp_path / "all.jsonl")
    assert len({row["path"] for row in lines(tmp_path / "few.jsonl")}) == 5


def test_questions_that_fail_are_named_and_asked_again(tmp_path, corpus, caption, lines):
    with serving(fails(400, "filtered")) as server:
        assert caption(*llm(corpus, tmp_path / "a.jsonl", server))[0] == 1
        assert len(lines(tmp_path / "a.jsonl")) == 11 * 4
        (failure,) = lines(tmp_path / "a.failed.jsonl")
        assert "filtered" in failure["reason"]
        assert caption(*llm(corpus, tmp_path / "b.jsonl", server))[0] == 0
    assert len(server.requests) == 13
    assert len(lines(tmp_path / "b.jsonl")) == 12 * 4


@pytest.mark.parametrize("failure", [fails(401, "bad key sk-test"), fails(400, "no such parameter")])
def test_a_server_that_answers_nothing_ends_the_run(tmp_path, corpus, caption, lines, failure):
    with serving(None, None, *[failure] * 50) as server:
        with pytest.raises(InputError, match="run this again to go on") as error:
            caption(*llm(corpus, tmp_path / "a.jsonl", server))
        assert "sk-test" not in str(error.value)
        assert len(server.requests) <= 12
        assert not (tmp_path / "a.jsonl").exists()
        assert len(lines(tmp_path / "annotations.jsonl")) == 2
        server.script.clear()
        assert caption(*llm(corpus, tmp_path / "a.jsonl", server))[0] == 0


def test_a_killed_run_goes_on(tmp_path, corpus, lines):
    output = tmp_path / "llm.jsonl"
    with serving(delay=0.15) as server:
        flags = map(str, llm(corpus, output, server))
        command = [sys.executable, "-m", "fairseq_meloformer.cli", "caption", *flags]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=os.environ)
        cache, deadline = tmp_path / "annotations.jsonl", time.monotonic() + 120
        while not cache.exists() or cache.read_bytes().count(b"\n") < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not output.exists()
        assert subprocess.run(command, env=os.environ, check=False, capture_output=True).returncode == 0
    # Killed with at most two threads' questions under way and two answers each not yet taken.
    assert 12 <= len(server.requests) <= 12 + 4
    assert len(lines(output)) == 12 * 4


def test_examples_of_wording_are_sent(tmp_path, corpus, caption):
    (tmp_path / "caps.csv").write_text(
        "ytid,start_s,end_s,aspect_list,caption\nabcdefghijk,0,10,[],Sounds like a lullaby. The recording is noisy.\n"
    )
    with serving() as server:
        caption(*llm(corpus, tmp_path / "a.jsonl", server, "--examples", tmp_path / "caps.csv", "--limit", 1))
    system = server.requests[0]["messages"][0]["content"]
    assert "- Sounds like a lullaby." in system
    assert "noisy" not in system


def test_flags_are_checked_together(tmp_path, caption):
    output = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match="--input is needed; --metadata is needed; --model is for other sources"):
        caption("--source", "comments", "--model", "x", "--output", output)
    with pytest.raises(InputError, match="--count must be at least 1, received 0"):
        caption("--source", "measured", "--data", tmp_path, "--count", 0, "--output", output)
    with pytest.raises(InputError, match=r"train\.items\.jsonl; there is none"):
        caption("--source", "measured", "--data", tmp_path, "--output", output)


def test_the_key_must_be_there(tmp_path, corpus, caption, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving() as server, pytest.raises(InputError, match="OPENAI_API_KEY"):
        caption(*llm(corpus, tmp_path / "a.jsonl", server))


def test_ctrl_c_keeps_the_answers_under_way(tmp_path, corpus, lines):
    with serving(delay=1.0) as server:
        flags = map(str, llm(corpus, tmp_path / "llm.jsonl", server))
        command = [sys.executable, "-m", "fairseq_meloformer.cli", "caption", *flags]
        # A run in the background ignores Ctrl-C, and its children would inherit that.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        signal.signal(signal.SIGINT, before)
        deadline = time.monotonic() + 120
        while len(server.requests) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        message = process.communicate()[1]
    assert process.returncode == 130
    assert "goes on from here" in message
    assert len(lines(tmp_path / "annotations.jsonl")) == len(server.requests) < 12
