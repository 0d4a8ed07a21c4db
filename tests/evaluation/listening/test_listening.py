"""A listening test through the real command: the page, its key, and the answers that come back."""

import base64
import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import soundfile
from injection.models import bridge, museformer
from miditoolkit import Instrument, MidiFile, Note, TimeSignature

from fairseq_meloformer import midi
from fairseq_meloformer.cli import main
from fairseq_meloformer.evaluation.listening import pages
from fairseq_meloformer.evaluation.listening.pages import Sound, levelled
from fairseq_meloformer.midi.six_tracks import NAMES
from fairseq_meloformer.render import audio
from fairseq_meloformer.render.loudness import loudness

pytestmark = pytest.mark.skipif(not audio.can_render(), reason="there is no synthesiser for this platform")
HOSTILE = "</script><script>document.title='owned'</script>"
ARMS = {"text", "other prompt", "no plan", "real song", "rival"}


def song(path, pitch, velocity):
    written = MidiFile(ticks_per_beat=480)
    piano = Instrument(0)
    piano.notes = [Note(velocity, pitch + step, 960 * step + 960, 960 * step + 1920) for step in range(8)]
    written.instruments = [piano]
    path.parent.mkdir(exist_ok=True)
    midi.write(written, path)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of a test of two prompts and five arms."""
    folder = tmp_path_factory.mktemp("study")
    museformer().save_pretrained(folder / "model")
    bridge().save_pretrained(folder / "bridge")
    rows = [{"id": name, "text": text} for name, text in (("a", "雪"), ("b", HOSTILE))]
    (folder / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for number, name in enumerate("ab"):
        song(folder / "rival" / f"{name}-0.mid", 60 + number, 30)
        song(folder / "songs" / f"song{number}.mid", 48 + number, 120)
    assert make(folder) == 0
    return folder


def make(folder, *more):
    arms = ["--songs", folder / "songs", "--rival", f"rival={folder / 'rival'}"]
    models = ["--model", folder / "model", "--bridge", folder / "bridge", "--bars", 1, "--seconds", 3]
    arguments = ["--prompts", folder / "prompts.jsonl", "--output", folder / "out", *arms, *models, *more]
    return main(["evaluate", "listening", *map(str, arguments)])


def content(folder):
    page = (folder / "out" / "listening.html").read_text("utf-8")
    return page, json.loads(re.search(r'id="data">(.*?)</script>', page)[1])


def test_every_prompt_is_heard_in_every_arm_and_the_page_does_not_tell_which(study):
    page, data = content(study)
    key = json.loads((study / "out" / "key.json").read_text())
    assert {(item["prompt"], item["arm"]) for item in key["items"].values()} == {(p, a) for p in "ab" for a in ARMS}
    assert [item["code"] for item in data["items"]] == list(key["items"])
    texts = {"a": "雪", "b": HOSTILE}
    assert all(item["text"] == texts[key["items"][item["code"]]["prompt"]] for item in data["items"])
    rows = zip(data["items"], key["items"].values(), strict=True)
    heard = {(row["prompt"], row["arm"]): item["sounds"][0] for item, row in rows}
    assert [heard[prompt, "other prompt"] for prompt in "ab"] == [heard[prompt, "text"] for prompt in "ba"]
    assert len(set(heard.values())) == len(data["sounds"]) == 8
    for code, pair in key["pairs"].items():
        shown = next(one for one in data["pairs"] if one["code"] == code)
        assert shown["sounds"] == [heard[pair["prompt"], pair[side]] for side in ("left", "right")]
        assert "text" in {pair["left"], pair["right"]}
    told = re.sub(r"base64,[^\"]*", "", page)
    assert not [arm for arm in ARMS - {"text"} if arm in told]
    assert HOSTILE not in page
    assert not re.search(r"https?://", told)


def test_all_is_heard_at_one_loudness(study):
    _, data = content(study)
    levels = []
    for sound in data["sounds"]:
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound.partition(",")[2])), always_2d=True)
        assert len(samples) <= 3.1 * rate
        levels.append(loudness(samples, rate))
    assert max(levels) - min(levels) < 0.5


def test_what_would_be_clipped_makes_all_the_others_softer():
    names = [Path(name) for name in "abc"]
    gains = levelled(dict(zip(names, (-30.0, -20.0, float("-inf")), strict=True)), dict.fromkeys(names, 0.9))
    assert gains[names[0]] == pytest.approx(10 ** (-1 / 20) / 0.9)
    assert gains[names[0]] / gains[names[1]] == pytest.approx(10 ** (10 / 20))
    assert gains[names[2]] == 1


def test_the_same_command_makes_the_same_test(study):
    before = (study / "out" / "key.json").read_bytes()
    assert make(study) == 0
    assert (study / "out" / "key.json").read_bytes() == before


def test_another_test_does_not_take_the_key_of_one_that_was_sent(study, capsys):
    before = (study / "out" / "key.json").read_bytes()
    assert make(study, "--seconds", 2) == 2
    assert "key.json must stay" in capsys.readouterr().err
    assert (study / "out" / "key.json").read_bytes() == before


def test_pieces_are_heard_by_their_own_players_in_their_own_metre(study, tmp_path, monkeypatch):
    rows = [{"id": "a", "text": "中国风"}, {"id": "b", "text": "a waltz"}]
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for name in ("model", "bridge"):
        (tmp_path / name).symlink_to(study / name)
    for number, name in enumerate("ab"):
        waltz(tmp_path / "rival" / f"{name}-0.mid", 60 + number)
        waltz(tmp_path / "songs" / f"song{number}.mid", 72 + number)
    heard = {}
    monkeypatch.setattr(pages, "sounds", lambda pieces, _: heard.update(pieces) or dict.fromkeys(pieces, Sound("", 1)))
    assert make(tmp_path, "--bars", 2) == 0
    for path, piece in heard.items():
        own, played = ([(t.program, t.is_drum, t.notes) for t in of.instruments] for of in (midi.read(path), piece))
        assert played == own if path.parent != tmp_path / "songs" else {program for program, _, _ in played} == {80}
    asked = {path.stem: piece for path, piece in heard.items() if path.parent.name == "text"}
    assert any(track.program not in NAMES for track in asked["a-0"].instruments)
    metre = asked["b-0"].time_signature_changes[0]
    assert (metre.numerator, metre.denominator) == (3, 4)


def waltz(path, pitch):
    """A violin in 3/4."""
    written = MidiFile(ticks_per_beat=480)
    written.time_signature_changes = [TimeSignature(3, 4, 0)]
    written.instruments = [Instrument(40, name="melody")]
    written.instruments[0].notes = [Note(80, pitch + beat % 5, 480 * beat, 480 * beat + 480) for beat in range(24)]
    path.parent.mkdir(exist_ok=True)
    midi.write(written, path)


def answer_sheet(study, name, rate, choose):
    key = json.loads((study / "out" / "key.json").read_text())
    rated = [(code, item, question) for code, item in key["items"].items() for question in ("fit", "music")]
    rows = [(key["study"], name, code, question, rate(item, question)) for code, item, question in rated]
    rows += [(key["study"], name, code, "better", choose(pair)) for code, pair in key["pairs"].items()]
    path = study / f"{name}.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("study", "listener", "item", "question", "answer"), *rows])
    return path


def text_side(pair):
    return "left" if pair["left"] == "text" else "right"


def test_answers_become_means_preferences_and_agreement(study):
    ratings = {"text": 6, "other prompt": 2, "no plan": 3, "real song": 5, "rival": 4}
    sheets = [
        answer_sheet(study, f"l{n}", lambda item, q, n=n: ratings[item["arm"]] + (n if q == "music" else 0), text_side)
        for n in (0, 1)
    ]
    collect = ["evaluate", "listening", "--output", str(study / "out"), "--collect", *map(str, sheets)]
    assert main([*collect, str(sheets[0])]) == 0
    found = json.loads((study / "out" / "results.json").read_text())
    assert (found["listeners"], found["answers"]) == (2, 44)
    for arm, rating in ratings.items():
        assert found["arms"][arm]["fit"] == {"mean": rating, "low": rating, "high": rating, "answers": 4}
        assert found["arms"][arm]["music"]["mean"] == rating + 0.5
    assert found["alpha"]["fit"] == 1
    assert 0 < found["alpha"]["music"] < 1
    assert all(row["mean"] == 1 for row in found["preferred"].values())
    page = (study / "out" / "report.md").read_text()
    assert "| text | 6.00 [6.00 6.00], 4 |" in page


def test_other_answers_of_one_listener_are_refused(study, tmp_path, capsys):
    sheet = answer_sheet(study, "l7", lambda *_: 4, text_side)
    (tmp_path / "l7 (1).csv").write_text(sheet.read_text().replace(",fit,4", ",fit,5", 1))
    tables = [str(tmp_path / "l7 (1).csv"), str(sheet)]
    assert main(["evaluate", "listening", "--output", str(study / "out"), "--collect", *tables]) == 2
    assert f"{sheet} has other answers of l7 than {tables[0]}: leave one out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("study", "another"), "must be of the test"),
        (("answer", "8"), "must be an answer of the page, received 'fit'"),
        (("item", "=1+1"), "must be an answer of the page"),
        (("question", "<b>"), "must be an answer of the page"),
    ],
)
def test_answers_to_something_else_are_refused(change, reason, study, tmp_path, capsys):
    sheet = answer_sheet(study, "l9", lambda *_: 4, text_side)
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0][change[0]] = change[1]
    with (tmp_path / "bad.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "none.csv").write_bytes(b"\x89PNG\r\n\xff")
    tables = [str(tmp_path / "bad.csv"), str(tmp_path / "none.csv")]
    assert main(["evaluate", "listening", "--output", str(study / "out"), "--collect", *tables]) == 2
    said = capsys.readouterr().err
    assert f"bad.csv: line 2: {reason}" in said
    assert "none.csv: must be a table" in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--prompts", "p", "--collect", "x.csv"], "give either --prompts"),
        (["--collect", "x.csv"], "key.json must be there"),
        (["--prompts", "one.txt"], "at least 2 prompts"),
        (["--prompts", "two.txt", "--rival", "text=few"], "names of arms must differ"),
        (["--prompts", "two.txt", "--rival", "x=few"], "must have 2 MIDI files, one a prompt, but has 1"),
        (["--prompts", "two.txt", "--rival", "x=named"], "has none for snow"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_composed(arguments, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("one.txt").write_text("rain\n")
    Path("two.txt").write_text('{"id": "rain", "text": "rain"}\n{"id": "snow", "text": "snow"}\n')
    song(tmp_path / "few" / "x.mid", 60, 60)
    song(tmp_path / "named" / "rain.mid", 60, 60)
    assert main(["evaluate", "listening", "--output", "out", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_listener_answers_all_of_it_in_a_browser(study, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        names = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
        found = next(filter(None, map(shutil.which, names)), None) or driver.chromium.executable_path
        if not Path(found).exists():
            assert not os.environ.get("CI"), "these tests must run in CI, but there is no Chromium"
            pytest.skip("no Chromium: apt-get install chromium, or python -m playwright install chromium")
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        context = browser.new_context(locale="zh-CN")
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: wrong.append(asked.url) if asked.url.startswith("http") else None)
        page.goto((study / "out" / "listening.html").as_uri())
        assert "请尽量戴耳机" in page.inner_text("main")
        page.click("#language")
        assert "Use headphones if you can" in page.inner_text("main")
        page.click("#next")
        for step in range(10 + 2):
            sounds = page.locator("audio")
            assert page.locator(".scale button").first.is_disabled()
            for number in range(sounds.count()):
                sounds.nth(number).evaluate("player => player.play()")
                page.wait_for_function(f"() => document.querySelectorAll('audio')[{number}].currentTime > 0")
            for question in ("fit", "music") if step < 10 else ("better",):
                page.click(f'[data-answer="{question} {"left" if question == "better" else 5}"]')
            if step == 4:
                page.reload()
            page.click("#next")
        with page.expect_download() as saved:
            page.click("#save")
        saved.value.save_as(tmp_path / "answers.csv")
        browser.close()
    assert wrong == []
    collect = ["evaluate", "listening", "--output", str(study / "out"), "--collect"]
    assert main([*collect, str(tmp_path / "answers.csv")]) == 0
    result = json.loads((study / "out" / "results.json").read_text())
    assert (result["listeners"], result["answers"]) == (1, 22)
    assert all(arm[question]["mean"] == 5 for arm in result["arms"].values() for question in ("fit", "music"))
