"""The page in a real browser: composing, hearing, changing, hostile files, visitors, nothing from elsewhere."""

import base64
import json
import os
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fairseq_meloformer import studio as studio_room
from fairseq_meloformer.words.beyond import FILE
from fairseq_meloformer.words.notation import METRES
from fairseq_meloformer.words.scenes import read_yaml

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
HOSTILE = "<img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, BROWSERS)), None) or driver.chromium.executable_path
        if not Path(found).exists():
            assert not os.environ.get("CI"), "these tests must run in CI, but there is no Chromium"
            pytest.skip("no Chromium: apt-get install chromium, or python -m playwright install chromium")
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = driver.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, studio):
    """Opens the page for another visitor; at the end none has seen an error or asked for anything elsewhere."""
    contexts, wrong = [], []

    def visitor(locale="en-GB", path="/", **options):
        context = browser.new_context(locale=locale, **{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda asked: wrong.append(asked.url) if not at_home(asked.url, studio) else None)
        page.goto(studio + path)
        page.wait_for_selector("body[data-ready]")
        return page

    yield visitor
    for context in contexts:
        context.close()
    assert wrong == []


def at_home(url, studio):
    return urlsplit(url).scheme in {"data", "blob"} or url.startswith(studio + "/")


def compose(page, text, bars, count=1, seed=5):
    """Compose, and wait for the pieces."""
    page.fill("#text", text)
    for name, value in (("bars", bars), ("count", count), ("seed", seed)):
        page.fill(f"#{name}", str(value))
    page.click("#compose")
    ready(page)


def ready(page):
    page.wait_for_selector("#cancel", state="visible")
    page.wait_for_selector("#cancel", state="hidden")
    assert page.is_hidden("#error"), page.text_content("#error")


def until(page, condition, seconds=30):
    """Wait; the page's own policy forbids the `wait_for_function` of playwright, which evaluates a text."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def notes(page):
    """Notes of the piece that is shown: begin, length, pitch, velocity."""
    return page.evaluate("studio.current().tracks.flatMap((track) => track.notes).sort()")


def loudest(page, seconds):
    """The loudest moment of the next seconds."""
    levels, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        levels.append(page.evaluate("studio.player.level"))
        page.wait_for_timeout(40)
    return max(levels)


def test_a_sentence_is_composed_played_and_muted(visit):
    page = visit()
    assert page.inner_text("#compose") == "Compose"
    compose(page, "storm, loud, piano", 2, count=2)
    assert page.inner_text("#tabs .title") == "storm, loud, piano"
    assert page.locator("#tabs [role=tab]").count() == 2
    page.click("#play")
    until(page, "studio.player.playing && studio.player.position > 0.3")
    assert loudest(page, 0.5) > 1e-3
    first, clock = page.evaluate("[studio.player.position, studio.player.context.currentTime]")
    page.wait_for_timeout(300)
    second, later = page.evaluate("[studio.player.position, studio.player.context.currentTime]")
    assert later > clock
    assert second > first
    for mute in page.locator("#tracks button:first-of-type").all():
        mute.click()
    page.wait_for_timeout(600)
    assert page.evaluate("studio.player.playing")
    assert loudest(page, 0.3) < 1e-3
    page.locator("#tracks button:nth-of-type(2)").first.click()  # alone, it is heard in spite of being muted
    page.evaluate("studio.player.seek(0)")
    assert loudest(page, 1) > 1e-3
    page.keyboard.press("Space")
    assert not page.evaluate("studio.player.playing")
    page.locator("#roll").click(position={"x": page.locator("#roll").bounding_box()["width"] / 2, "y": 200})
    assert page.evaluate("studio.player.position / studio.player.length") == pytest.approx(0.5, abs=0.02)
    shown = page.evaluate("studio.roll.second(studio.roll.canvas.clientWidth) - studio.roll.second(0)")
    page.click("#zoom-in")
    closer = page.evaluate("studio.roll.second(studio.roll.canvas.clientWidth) - studio.roll.second(0)")
    assert closer == pytest.approx(shown / 1.6)


def test_all_that_nothing_here_can_do_is_refused_in_the_language_of_the_page():
    words = (Path(studio_room.__file__).parent / "web" / "words.js").read_text(encoding="utf-8")
    assert [kind for kind in read_yaml(FILE)["kinds"] if f'["{kind}", "' not in words] == []


def test_it_speaks_chinese_and_the_first_bar_is_there_while_the_rest_is_written(visit):
    page = visit("zh-CN")
    assert page.inner_text("#compose") == "作曲"
    page.fill("#text", "暴风雨，80 bpm，古筝，渐快，9/16")
    page.wait_for_selector("#understood >> text=筝")
    page.wait_for_selector("#understood .warn")
    assert page.locator("#understood .warn").all_inner_texts() == [
        f"做不到：9/16（拍号只能是 {', '.join(METRES)}）",
        "做不到：渐快（速度不能渐变）",
    ]
    page.fill("#bars", "4")
    page.fill("#count", "1")
    page.click("#compose")
    until(page, "studio.current()?.growing && studio.current().tracks[0].notes.length > 0")
    assert page.evaluate("studio.current().lines.length - 1") < 4
    page.click("#play")
    until(page, "studio.player.position > 0.2")
    page.wait_for_selector("#cancel", state="hidden")
    assert page.evaluate("studio.current().lines.length - 1") == 4
    assert page.evaluate("studio.player.playing")
    page.click("#language")
    assert page.inner_text("#compose") == "Compose"


def test_dragged_bars_are_written_anew_and_it_is_undone_and_redone(visit):
    page = visit()
    compose(page, "calm piano", 4)
    before = notes(page)
    box = page.locator("#roll").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 150, steps=4)
    page.mouse.up()
    assert [page.input_value("#first"), page.input_value("#last")] == ["3", "4"]
    page.click("#again")
    ready(page)
    third = page.evaluate("studio.current().lines[2]")
    after = notes(page)
    assert after != before
    assert page.evaluate("[studio.roll.selection, studio.player.position]") == [[3, 4], pytest.approx(third, abs=0.01)]
    assert [note for note in after if note[0] < third - 0.01] == [note for note in before if note[0] < third - 0.01]
    page.click("#undo")
    assert notes(page) == before
    page.click("#redo")
    assert notes(page) == after
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert notes(page) == after


def test_chips_and_blocks_change_the_sentence(visit):
    page = visit()
    page.fill("#text", "calm, 80 bpm")
    tempo = page.locator("#understood input")
    until(page, "document.querySelector('#understood input')?.value === '80'")
    tempo.fill("132")
    tempo.press("Tab")
    until(page, "document.querySelector('#text').value === 'calm, 132 bpm'")
    page.click("#blocks-toggle")
    page.locator("#blocks textarea").nth(1).fill("storm")
    assert page.input_value("#text") == "1-4: calm, 132 bpm | 5-8: storm"
    until(page, "document.querySelector('#bars').disabled")


def test_blocks_chips_and_the_sentence_change_one_another(visit):
    page = visit()
    page.fill("#text", "calm")
    page.click("#blocks-toggle")  # the sentence is read first
    block, tempo = page.locator("#blocks textarea"), page.locator("#understood input")
    block.nth(1).fill("storm, flute")
    page.wait_for_selector("#understood >> text=flute")
    tempo.fill("132")
    tempo.press("Tab")
    until(page, "document.querySelector('#blocks textarea').value === 'calm, 132 bpm'")
    block.nth(1).fill("rain")
    assert page.input_value("#text") == "1-4: calm, 132 bpm | 5-8: rain"
    page.fill("#text", "1-2: dawn | 3-8: rain")
    until(page, "document.querySelector('#blocks textarea').value === 'dawn'")


def test_a_sentence_is_read_before_it_is_composed(visit):
    page = visit()
    page.route("**/compose", lambda route: route.abort())
    with page.expect_request("**/compose") as asked:
        page.evaluate("""() => {
            const text = document.querySelector("#text");
            text.value = "calm, 24 bars";
            text.dispatchEvent(new Event("input", { bubbles: true }));
            document.querySelector("#compose").click();
        }""")
    assert asked.value.post_data_json["text"] == "calm, 24 bars"
    assert "bars" not in asked.value.post_data_json


def test_bars_are_written_anew_as_the_form_says(visit):
    page = visit()
    compose(page, "calm", 1)
    page.fill("#axes input[data-axis=loudness]", "-1")
    page.click("#advanced summary")
    page.fill("#temperature", "1.3")
    page.fill("#best_of", "2")
    with page.expect_request("**/compose") as asked:
        page.click("#again")
    ready(page)
    said = asked.value.post_data_json
    assert [said["axes"], said["temperature"]] == [{"loudness": -1}, 1.3]
    assert not {"best_of", "transpose"} & said.keys()


def test_a_track_stays_muted_while_others_enter_before_it(visit):
    page = visit()
    heard = page.evaluate("""() => {
        const track = (program) => ({ program, drums: false, notes: [] });
        const load = (growing, ...programs) =>
            studio.player.load({ key: "a", growing, lines: [0, 1], tracks: programs.map(track) });
        load(true, 0, 0);
        studio.player.toggle(studio.player.muted, 1);
        load(true, 73, 0, 0);
        load(false, 73, 0, 0);
        return [0, 1, 2].map((index) => studio.player.hears(index));
    }""")
    assert heard == [True, True, False]


def test_a_player_without_a_soundfont_leaves_nothing_open(visit):
    page = visit()
    page.route("**/soundfont", lambda route: route.fulfill(status=404, json={"error": "none is installed"}))
    page.evaluate("""async () => {
        const made = (studio.made = []);
        window.AudioContext = class extends AudioContext {
            constructor() {
                super();
                made.push(this);
            }
        };
        for (const _ of [1, 2]) await studio.player.open().catch(() => {});
    }""")
    until(page, "studio.made.length === 2 && studio.made.every(({ state }) => state === 'closed')")


def test_hostile_files_and_sentences_run_no_script(visit, tmp_path):
    page = visit()
    (tmp_path / "bad.mid").write_bytes(b"MThd" + b"\xff" * 40)
    page.set_input_files("#file", tmp_path / "bad.mid")
    page.wait_for_selector("#error", state="visible")
    compose(page, HOSTILE, 1)
    with page.expect_download() as download:
        page.click("#take a >> nth=0")
    page.set_input_files(
        "#file",
        {"name": f"{HOSTILE}.mid", "mimeType": "audio/midi", "buffer": download.value.path().read_bytes()},
    )
    until(page, "studio.current().made.length === 0")
    assert page.inner_text("#tabs .title") == f"{HOSTILE}.mid"
    assert page.locator("img").count() == 0
    assert page.title() == "MeloFormer"


def test_two_visitors_wait_for_one_another_and_whoever_cancels_makes_room(visit):
    one, other = visit(), visit("zh-CN")
    one.fill("#text", "a long march")
    one.fill("#bars", "32")
    one.fill("#count", "1")
    one.click("#compose")
    until(one, "studio.current()")
    other.fill("#text", "流星雨")
    other.fill("#bars", "1")
    other.click("#compose")
    other.wait_for_selector("#progress >> text=前面还有 1 个")
    one.click("#cancel")
    one.wait_for_selector("#welcome", state="visible")
    until(other, "studio.current()?.id")
    assert other.inner_text("#tabs .title") == "流星雨"
    assert one.is_hidden("#error")


def test_a_link_gives_the_same_piece_again(visit):
    page = visit()
    compose(page, "江南烟雨", 1)
    link = urlsplit(page.get_attribute("#take a:last-child", "href"))
    other = visit(path=f"/#{link.fragment}")
    assert other.input_value("#text") == "江南烟雨"
    other.click("#compose")
    ready(other)
    assert notes(other) == notes(page)


@pytest.mark.parametrize(
    "ask",
    [
        lambda page: page.fill("#bars", "3"),
        lambda page: page.fill("#axes input >> nth=0", "1"),
        lambda page: page.select_option("#understood select >> nth=0", "D minor"),
        lambda page: page.click("#welcome .chip >> nth=0"),
        lambda page: page.click("#dice"),
        lambda page: page.click("#blocks-toggle"),
    ],
    ids=["bars", "slider", "key", "example", "seed", "blocks"],
)
def test_whatever_is_asked_after_a_link_takes_the_place_of_what_it_brought(visit, ask):
    steps = base64.b64encode(json.dumps([{"text": "calm", "bars": 1}]).encode()).decode()
    page = visit(path=f"/#{steps}")
    page.click("#language")
    page.click("#language")
    assert page.inner_text("#compose") == "Compose the shared piece"
    ask(page)
    until(page, "document.querySelector('#compose').textContent === 'Compose'")


@pytest.mark.parametrize("texts", [["lively"], ["", "lively"]])
def test_a_recipe_makes_again_what_was_made_of_a_file(visit, texts):
    page = visit()
    compose(page, "calm", 1)
    with page.expect_download() as midi:
        page.click("#take a >> nth=0")
    file = {"name": "song.mid", "mimeType": "audio/midi", "buffer": midi.value.path().read_bytes()}
    page.set_input_files("#file", file)
    until(page, "studio.current().made.length === 0")
    page.fill("#added", "1")
    for text, button in zip(texts, ("#again", "#after"), strict=False):
        page.fill("#again-text", text)
        page.click(button)
        ready(page)
    with page.expect_download() as recipe:
        page.click("#take a[href$='.json']")
    other = visit()
    file = {"name": "song.json", "mimeType": "application/json", "buffer": recipe.value.path().read_bytes()}
    other.set_input_files("#file", file)
    other.wait_for_selector("#compose >> text=shared")
    other.click("#compose")
    ready(other)
    until(other, f"studio.current().made?.length === {len(texts)}")
    assert notes(other) == notes(page)


def test_it_fits_a_phone(visit):
    phone = {"viewport": {"width": 375, "height": 700}, "color_scheme": "dark"}
    page = visit(**phone)
    compose(page, "drums, bass, guitar, piano, strings, flute and a very long description of it", 1)
    pages = [page, visit(path="/api", **phone)]
    assert all(page.evaluate("document.documentElement.scrollWidth") <= 375 for page in pages)
