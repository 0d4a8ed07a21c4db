import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from miditoolkit import MidiFile
from PIL import Image
from render.tracks import PIANO, bars, piece

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.render import fonts, pictures
from fairseq_meloformer.render.pictures import piano_roll
from fairseq_meloformer.render.roll import DRUM_COLOUR, FAMILIES

GUITAR = 24


def draw(midi, tmp_path, title=""):
    """Pixels (height, width, 3) in [0, 1]."""
    path = tmp_path / "piece.png"
    piano_roll(midi, path, title)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")) / 255


def pixels_of(image, colour, velocity):
    """How many pixels have the colour of a note of this velocity."""
    opacity = 0.25 + 0.75 * velocity / 127
    face = np.array(to_rgb(colour)) * opacity + 1 - opacity
    return int((np.abs(image - face).max(axis=2) < 0.006).sum())


def test_each_family_has_its_colour(tmp_path):
    image = draw(piece((PIANO, [(0, 4, 60, 100)]), (GUITAR, [(0, 4, 67, 100)])), tmp_path)
    assert pixels_of(image, FAMILIES[0], 100) > 1000
    assert pixels_of(image, FAMILIES[3], 100) > 1000
    assert pixels_of(image, FAMILIES[5], 100) == 0


def test_loud_notes_are_darker(tmp_path):
    image = draw(piece((PIANO, [(0, 2, 60, 30), (2, 4, 60, 120)])), tmp_path)
    assert pixels_of(image, FAMILIES[0], 30) > 1000
    assert pixels_of(image, FAMILIES[0], 120) > 1000


@pytest.mark.parametrize("reverse", [False, True])
def test_a_unison_shows_both_instruments(tmp_path, reverse):
    tracks = [(PIANO, [(0, 4, 60, 100)]), (GUITAR, [(0, 4, 60, 100)])]
    image = draw(piece(*tracks[:: -1 if reverse else 1]), tmp_path)
    assert pixels_of(image, FAMILIES[0], 100) > 1000
    assert pixels_of(image, FAMILIES[3], 100) > 1000


def test_drums_have_lanes_of_their_own(tmp_path):
    piano = (PIANO, [(0, 1, 60, 100)])
    without = draw(piece(piano), tmp_path)
    beaten = draw(piece(piano, ("drums", [(0, 1, 36, 100), (1, 2, 38, 100)])), tmp_path)
    assert beaten.shape[0] > without.shape[0]
    assert pixels_of(beaten, DRUM_COLOUR, 100) > 100


def test_a_long_piece_goes_down_the_page_and_not_beyond_its_edge(tmp_path):
    height, width, _ = draw(bars(100), tmp_path).shape
    assert width < 2000
    assert height > 1000


def test_a_note_over_the_end_of_a_system_is_drawn_in_both(tmp_path):
    both = draw(piece((PIANO, [(0, 1, 60, 1), (40, 56, 60, 100), (92, 93, 60, 1)])), tmp_path)
    half = both.shape[0] // 2
    assert pixels_of(both[:half], FAMILIES[0], 100) > 1000
    assert pixels_of(both[half:], FAMILIES[0], 100) > 1000


def test_the_title_is_drawn_in_chinese(tmp_path):
    if len(fonts.typefaces()) == 1:
        pytest.skip("no font with Chinese characters is installed")
    storm, meteors, empty = (draw(bars(4), tmp_path, title) for title in ("暴风雨", "流星雨", ""))
    assert storm.shape == meteors.shape
    assert (storm != meteors).any()
    assert storm.shape[0] > empty.shape[0]


def test_without_a_chinese_font_the_rest_of_the_title_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "CHINESE", ())
    fonts.typefaces.cache_clear()
    try:
        assert fonts.printable("暴风雨 storm") == "storm"
        draw(bars(4), tmp_path, "暴风雨 storm")
        draw(bars(4), tmp_path, "暴风雨")
    finally:
        fonts.typefaces.cache_clear()


def test_a_prompt_is_text_and_not_mathematics(tmp_path):
    draw(bars(4), tmp_path, r"$\frac{1$ costs 5$ & 100 % _of_ {it}")


@pytest.mark.parametrize("letter", ["m", "W", "雨"])
def test_a_long_title_ends_before_the_edge(tmp_path, letter):
    image = draw(bars(4), tmp_path, letter * 300)
    assert (image[:70, -20:] == image[0, 0]).all()


def test_pieces_without_notes_or_without_pitches_can_be_drawn(tmp_path):
    assert draw(MidiFile(), tmp_path).size
    assert draw(piece(("drums", [(0, 1, 36, 100)])), tmp_path).size
    assert draw(piece((PIANO, [(0, 0, 0, 100), (1, 1, 127, 1)])), tmp_path).size


def test_a_velocity_that_midi_does_not_have_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="velocity"):
        piano_roll(piece((PIANO, [(0, 1, 60, 200)])), tmp_path / "piece.png")
    assert not list(tmp_path.iterdir())


def test_pyplots_global_state_is_not_touched(tmp_path):
    code = f"import sys, miditoolkit, {pictures.__name__} as p; p.piano_roll(miditoolkit.MidiFile(), sys.argv[1])"
    check = "; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code + check, tmp_path / "piece.png"], check=True)
