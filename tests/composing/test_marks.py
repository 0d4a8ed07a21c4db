import mido
import pytest
from miditoolkit import Instrument, MidiFile, Note, TempoChange

from fairseq_meloformer.composing.marks import marked
from fairseq_meloformer.composing.parts import Part
from fairseq_meloformer.composing.piece import Piece
from fairseq_meloformer.words.prompts import Request
from fairseq_meloformer.words.timeline import read_timeline
from fairseq_meloformer.words.wishes import Wishes


def song(*tempi, bars=8):
    """A song in C major with tempo changes at bars, from 0."""
    made = MidiFile()
    made.instruments = [Instrument(0)]
    scale = (60, 62, 64, 65, 67, 69, 71, 72)
    made.instruments[0].notes = [Note(90, scale[n % 8], 480 * n, 480 * n + 400) for n in range(4 * bars)]
    made.tempo_changes = [TempoChange(tempo, 1920 * bar) for bar, tempo in tempi]
    return made


def tempi(midi):
    return [(change.time / 1920, change.tempo) for change in midi.tempo_changes]


def part(first, last, **asked):
    asked = Wishes(**asked)
    return Part(first, last, {}, asked, asked.tempo)


@pytest.mark.parametrize(
    ("written", "parts", "expected"),
    [
        ([(0, 121.0)], [part(0, None, tempo=120.0)], [(0, 120)]),
        ([(0, 121.0)], [part(0, None)], [(0, 121)]),
        ([(0, 121.0)], [part(0, 4, tempo=118.0), part(4, None, tempo=122.0)], [(0, 118), (4, 122)]),
        ([(0, 121.0)], [part(0, 4, tempo=120.0), part(4, None)], [(0, 120), (4, 121)]),
        ([(0, 90.0), (4, 121.0)], [part(0, 4), part(4, None, tempo=119.5)], [(0, 90), (4, 119.5)]),
        ([(0, 90.0), (2, 95.0), (4, 60.0)], [part(0, 4, tempo=102.25), part(4, 8)], [(0, 102.25), (4, 60)]),
        ([(0, 121.0)], [part(0, 8), part(8, 16, tempo=60.0)], [(0, 121)]),
    ],
)
def test_a_tempo_that_was_asked_for_is_the_one_that_is_written(written, parts, expected):
    midi = song(*written)
    assert tempi(marked(midi, (), parts)) == expected
    assert tempi(midi) == written


def test_sections_are_marked_with_their_texts_at_their_bars():
    sections = read_timeline("1-3: 宁静的早晨 | 4-8: storm | 9-12: calm")
    markers = marked(song((0, 120.0)), sections).markers
    assert [(marker.text, marker.time / 1920) for marker in markers] == [("宁静的早晨", 0), ("storm", 3)]


def test_the_key_is_the_one_that_was_asked_for_or_else_the_measured_one():
    def key(*parts):
        return [change.key_name for change in marked(song((0, 120.0)), (), parts).key_signature_changes]

    assert key() == ["C"]
    assert key(part(0, None, key="Eb minor")) == ["Ebm"]
    silent = MidiFile()
    assert marked(silent, ()).key_signature_changes == []


@pytest.mark.parametrize(
    ("request_", "seed"),
    [(Request("暴风雨", seed=7), "seed 7"), (Request("暴风雨", 9, given_seed=7), "seed 7, of this piece 9")],
)
def test_the_first_text_says_the_prompt_and_the_seed(tmp_path, request_, seed):
    piece = Piece(request_, [], marked(song((0, 120.0)), ()))
    piece.save(tmp_path / "storm.mid")
    texts = [m for m in mido.MidiFile(tmp_path / "storm.mid", charset="utf-8").tracks[0] if m.type == "text"]
    assert texts[0].text == f"暴风雨\n{seed}"
