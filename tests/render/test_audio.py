import importlib.util
import wave

import numpy as np
import pytest
from miditoolkit import Instrument, MidiFile, Note, TempoChange

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi import files
from fairseq_meloformer.render import audio, pictures

needs_synthesiser = pytest.mark.skipif(
    importlib.util.find_spec("tinysoundfont") is None, reason="there is no tinysoundfont wheel for this platform"
)


def piece(*tracks, tempo=120.0):
    """Each track is (program or "drums", [(start, end, pitch, velocity) in quarters])."""
    midi = MidiFile(ticks_per_beat=480)
    midi.tempo_changes = [TempoChange(tempo, 0)]
    for program, notes in tracks:
        is_drum = program == "drums"
        instrument = Instrument(0 if is_drum else program, is_drum=is_drum)
        instrument.notes = [Note(v, p, round(480 * start), round(480 * end)) for start, end, p, v in notes]
        midi.instruments.append(instrument)
    return midi


def sound(midi, tmp_path):
    path = tmp_path / "piece.wav"
    assert audio.render(midi, path)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (44100, 2, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32768


def onset(samples):
    """Seconds until something is heard."""
    return np.argmax(np.abs(samples).max(axis=1) > 0.01) / audio.RATE


def loudness(samples):
    return np.sqrt((samples**2).mean())


@needs_synthesiser
@pytest.mark.parametrize(("pitch", "frequency"), [(69, 440.0), (57, 220.0), (81, 880.0)])
def test_a_note_sounds_at_its_frequency(tmp_path, pitch, frequency):
    samples = sound(piece((80, [(0, 8, pitch, 90)])), tmp_path)[: 4 * audio.RATE].mean(axis=1)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) / 4 == pytest.approx(frequency, rel=0.01)


def test_the_file_its_sound_and_its_picture_have_the_same_notes(tmp_path):
    held = (0, [(0, 4, 60, 100), (1, 2, 60, 100), (0, 1, 60, 80), (3, 4, 64, 90)])
    midi = piece((48, [(0, 4, 55, 90)]), held, (0, [(2, 4, 60, 110)]), ("drums", [(0, 1, 36, 99), (0.5, 3, 36, 99)]))
    files.write(midi, tmp_path / "song.mid")
    back = files.read(tmp_path / "song.mid")
    for name, song in (("a", midi), ("b", back)):
        pictures.piano_roll(song, tmp_path / f"{name}.png")
        audio.render(song, tmp_path / f"{name}.wav")
    assert len(files.notes(back)) == 7
    for made in tmp_path.glob("a.*"):
        assert made.read_bytes() == made.with_stem("b").read_bytes()


@needs_synthesiser
def test_louder_velocity_gives_a_louder_file(tmp_path):
    levels = [loudness(sound(piece((0, [(0, 4, 60, velocity)])), tmp_path)) for velocity in (30, 70, 110)]
    assert levels[0] * 1.5 < levels[1]
    assert levels[1] * 1.2 < levels[2]


@needs_synthesiser
def test_drums_are_not_a_piano(tmp_path):
    drums = sound(piece(("drums", [(0, 1, 42, 110)])), tmp_path)
    piano = sound(piece((0, [(0, 1, 42, 110)])), tmp_path)

    def brightness(samples):
        spectrum = np.abs(np.fft.rfft(samples[: audio.RATE // 2].mean(axis=1)))
        return (spectrum * np.arange(len(spectrum))).sum() / spectrum.sum()

    assert loudness(drums) > 0.001
    assert brightness(drums) > 3 * brightness(piano)  # a closed hi-hat against a low F sharp


@needs_synthesiser
def test_a_wall_of_sound_does_not_clip_and_keeps_its_headroom(tmp_path):
    chords = [(beat, beat + 1, pitch, 127) for beat in range(4) for pitch in range(40, 90, 2)]
    samples = sound(piece((48, chords), (56, chords), ("drums", [(b, b + 1, 36, 127) for b in range(4)])), tmp_path)
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)


@needs_synthesiser
def test_the_last_note_rings_on_and_fades_to_silence(tmp_path):
    samples = sound(piece((0, [(0, 2, 60, 100)])), tmp_path)  # released after one second
    assert len(samples) > 1.2 * audio.RATE
    assert np.abs(samples[-10:]).max() < 0.001


@needs_synthesiser
def test_time_follows_the_tempo_changes(tmp_path):
    midi = piece((0, [(4, 5, 60, 120)]))
    midi.tempo_changes = [TempoChange(60.0, 0), TempoChange(240.0, 2 * 480)]
    assert onset(sound(midi, tmp_path)) == pytest.approx(2 * 1 + 2 * 0.25, abs=0.02)


@needs_synthesiser
def test_time_runs_at_120_qpm_before_the_first_tempo(tmp_path):
    midi = piece((0, [(4, 5, 60, 120)]))
    midi.tempo_changes = [TempoChange(60.0, 2 * 480)]
    assert onset(sound(midi, tmp_path)) == pytest.approx(2 * 0.5 + 2 * 1, abs=0.02)


@needs_synthesiser
def test_more_tracks_than_midi_has_channels_are_all_heard(tmp_path):
    silent = [(0, []) for _ in range(20)]
    assert loudness(sound(piece(*silent, (0, [(0, 1, 60, 100)])), tmp_path)) > 0.001


@needs_synthesiser
def test_a_piece_without_notes_is_a_short_silence(tmp_path):
    samples = sound(piece(), tmp_path)
    assert len(samples) < audio.RATE
    assert not samples.any()


@needs_synthesiser
def test_two_renderings_are_equal(tmp_path):
    midi = piece((0, [(0, 1, 60, 100)]), (40, [(0.5, 2, 67, 80)]))
    np.testing.assert_array_equal(sound(midi, tmp_path), sound(midi, tmp_path))


@needs_synthesiser
@pytest.mark.parametrize("frames", [1000, 2205, 44100])
def test_a_long_piece_is_never_held_whole_and_how_it_is_cut_is_not_heard(tmp_path, monkeypatch, frames):
    midi = piece((0, [(0, 1, 60, 100), (20, 21, 64, 100)]), (48, [(0, 2, pitch, 127) for pitch in range(40, 90, 2)]))
    audio.render(midi, tmp_path / "whole.wav")
    monkeypatch.setattr(audio, "_PIECE", frames)
    blocks = list(audio.heard(midi))
    assert {len(block) for block in blocks[:-1]} == {frames}
    audio.render(midi, tmp_path / "cut.wav")
    assert (tmp_path / "cut.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.wav", "whole.wav"]


def test_a_long_rest_is_not_asked_for_at_once(monkeypatch):
    tinysoundfont = pytest.importorskip("tinysoundfont")
    asked, generate = [], tinysoundfont.Synth.generate
    monkeypatch.setattr(
        tinysoundfont.Synth, "generate", lambda synth, frames: asked.append(frames) or generate(synth, frames)
    )
    frames = sum(len(block) for block in audio.heard(piece((0, [(0, 1, 60, 100), (40, 41, 60, 100)]))))
    assert frames > 20 * audio.RATE
    assert sum(asked) == round(20.5 * audio.RATE) + 4 * audio.RATE
    assert max(asked) <= 1 << 18


@pytest.mark.parametrize("missing", ["tinysoundfont", "pretty_midi"])
def test_without_a_synthesiser_or_a_soundfont_there_is_a_hint_and_no_file(tmp_path, monkeypatch, caplog, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    audio._hint.cache_clear()
    try:
        assert not audio.render(piece(), tmp_path / "piece.wav")
        assert not audio.render(piece(), tmp_path / "piece.wav")
    finally:
        audio._hint.cache_clear()
    assert [record.message for record in caplog.records] == [audio.HINT]
    assert not list(tmp_path.iterdir())


@needs_synthesiser
def test_ones_own_soundfont_must_be_there_and_be_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MELOFORMER_SOUNDFONT", str(tmp_path / "none.sf2"))
    with pytest.raises(InputError, match=r"MELOFORMER_SOUNDFONT must name.*none\.sf2"):
        audio.render(piece(), tmp_path / "piece.wav")
    broken = tmp_path / "broken.sf2"
    broken.write_bytes(b"RIFF but no soundfont")
    monkeypatch.setenv("MELOFORMER_SOUNDFONT", str(broken))
    with pytest.raises(InputError, match=r"broken\.sf2 must be a General MIDI soundfont"):
        audio.render(piece((0, [(0, 1, 60, 100)])), tmp_path / "piece.wav")
