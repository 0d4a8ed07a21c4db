import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import midi
from fairseq_meloformer.corpus import prepare
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import read_jsonl, sole_writer
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.measures.tonality import transposed
from fairseq_meloformer.midi.six_tracks import merge_six_tracks
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.tokens.vocabulary import Vocabulary, general, published
from fairseq_meloformer.workers import cores

TICKS = 480


def song(seed: int, bars: int = 12, numerator: int = 4, silent: int = 0) -> MidiFile:
    """A melody over chords and drums that begins after `silent` empty bars; no two seeds give one content."""
    rng = Random(seed)
    made = MidiFile(ticks_per_beat=TICKS)
    made.tempo_changes = [TempoChange(60 + 10 * (seed % 12), 0)]
    made.time_signature_changes = [TimeSignature(numerator, 4, 0)]
    lead, piano, drums = Instrument(80, name="melody"), Instrument(0), Instrument(0, is_drum=True)
    made.instruments = [lead, piano, drums]
    for beat in range(silent * numerator, (silent + bars) * numerator):
        at, velocity = beat * TICKS, rng.randint(40, 110)
        lead.notes.append(Note(velocity, rng.randint(65, 84), at, at + TICKS // 2))
        if beat % 2 == 0:
            piano.notes += [Note(velocity, pitch, at, at + TICKS) for pitch in (48 + seed % 5, 55, 60)]
        drums.notes.append(Note(90, 36 if beat % 2 else 42, at, at + 60))
    return made


def folder(directory: Path, count: int, **kwargs: int) -> Path:
    for seed in range(count):
        midi.write(song(seed, **kwargs), directory / f"{seed % 3}" / f"{seed:03}.mid")
    return directory


def six_tracks(path: Path) -> list[str]:
    return remi.encode(merge_six_tracks(midi.read(path)), "REMIGEN2", False, True, "six_tracks")


def prepared(source: Path, data: Path, *flags: str, workers: int = 1) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    arguments = [str(source), "--output", str(data), "--workers", str(workers), *map(str, flags)]
    assert prepare.run(parser.parse_args(arguments)) == 0
    report: dict[str, Any] = json.loads((data / "prepare.json").read_text())
    return report["counts"]


def passages(data: Path) -> list[tuple[str, dict[str, Any], list[str]]]:
    """(split, item, tokens) of everything that was written."""
    found = []
    for split in ("train", "valid", "test"):
        lines = (data / f"{split}.tokens").read_text().splitlines()
        items = list(read_jsonl(data / f"{split}.items.jsonl"))
        found += [(split, item, line.split()) for item, line in zip(items, lines, strict=True)]
    return found


def files(data: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in data.iterdir() if path.name not in {"songs.jsonl", "rejected.jsonl"}
    }


def test_items_describe_their_lines(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 12, silent=3)
    counts = prepared(source, tmp_path / "data", "--window-bars", "4", "--describe", "4")
    assert counts["files"] == 12
    assert counts["rejected"] == 0
    found = passages(tmp_path / "data")
    assert len(found) == 36
    assert {split for split, _, _ in found} == {"train", "valid", "test"}
    assert len({item["id"] for _, item, _ in found}) == 36
    for _, item, tokens in found:
        whole = remi.bars(six_tracks(source / item["path"]))
        first, end = item["bars"]
        assert end - first == 4
        # The codec drops the three silent bars; `bars` counts them.
        assert tokens == [token for bar in whole[first - 3 : end - 3] for token in bar]
        assert item["attributes"] == measure(tokens)
        assert item["transposition"] == 0
        assert len({caption["text"] for caption in item["captions"]}) == 4
        assert {caption["lang"] for caption in item["captions"]} == {"zh", "en"}
        assert published().ids(tokens)
    assert Vocabulary.read(tmp_path / "data" / "dict.txt") == published()
    assert Quantiles.load(tmp_path / "data" / "quantiles.json").count == counts["train"]["passages"]
    assert counts["train"]["captions"] == 4 * counts["train"]["passages"]
    assert sum(counts[split]["tokens"] for split in ("train", "valid", "test")) == sum(
        len(line) for _, _, line in found
    )


def test_a_file_whose_name_is_no_text_costs_itself(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 6)
    midi.write(song(7), source / "spare")
    (source / "spare").rename(source / os.fsdecode("暴.mid".encode("gbk")))
    counts = prepared(source, tmp_path / "data")
    assert (counts["files"], counts["rejected"]) == (7, 1)
    (refused,) = read_jsonl(tmp_path / "data" / "rejected.jsonl")
    assert os.fsencode(refused["id"]) == "暴.mid".encode("gbk")
    assert "must be UTF-8 text" in refused["reason"]
    assert prepared(source, tmp_path / "data") == counts


def test_no_song_is_on_two_sides_and_doubles_go(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 12)
    louder = song(5)
    louder.tempo_changes[0].tempo += 40
    for note in louder.instruments[0].notes:
        note.velocity = 100
    midi.write(louder, source / "copy.mid")
    metadata = tmp_path / "metadata.jsonl"
    rows = [
        {"path": f"{seed % 3}/{seed:03}.mid", "title": f"Title {seed // 2}!", "licence": "CC0"} for seed in range(12)
    ]
    rows[4]["museformer_split"] = "valid"
    metadata.write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows, {"path": "copy.mid", "museformer_split": "train"}])
    )
    counts = prepared(source, tmp_path / "data", "--metadata", metadata, "--valid-share", "0.3", "--test-share", "0.3")
    assert counts["duplicate_songs"] == 1
    sides: dict[str, set[str]] = {}
    for split, item, _ in passages(tmp_path / "data"):
        if item["path"] != "copy.mid":
            assert item["licence"] == "CC0"
        sides.setdefault(item["title"].strip("!"), set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    # Song 5 has the notes of the copy, which must train, and song 4 has the title of song 5.
    assert sides["Title 2"] == {"train"}


def test_passages_that_repeat_are_kept_once(tmp_path: Path) -> None:
    looped = song(1, bars=4)
    for track in looped.instruments:
        length = 16 * TICKS
        track.notes += [Note(n.velocity, n.pitch, n.start + length, n.end + length) for n in track.notes]
    midi.write(looped, tmp_path / "midi" / "loop.mid")
    midi.write(song(2, bars=8), tmp_path / "midi" / "other.mid")
    midi.write(song(3, bars=8), tmp_path / "midi" / "third.mid")
    counts = prepared(tmp_path / "midi", tmp_path / "data", "--window-bars", "4")
    assert sum(counts[split].get("duplicate_passages", 0) for split in ("train", "valid", "test")) == 1
    assert len(passages(tmp_path / "data")) == 5


def test_bad_files_cost_one_line_each(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 6)
    (source / "empty.mid").write_bytes(b"")
    (source / "noise.mid").write_bytes(os.urandom(500))
    (source / "cut.mid").write_bytes((source / "0" / "000.mid").read_bytes()[:300])
    midi.write(song(9, numerator=3), source / "waltz.MID")
    (source / "notes.txt").write_text("not a song")
    counts = prepared(source, tmp_path / "data", workers=2)
    assert counts["files"] == 10
    reasons = {row["id"]: row["reason"] for row in read_jsonl(tmp_path / "data" / "rejected.jsonl")}
    assert {"empty.mid", "noise.mid", "waltz.MID"} <= set(reasons)
    assert "4/4" in reasons["waltz.MID"]
    assert {item["path"] for _, item, _ in passages(tmp_path / "data")} >= {f"{n % 3}/{n:03}.mid" for n in range(6)}


def test_files_that_were_mended_or_replaced_are_read_anew(tmp_path: Path) -> None:
    source, data = folder(tmp_path / "midi", 6), tmp_path / "data"
    good = (source / "0" / "000.mid").read_bytes()
    (source / "0" / "000.mid").write_bytes(b"")
    assert prepared(source, data)["rejected"] == 1
    (source / "0" / "000.mid").write_bytes(good)
    midi.write(song(77), source / "1" / "001.mid")
    counts = prepared(source, data)
    assert (counts["files"], counts["rejected"]) == (6, 0)
    tokens = {item["path"]: tokens for _, item, tokens in passages(data)}
    assert tokens == {path: six_tracks(source / path) for path in tokens}
    assert len(tokens) == 6
    assert not list(data.glob(".*"))


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 2)
    with sole_writer(tmp_path / "data"), pytest.raises(InputError, match="another run"):
        prepared(source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_songs_of_chosen_metres_are_taken_and_keep_theirs(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 6)
    for seed in (6, 7, 8):
        midi.write(song(seed, numerator=3), source / "waltz" / f"{seed}.mid")
        midi.write(song(seed, bars=24, numerator=2), source / "march" / f"{seed}.mid")
    refused = prepared(source, tmp_path / "common")["rejected"]
    assert refused == 3
    flags = ["--metres", "4/4,3/4,2/4", "--window-bars", "4", "--augment", "1", "--describe", "1"]
    assert prepared(source, tmp_path / "data", *flags)["rejected"] == 0
    for name, marches in (("common", "4/4"), ("data", "2/4")):
        for _, item, tokens in passages(tmp_path / name):
            metre = {"waltz": "3/4", "march": marches}.get(item["path"].split("/")[0], "4/4")
            assert item["attributes"] == measure(tokens, metre=metre)
            assert item["attributes"]["metre"] == metre
            length = {"4/4": 48, "3/4": 36, "2/4": 24}[metre]
            last = max(int(token[2:]) for token in tokens if token.startswith("o-"))
            assert length - (12 if "augmentation" not in item else length) <= last < length
    assert "| 3/4 | 3 |" in (tmp_path / "data" / "data_card.md").read_text()
    for metres, message in (("4/4,waltz", "is 'waltz'"), ("8/4", "one of 8/4 has 96")):
        with pytest.raises(InputError, match=message):
            prepared(source, tmp_path / "other", "--metres", metres)
    with pytest.raises(InputError, match="takes songs of all metres; leave --metres 3/4 out"):
        prepared(source, tmp_path / "other", "--vocabulary", "general", "--metres", "3/4")


def test_what_is_left_out_of_a_file_is_said(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 6)
    brass = song(7)
    brass.instruments.append(Instrument(56, name="Trumpet"))
    brass.instruments[-1].notes = brass.instruments[1].notes[:10]
    midi.write(brass, source / "brass.mid")
    whole = (source / "0" / "000.mid").read_bytes()
    end = whole.index(b"MTrk", whole.index(b"MTrk") + 1)
    (source / "junk.mid").write_bytes(whole[:end] + b"junk" + whole[end:])
    prepared(source, tmp_path / "data")
    rows = list(read_jsonl(tmp_path / "data" / "warnings.jsonl"))
    assert [row["path"] for row in rows] == ["brass.mid", "junk.mid"]
    assert rows[0]["what"] == "10 notes of program 56, which is none of the six instruments"
    assert "Trumpet" in rows[0]["where"]
    assert rows[1]["what"] == "4 bytes that are no track"
    assert rows[1]["where"] == f"byte {end}"


def test_general_vocabulary_takes_other_metres(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 4, numerator=3)
    counts = prepared(source, tmp_path / "data", "--vocabulary", "general", "--describe", "2")
    assert counts["rejected"] == 0
    for _, item, tokens in passages(tmp_path / "data"):
        assert general().ids(tokens)
        assert tokens == remi.encode(midi.read(source / item["path"]), "REMIGEN")
        assert item["attributes"]["metre"] == "3/4"


def test_normalisation_can_be_undone(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 4)
    prepared(source, tmp_path / "data", "--normalise-pitch")
    moved = 0
    for _, item, tokens in passages(tmp_path / "data"):
        original = six_tracks(source / item["path"])
        assert remi.transpose(tokens, -item["transposition"]) == original
        moved += tokens != original
    assert moved


def test_captions_name_the_key_of_the_data_they_are_paired_with(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 4)
    captions = tmp_path / "captions.jsonl"
    rows = [{"path": f"{n % 3}/{n:03}.mid", "text": "a song in D major", "lang": "en"} for n in range(4)]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared(source, tmp_path / "data", "--normalise-pitch", "--captions", str(captions))
    for _, item, _ in passages(tmp_path / "data"):
        key = transposed("D major", item["transposition"])
        assert [caption["text"] for caption in item["captions"]] == [f"a song in {key}"]


def test_only_training_passages_are_varied_and_each_is_described_as_it_is(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 8)
    captions = tmp_path / "captions.jsonl"
    rows = [{"path": f"{n % 3}/{n:03}.mid", "text": "written by hand", "lang": "en"} for n in range(8)]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--window-bars", "4", "--describe", "2", "--augment", "2", "--captions", str(captions)]
    counts = prepared(source, tmp_path / "data", *flags)
    found = passages(tmp_path / "data")
    assert counts["train"]["passages"] == 3 * 3 * counts["train"]["songs"]
    assert counts["valid"]["passages"] == 3 * counts["valid"]["songs"]
    varied = [(split, item) for split, item, _ in found if "augmentation" in item]
    assert {split for split, _ in varied} == {"train"}
    for _, item, tokens in found:
        assert item["attributes"] == measure(tokens)
        by_hand = [caption for caption in item["captions"] if caption["text"] == "written by hand"]
        assert len(by_hand) == ("augmentation" not in item)
        assert len(item["captions"]) - len(by_hand) == 2
    assert len({item["id"] for _, item, _ in found}) == len(found)
    fewer = prepared(source, tmp_path / "data", *flags, "--train-passages", "10")
    assert fewer["train"]["passages"] == 10
    assert fewer["valid"] == counts["valid"]


def test_captions_find_the_passages_they_are_about(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 3, bars=12)
    captions = tmp_path / "captions.jsonl"
    rows = [
        {"path": "0/000.mid", "bars": None, "text": "a whole song", "lang": "en", "source": "me", "licence": "CC0"},
        {"path": "0/000.mid", "bars": [4, 8], "text": "中段", "lang": "zh", "source": "me", "licence": "CC0"},
        {"path": "0/000.mid", "bars": [0, 6], "text": "six bars", "lang": "en", "source": "me", "licence": "CC0"},
        {"path": "gone.mid", "bars": None, "text": "nothing", "lang": "en"},
    ]
    captions.write_text("".join(json.dumps({"id": str(n), **row}) + "\n" for n, row in enumerate(rows)))
    prepared(source, tmp_path / "data", "--window-bars", "4", "--captions", captions, "--captions", captions)
    texts = {item["id"]: [c["text"] for c in item["captions"]] for _, item, _ in passages(tmp_path / "data")}
    assert texts["0/000.mid:0-4"] == ["a whole song", "six bars"]
    assert texts["0/000.mid:4-8"] == ["a whole song", "中段"]
    assert texts["0/000.mid:8-12"] == ["a whole song"]
    assert texts["1/001.mid:0-4"] == []
    captions.write_text('{"path": "0/000.mid", "lang": "en"}\n')
    with pytest.raises(InputError, match="lacks text"):
        prepared(source, tmp_path / "other", "--captions", captions)


@pytest.mark.parametrize("bars", [16, "1-8", [0, 8, 16], [8, 8], [-4, 8], ["0", "8"]])
def test_bars_of_captions_that_are_none_are_said_before_the_work(tmp_path: Path, bars: Any) -> None:
    source, captions = folder(tmp_path / "midi", 2), tmp_path / "captions.jsonl"
    captions.write_text(json.dumps({"path": "0/000.mid", "text": "x", "lang": "en", "bars": bars}) + "\n")
    with pytest.raises(InputError, match=r"captions\.jsonl: bars must be null"):
        prepared(source, tmp_path / "data", "--captions", captions)
    assert not (tmp_path / "data").exists()


def test_excerpts_are_heard_in_the_passage_that_has_most_of_them(tmp_path: Path) -> None:
    source, captions = folder(tmp_path / "midi", 3, bars=16), tmp_path / "captions.jsonl"
    row = {"path": "0/000.mid", "bars": [6, 9], "text": "sleepy", "lang": "en"}
    captions.write_text(
        json.dumps({**row, "source": "musiccaps"}) + "\n" + json.dumps({**row, "text": "three bars"}) + "\n"
    )
    counts = prepared(source, tmp_path / "data", "--window-bars", "8", "--captions", captions)
    texts = {item["id"]: [c["text"] for c in item["captions"]] for _, item, _ in passages(tmp_path / "data")}
    assert (texts["0/000.mid:0-8"], texts["0/000.mid:8-16"]) == (["sleepy"], [])
    assert counts["captions_without_passage"] == 1


def test_rows_find_their_files_however_their_paths_are_written_and_the_others_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, metadata, captions = folder(tmp_path / "midi", 4), tmp_path / "metadata.jsonl", tmp_path / "captions.jsonl"
    (source / "0" / "bad.mid").write_bytes(b"")
    known = [{"path": path, "split": "test"} for path in ("./0/000.mid", "1\\001.mid", "midi/2/002.mid")]
    metadata.write_text("".join(json.dumps(row) + "\n" for row in known))
    said = [("0//000.mid", None), ("1\\001.mid", [0, 4]), ("midi/2/002.mid", None), ("0/bad.mid", None)]
    rows = [{"path": path, "bars": bars, "text": path, "lang": "en"} for path, bars in said]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--metadata", metadata, "--captions", captions, "--window-bars", "8-12"]
    counts = prepared(source, tmp_path / "data", *flags)
    found = {item["path"]: (split, item["captions"]) for split, item, _ in passages(tmp_path / "data")}
    assert found["0/000.mid"][0] == found["1/001.mid"][0] == "test"
    assert [caption["text"] for caption in found["0/000.mid"][1]] == ["0//000.mid"]
    assert {name: count for name, count in counts.items() if "_without_" in name} == {
        "metadata_without_file": 1,
        "captions_without_file": 1,
        "captions_without_passage": 2,
    }
    told = capsys.readouterr().err
    assert "1 rows of metadata are of no MIDI file" in told
    assert "the first is of midi/2/002.mid" in told
    assert "2 captions of files in" in told


def test_of_copies_the_one_is_kept_of_which_most_is_said(tmp_path: Path) -> None:
    source, captions = folder(tmp_path / "midi", 6), tmp_path / "captions.jsonl"
    midi.write(song(0), source / "copy.mid")
    captions.write_text(json.dumps({"path": "copy.mid", "text": "rain", "lang": "en"}) + "\n")
    counts = prepared(source, tmp_path / "data", "--captions", captions)
    said = {item["path"]: item["captions"] for _, item, _ in passages(tmp_path / "data")}
    assert "0/000.mid" not in said
    assert [caption["text"] for caption in said["copy.mid"]] == ["rain"]
    assert (counts["duplicate_songs"], counts["captions_without_passage"]) == (1, 0)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--train-passages", "0"], "--train-passages must be at least 1, received 0"),
        (["--describe", "-1"], "--describe must be at least 0"),
        (["--valid-share", "5"], "leave something for train, received 5.0 and 0.05"),
    ],
)
def test_numbers_that_make_no_sense_are_said_before_the_work(tmp_path: Path, flags: list[str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prepared(folder(tmp_path / "midi", 2), tmp_path / "data", *flags)
    assert not (tmp_path / "data").exists()


def test_workers_are_as_many_as_cores_also_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    assert parser.get_default("workers") == cores() == 3


def test_other_settings_do_not_mix_but_other_words_are_welcome(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 4)
    prepared(source, tmp_path / "data", "--window-bars", "4")
    with pytest.raises(InputError, match="window_bars '4', not '8'"):
        prepared(source, tmp_path / "data", "--window-bars", "8")
    before = (tmp_path / "data" / "songs.jsonl").read_bytes()
    counts = prepared(source, tmp_path / "data", "--window-bars", "4", "--describe", "2")
    assert counts["train"]["captions"]
    assert (tmp_path / "data" / "songs.jsonl").read_bytes() == before


def test_a_killed_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    source = folder(tmp_path / "midi", 60, bars=40)
    flags = ["--window-bars", "4-8", "--seed", "3", "--describe", "3"]
    prepared(source, tmp_path / "straight", *flags)
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "fairseq_meloformer.cli", "prepare", str(source), "--output", str(killed)]
    for rows in (5, 20):
        process = subprocess.Popen([*command, *flags, "--workers", "2"], stderr=subprocess.DEVNULL)
        log, deadline = killed / "songs.jsonl", time.monotonic() + 300
        while not log.exists() or log.read_bytes().count(b"\n") < rows:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    prepared(source, killed, *flags, workers=2)
    assert files(killed) == files(tmp_path / "straight")


def test_a_folder_without_music_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none in it"):
        prepared(tmp_path, tmp_path / "data")


def test_a_corpus_without_music_is_said(tmp_path: Path) -> None:
    (tmp_path / "midi").mkdir()
    (tmp_path / "midi" / "empty.mid").write_bytes(b"")
    with pytest.raises(InputError, match=r"rejected\.jsonl"):
        prepared(tmp_path / "midi", tmp_path / "data")
