"""The studio as programs use it."""

import base64
import errno
import io
import json
import os
import re
import threading
import time
import zipfile
from dataclasses import replace

import httpx2
import pytest

from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.midi.events import EventFile
from fairseq_meloformer.render import audio
from fairseq_meloformer.studio.asks import ComposeAsk
from fairseq_meloformer.words.prompts import Request, from_texts

ASK = {"text": "暴风雨", "bars": 2, "seed": 5}


def events(client, ask):
    """All events of an ask."""
    with client.stream("POST", "/compose", json=ask, timeout=120) as answer:
        assert answer.status_code == 200, answer.read()
        return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


def pieces(client, ask):
    """The pieces that an ask gives."""
    told = events(client, ask)
    assert told[-1] == {"event": "done"}, told[-1]
    return [event for event in told if event["event"] == "piece"]


def midi(client, piece):
    """A piece's file."""
    return EventFile.of(client.get(f"/pieces/{piece['id']}.mid").content)


def notes(client, piece):
    """All that sounds in a piece's file."""
    return [
        (note.player.program, note.start, note.end, note.pitch, note.velocity) for note in midi(client, piece).notes
    ]


@pytest.fixture(scope="module")
def client(studio):
    with httpx2.Client(base_url=studio) as client:
        yield client


@pytest.fixture(scope="module")
def told(client):
    return events(client, {**ASK, "count": 2})


@pytest.fixture(scope="module")
def piece(told):
    return next(event for event in told if event["event"] == "piece")


def test_bars_are_told_while_they_are_written_and_then_the_pieces(told):
    kinds = [event["event"] for event in told]
    assert kinds[0] == "queued"
    assert kinds[-1] == "done"
    bars = [event for event in told if event["event"] == "bar"]
    assert [event["bars"] for event in bars if event["piece"] == 1] == [1, 2]
    assert all(event["total"] == 2 for event in bars)
    first = bars[0]["draft"]
    assert len(first["lines"]) == 2
    assert all(note[0] < first["lines"][-1] for track in first["tracks"] for note in track["notes"])
    assert [event["piece"] for event in told if event["event"] == "piece"] == [0, 1]


def test_a_piece_is_the_one_that_the_command_line_makes(client, piece, composer):
    composer = Composer(composer.model, composer.bridge, replace(composer.control, best_of=1))
    request = from_texts(["暴风雨"])[0].request(0, Request("", seed=5, bars=2))
    (expected,) = composer.compose([request])
    assert sorted(note for *_, note, _ in notes(client, piece)) == sorted(
        note.pitch for track in expected.midi.instruments for note in track.notes
    )


def test_what_was_asked_gives_the_same_piece_again(client, told):
    second = [event for event in told if event["event"] == "piece"][1]
    (again,) = pieces(client, second["made"][0])
    assert notes(client, again) == notes(client, second)
    assert again["made"] == second["made"]


def test_only_the_asked_bars_are_written_anew(client, piece):
    (changed,) = pieces(client, {"seed": 9, "passage": {"piece": piece["id"], "bars": [2, 2], "tracks": []}})
    line = midi(client, piece).ticks_per_beat * 4
    before, after = (sorted(note for note in notes(client, one) if note[1] < line) for one in (piece, changed))
    assert before == after
    assert notes(client, piece) != notes(client, changed)
    assert changed["text"] == "暴风雨"
    assert len(changed["made"]) == 2


def test_its_own_sentence_is_no_foreign_one(client):
    (short,) = pieces(client, {"text": "piano, 3 seconds"})
    change = {"passage": {"piece": short["id"], "bars": [1, 1]}}
    (own,), (foreign,) = (pieces(client, {"text": text, **change}) for text in ("", "piano, 3 seconds"))
    assert not any("are written" in said for said in own["not_honoured"])
    assert any("are written" in said for said in foreign["not_honoured"])


def test_sections_grow_with_the_piece_and_keep_their_names(client):
    (piece,) = pieces(client, {"text": "intro 1 bar, calm, verse 1 bar, storm"})
    for length in (3, 4):
        (piece,) = pieces(client, {"passage": {"piece": piece["id"], "after": 1}})
        assert [(one["name"], one["last"]) for one in piece["sections"]] == [("intro", 1), ("verse", length)]
    (piece,) = pieces(client, {"passage": {"piece": piece["id"], "bars": [1, 1]}})
    assert piece["sections"][-1]["last"] == 4


def test_it_goes_on_and_gets_an_introduction(client, piece):
    (longer,) = pieces(client, {"text": "calm", "passage": {"piece": piece["id"], "after": 1}})
    (earlier,) = pieces(client, {"text": "calm", "passage": {"piece": piece["id"], "before": 1}})
    assert [len(one["lines"]) - 1 for one in (piece, longer, earlier)] == [2, 3, 3]


def test_a_corrected_reading_is_what_is_composed_to(client):
    (piece,) = pieces(client, {**ASK, "bars": 1, "axes": {"loudness": -1.0}})
    assert piece["parts"][0]["profile"]["loudness"] == -1
    assert client.get("/understand", params={"text": "暴风雨"}).json()["axes"]["loudness"] > 0


def test_instruments_beside_the_six_can_be_written_anew_too(client):
    ask = {"text": "古筝，长笛", "bars": 2, "seed": 2}
    (piece,) = pieces(client, ask)
    roles = {track["program"]: track["role"] for track in piece["tracks"]}
    assert 107 in roles
    assert None not in roles.values()
    (changed,) = pieces(client, {"passage": {"piece": piece["id"], "bars": [1, 2], "tracks": [roles[107]]}})

    def by(one, koto):
        return [note for note in notes(client, one) if (note[0] == 107) == koto]

    assert by(changed, koto=False) == by(piece, koto=False)
    assert by(changed, koto=True) != by(piece, koto=True)


def test_a_brought_file_is_shown_and_can_be_the_plan(client, piece):
    data = client.get(f"/pieces/{piece['id']}.mid").content
    name = "<img src=x onerror=alert(1)>.mid"
    brought = client.post("/pieces", params={"name": name}, content=data).json()
    assert brought["text"] == name
    assert brought["tracks"] == piece["tracks"]
    assert brought["id"] != piece["id"]
    (planned,) = pieces(client, {"text": "storm", "plan_from": brought["id"]})
    assert len(planned["lines"]) == len(brought["lines"])
    recipe = client.get(f"/pieces/{planned['id']}.json").json()
    assert base64.b64decode(recipe["files"][brought["id"]]) == data


def test_a_brought_file_may_be_called_anything(client, piece):
    data = client.get(f"/pieces/{piece['id']}.mid").content
    brought = client.post("/pieces", params={"name": "5-8: storm, " * 30}, content=data).json()
    assert brought["text"].startswith("5-8  storm")
    assert len(brought["text"]) == 80
    assert client.get(f"/pieces/{brought['id']}.mid").content == data
    assert pieces(client, {"passage": {"piece": brought["id"], "bars": [1, 1]}})[0]["text"] == brought["text"]


def test_a_full_disk_is_told(client, piece, monkeypatch):
    data = client.get(f"/pieces/{piece['id']}.mid").content

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    answer = client.post("/pieces", content=data)
    assert answer.status_code == 500
    assert "the disk is full" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["mid", "musicxml", "png", "json", "wav", "html", "zip"])
def test_a_piece_can_be_taken_home(client, piece, kind):
    if kind == "wav" and not (audio.can_render() and audio.soundfont()):
        pytest.skip(audio.HINT)
    answer = client.get(f"/pieces/{piece['id']}.{kind}", timeout=60)
    assert answer.status_code == 200
    begins = {
        "mid": b"MThd",
        "musicxml": b"<?xml",
        "png": b"\x89PNG",
        "json": b"{",
        "wav": b"RIFF",
        "html": b"<!",
        "zip": b"PK",
    }
    assert answer.content.startswith(begins[kind])
    assert "%E6%9A%B4" in answer.headers["content-disposition"]
    if kind == "zip":
        names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        assert {"暴风雨.mid", "暴风雨.musicxml", "暴风雨.png", "暴风雨.json"} <= set(names)


@pytest.mark.parametrize(
    "data",
    [b"", b"MThd", b"<script>alert(1)</script>", b"MThd\0\0\0\6\0\1\xff\xff\1\xe0" + b"MTrk\xff\xff\xff\xff" * 9],
)
def test_a_hostile_file_is_refused_in_one_sentence_and_leaves_nothing(client, folder, data):
    there = set(folder.iterdir())
    answer = client.post("/pieces", content=data)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert set(folder.iterdir()) == there


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        ({"text": "a" * 2001}, 422),
        ({"text": "calm", "bars": 129}, 422),
        ({"text": "calm", "bars": 2, "count": 5}, 422),
        ({"text": "calm", "colour": "red"}, 422),
        ({"passage": {"piece": "../../etc/passwd", "bars": [1, 1]}}, 422),
        ({"passage": {"piece": "0" * 32}}, 422),
        *(
            ({"passage": {"piece": "0" * 32, "bars": [1, 1]}, **said}, 422)
            for said in ({"bars": 2}, {"transpose": 1}, {"best_of": 2}, {"plan_from": "0" * 32})
        ),
    ],
)
def test_an_ask_beyond_the_limits_is_refused(client, ask, status):
    answer = client.post("/compose", json=ask)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize("text", ["a piece of 500 bars", "1-200: calm"])
def test_a_text_that_asks_for_too_many_bars_is_refused_before_they_are_written(client, text):
    told = events(client, {"text": text})
    assert told[-1]["event"] == "error"
    assert "at most 128 bars" in told[-1]["error"]


def test_pieces_that_are_not_there_are_not_found(client):
    for name in ("0" * 32, "..", "0" * 31 + "g"):
        assert client.get(f"/pieces/{name}.mid").status_code in {400, 404}


def test_other_sites_and_other_names_are_refused(client, studio):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert client.post("/compose", json=ASK, headers={"origin": "https://evil.example"}).status_code == 403
    assert client.post("/pieces", content=b"\0" * 2_000_001).status_code == 413
    answer = client.get("/", headers={"origin": studio})
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_whoever_leaves_makes_room_and_those_who_wait_know_their_place(studio, client):
    places, ended = [], threading.Event()

    def second():
        with httpx2.Client(base_url=studio) as other:
            places.extend(
                event.get("place") for event in events(other, {**ASK, "bars": 1}) if event["event"] == "queued"
            )
        ended.set()

    with client.stream("POST", "/compose", json={**ASK, "bars": 128}, timeout=60) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if "bar" in line)
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.5)
    assert ended.wait(60), "the long piece was written to its end"
    waiting.join()
    assert places[0] == 1
    assert places[-1] == 0


def test_chips_change_the_sentence(client):
    def understood(text, **changes):
        return client.get("/understand", params={"text": text, **changes}).json()

    first = understood("80 bpm，江南烟雨，古筝", tempo=120, key="D minor")
    assert first["tempo"] == 120
    assert first["key"] == "D minor"
    assert "80" not in first["text"]
    assert [one["program"] for one in first["instruments"]] == [107]
    assert understood(first["text"], without=107)["instruments"] == []
    assert understood("calm", instrument="flute")["text"] == "calm, flute"
    assert understood("a calm waltz in D major", key="")["key"] is None
    tempi = understood("1-2: calm, 60 bpm | 3-4: storm", tempo=120)
    assert tempi["text"] == "1-2: calm, 120 bpm | 3-4: storm, 120 bpm"
    assert tempi["tempo"] == 120
    assert understood("1-2: 60 bpm | 3-4: storm, 90 bpm", tempo=0)["text"] == "1-2: … | 3-4: storm"
    timeline = understood("1-2: calm | 3-4: storm, flute")
    assert timeline["sections"][1]["text"] == "storm, flute"
    assert [one["name"] for one in timeline["instruments"]] == ["flute"]


def test_the_interface_is_described(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/compose", "/understand", "/pieces", "/pieces/{piece}.{kind}", "/soundfont"} <= set(paths)
    assert client.get("/api").status_code == 200


@pytest.mark.parametrize(
    "name", ["best_of", "temperature", "top_k", "top_p", "tilt", "guidance_scale", "strength", "transpose"]
)
def test_a_field_of_the_page_begins_with_the_default_and_takes_it(name, client):
    field = re.search(rf'<input id="{name}"[^>]*>', client.get("/").text)
    assert field, name
    shown = {key: float(value) for key, value in re.findall(r' (min|max|step|value)="([^"]*)"', field[0])}
    default = ComposeAsk.model_fields[name].default
    assert shown["value"] == default
    assert shown["min"] <= default <= shown["max"]
    steps = (default - shown["min"]) / shown.get("step", 1)
    assert steps == pytest.approx(round(steps))  # or a browser refuses to send the page's own value
