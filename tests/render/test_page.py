"""Pages of pieces: what is in them is the piece, and nothing gets out of the text."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from miditoolkit import Instrument, MidiFile, Note, TempoChange

from fairseq_meloformer.midi import smf
from fairseq_meloformer.midi.notes import notes
from fairseq_meloformer.midi.writing import playable, written
from fairseq_meloformer.render import audio, page

HOSTILE = """</script><script>alert("1")</script>'"><img src=x onerror=alert(2)> {{data}} \u2028 暴风雨 & so on"""
TOLD = {"understood": ["tempo 90", HOSTILE], "not_kept": [], "seed": 7}


def piece():
    midi = MidiFile(ticks_per_beat=480)
    midi.tempo_changes = [TempoChange(60, 0), TempoChange(120, 960)]
    lead, drums = Instrument(73, name="flute"), Instrument(0, is_drum=True, name="drums")
    lead.notes = [Note(90, 72, 0, 480), Note(60, 74, 960, 1440)]
    drums.notes = [Note(100, 36, 480, 600)]
    midi.instruments = [lead, drums]
    return midi


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "new" / "piece.html"
    midi = piece()
    assert page.write(path, midi, written(midi), HOSTILE, TOLD) == audio.can_render()
    return path.read_text("utf-8")


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "action"} or name.startswith("on")]


def data(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_notes_of_the_page_are_those_of_the_midi(text):
    found = data(text)
    file = smf.Song(base64.b64decode(found["midi"].partition(",")[2]))
    played = notes(playable(file.midi()))
    assert [note[2:4] for note in found["notes"]] == np.stack([played.pitch, played.velocity], 1).tolist()
    # A quarter lasts 1 s, and from the third on half of one.
    assert [note[:2] for note in found["notes"]] == [[0, 1], [1, 1.25], [2, 2.5]]
    assert [found["voices"][note[4]]["en"] for note in found["notes"]] == ["flute", "drums", "flute"]
    assert [note[5] for note in found["notes"]] == [-1, 0, -1]
    assert found["bars"] == [0, 3]


def test_a_hostile_text_is_text(text):
    found = data(text)
    assert found["title"] == found["understood"][1] == HOSTILE
    seen = Elements(text)
    assert seen.tags.count("script") == 2
    assert "img" not in seen.tags
    assert "<title>&lt;/script&gt;" in text


def test_nothing_is_asked_from_anywhere(text):
    assert Elements(text).addresses == ["data:,"]
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|//\w+\.\w+/|fetch\(|XMLHttpRequest|import\b", re.sub(r"base64,[^\"]*", "", text))


@pytest.mark.skipif(not audio.can_render(), reason="there is no synthesiser for this platform")
def test_its_sound_is_the_piece(text):
    sound = base64.b64decode(data(text)["sound"].partition(",")[2])
    samples, rate = soundfile.read(io.BytesIO(sound))
    wanted = np.concatenate(list(audio.heard(piece())))
    assert rate == audio.RATE
    assert len(samples) == pytest.approx(len(wanted), abs=2304)
    assert np.corrcoef(samples[: len(wanted), 0], wanted[: len(samples), 0])[0, 1] > 0.99
    assert len(sound) < 30_000 * len(wanted) / rate
