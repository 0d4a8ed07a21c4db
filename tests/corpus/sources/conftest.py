"""Small songs and prepared data for the sources of captions."""

import argparse
import json
from random import Random

import pytest
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import midi
from fairseq_meloformer.corpus import prepare
from fairseq_meloformer.corpus.sources import command

TICKS = 480


@pytest.fixture(scope="session")
def write_song():
    """Writes a melody over piano and drums, 4/4 at 120 qpm: two seconds a bar; no two seeds give one content."""

    def write(path, seed=0, bars=8):
        rng = Random(seed)
        song = MidiFile(ticks_per_beat=TICKS)
        song.tempo_changes = [TempoChange(120, 0)]
        song.time_signature_changes = [TimeSignature(4, 4, 0)]
        lead, piano, drums = Instrument(80, name="melody"), Instrument(0), Instrument(0, is_drum=True)
        song.instruments = [lead, piano, drums]
        for at in range(0, bars * 4 * TICKS, TICKS):
            lead.notes.append(Note(rng.randint(40, 110), rng.randint(65, 84), at, at + TICKS))
            piano.notes += [Note(70, pitch, at, at + TICKS) for pitch in (48 + seed % 5, 55, 60)]
            drums.notes.append(Note(90, 36, at, at + 60))
        path.parent.mkdir(parents=True, exist_ok=True)
        midi.write(song, path)

    return write


@pytest.fixture(scope="session")
def prepared():
    """Runs `meloformer prepare`."""

    def run(source, data, *flags):
        parser = argparse.ArgumentParser()
        prepare.add_arguments(parser)
        arguments = parser.parse_args([str(source), "--output", str(data), "--workers", "1", *map(str, flags)])
        assert prepare.run(arguments) == 0

    return run


@pytest.fixture
def caption(capsys):
    """Runs `meloformer caption`; its exit status and what it printed."""

    def run(*flags):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        status = command.run(parser.parse_args(list(map(str, flags))))
        return status, capsys.readouterr().out

    return run


@pytest.fixture(scope="session")
def lines():
    """Reads and writes JSONL."""

    def read_or_write(path, rows=None):
        if rows is not None:
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    return read_or_write
