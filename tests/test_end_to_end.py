"""The whole way once, by the commands a user types: MIDI in, both models trained, and text to MIDI."""

import importlib.util
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from fairseq_commands import ROOT, command
from miditoolkit import Instrument, MidiFile, Note, TempoChange, TimeSignature

from fairseq_meloformer import cli, midi
from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.museformer.checkpoints import model_hash
from fairseq_meloformer.summaries.store import SummaryStore
from fairseq_meloformer.tokens import remi

pytestmark = pytest.mark.skipif(importlib.util.find_spec("fairseq") is None, reason="the commands need fairseq")

PLUGIN = ("--user-dir", ROOT / "user_dir", "--cpu", "--num-workers", 0)
SPLITS = {"train": 6, "valid": 2}
BARS = 6
SEED, TEMPERATURE, TOP_K = 5, 0.9, 5
INJECTION = (
    *("--inject-scope", "history", "--inject-layers", "0,1", "--inject-strength", 0.8),
    *("--guidance-scale", 1.5, "--nfe", 3),
)
PROMPTS = [
    {"id": "storm", "text": "a storm", "bars": 2, "mood": "dark"},
    {"id": "calm", "text": "安静的湖", "bars": 3, "seed": 9, "transposition": 2},
]


def song(seed):
    """Six bars with a named melody, drums, bass and piano in 4/4."""
    rng, made = random.Random(seed), MidiFile(ticks_per_beat=480)
    made.tempo_changes = [TempoChange(70 + 15 * seed, 0)]
    made.time_signature_changes = [TimeSignature(4, 4, 0)]
    melody, drums = Instrument(73, name="Melody"), Instrument(0, is_drum=True, name="Drums")
    bass, piano = Instrument(33, name="Bass"), Instrument(0, name="Piano")
    made.instruments = [melody, drums, bass, piano]
    for beat in range(4 * BARS):
        at = beat * 480
        root = rng.choice((0, 5, 7))
        melody.notes.append(Note(100, 72 + rng.choice((0, 2, 4, 7, 9)), at, at + 480))
        drums.notes.append(Note(90, 38 if beat % 2 else 36, at, at + 120))
        if beat % 2 == 0:
            bass.notes.append(Note(80, 36 + root, at, at + 960))
            piano.notes += [Note(70, 48 + root + above, at, at + 960) for above in (0, 4, 7)]
    return made


@dataclass(frozen=True)
class Made:
    """What the commands left behind, and what they printed."""

    folder: Path
    printed: dict[str, str]

    def pieces(self, name):
        """The manifest of a folder of pieces, by piece."""
        lines = (self.folder / name / "manifest.jsonl").read_text().splitlines()
        return {row["piece"]: row for row in map(json.loads, lines)}


def meloformer(*arguments):
    assert cli.main([str(argument) for argument in arguments]) == 0


def write_music(folder):
    """The songs, one file that is none, and which songs validate."""
    rows = []
    for number, split in enumerate(split for split, count in SPLITS.items() for _ in range(count)):
        path = f"songs/{number}.mid"
        midi.write(song(number), folder / "midi" / path)
        rows.append({"path": path, "title": f"Song {number}", "split": split})
    (folder / "midi" / "broken.mid").write_bytes(b"MThd, and then no more")
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def prepare(folder):
    meloformer(
        *("prepare", folder / "midi", "--output", folder / "data", "--workers", 1, "--describe", 2),
        *("--metadata", folder / "metadata.jsonl", "--valid-share", 0, "--test-share", 0),
    )
    splits = [part for split in SPLITS for part in (f"--{split}pref", folder / "data" / f"{split}.tokens")]
    vocabulary = ("--only-source", "--srcdict", folder / "data" / "dict.txt")
    printed = command("preprocess", *vocabulary, *splits, "--destdir", folder / "bin")
    for split in SPLITS:
        rows = folder / "data" / f"{split}.items.jsonl"
        (folder / "bin" / rows.name).write_bytes(rows.read_bytes())
    return printed


def train(data, save, updates, *recipe):
    optimiser = ("--optimizer", "adam", "--lr", 0.003, "--max-update", updates, "--seed", 1)
    log = ("--log-format", "simple", "--log-interval", 1, "--no-epoch-checkpoints")
    return command("train", data, *PLUGIN, *recipe, *optimiser, *log, "--save-dir", save)


def extract(folder, split):
    task = ("--task", "summary_extraction", "--gen-subset", split, "--batch-size", 4)
    store = ("--path", folder / "museformer", "--summary-store", folder / "store")
    return command("generate", folder / "bin", *PLUGIN, *task, *store)


def generate(folder, prompts, name, *more):
    task = ("--task", "summary_bridge", "--path", folder / "museformer", "--midi-dir", folder / name)
    drawing = (
        "--sampling",
        "--beam",
        1,
        "--sampling-topk",
        TOP_K,
        "--temperature",
        TEMPERATURE,
        "--seed",
        SEED,
        "--bridge-only",
    )
    return command("generate", folder / prompts, *PLUGIN, *task, *drawing, "--batch-size", 2, *more)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Everything from MIDI files to pieces."""
    folder = tmp_path_factory.mktemp("whole_way")
    printed = {}
    write_music(folder)
    printed["preprocess"] = prepare(folder)
    printed["museformer"] = train(
        *(folder / "bin", folder / "trained", 4, "--task", "museformer_language_modeling"),
        *("--arch", "museformer_lm_v2s1_debug", "--criterion", "museformer_plan", "--max-tokens", 2000),
    )
    meloformer("convert", folder / "trained" / "checkpoint_last.pt", folder / "museformer")
    for split in SPLITS:
        printed[f"extract {split}"] = extract(folder, split)
    printed["bridge"] = train(
        *(folder / "store", folder / "bridged", 6, "--task", "summary_bridge", "--arch", "summary_bridge_debug"),
        *("--criterion", "summary_bridge", "--text-encoder", "dummy:12", "--components", 8, "--batch-size", 3),
    )
    meloformer("convert", folder / "bridged" / "checkpoint_last.pt", folder / "bridge")

    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    (folder / "prompts.txt").write_text("暴风雨\n")
    bridge = folder / "bridge"
    printed["rows"] = generate(folder, "prompts.jsonl", "rows", "--count", 2, "--bridge", bridge, *INJECTION)
    printed["line"] = generate(
        folder, "prompts.txt", "line", "--bars", 2, "--bridge", folder / "bridged" / "checkpoint_last.pt"
    )
    printed["plain"] = generate(folder, "prompts.txt", "plain", "--bars", 2)
    return Made(folder, printed)


def compose(made, name, *arguments):
    """The same by `meloformer compose`."""
    drawing = (
        "--temperature",
        TEMPERATURE,
        "--top-k",
        TOP_K,
        "--top-p",
        1,
        "--seed",
        SEED,
        "--no-audio",
        "--no-picture",
    )
    models = ("--model", made.folder / "museformer", "--output", made.folder / name)
    meloformer("compose", *arguments, *models, *drawing)
    return made.pieces(name)


def same_pieces(made, name, other):
    """Two folders have the same pieces, byte for byte, made with the same models and settings."""
    rows, others = made.pieces(name), made.pieces(other)
    assert rows == others
    for piece in rows:
        assert (made.folder / name / f"{piece}.mid").read_bytes() == (made.folder / other / f"{piece}.mid").read_bytes()


def losses(printed):
    return [float(loss) for loss in re.findall(r"train_inner.* loss=([\d.]+)", printed)]


def test_prepared_songs_have_captions_and_the_bad_file_a_reason(made):
    for split, count in SPLITS.items():
        tokens = (made.folder / "data" / f"{split}.tokens").read_text().splitlines()
        rows = [json.loads(line) for line in (made.folder / "bin" / f"{split}.items.jsonl").read_text().splitlines()]
        assert len(tokens) == len(rows) == count
        for line, row in zip(tokens, rows, strict=True):
            assert line.split().count("b-1") == BARS
            assert row["bars"] == [0, BARS]
            assert len(row["captions"]) == 2
        assert f"{count} sents" in made.printed["preprocess"]
    (rejected,) = (made.folder / "data" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected)["id"] == "broken.mid"
    assert json.loads(rejected)["reason"]


def test_museformer_learns_with_plans(made):
    printed = made.printed["museformer"]
    assert losses(printed)[-1] < losses(printed)[0]
    assert re.search(r"valid on 'valid' subset .*plan_loss [\d.]+", printed)
    assert MuseFormer.from_pretrained(made.folder / "museformer").config.scope == "plan"


def test_the_store_holds_every_bar_of_the_songs_with_their_captions(made):
    store, model = SummaryStore(made.folder / "store"), MuseFormer.from_pretrained(made.folder / "museformer")
    assert store.header.model_sha256 == model_hash(model.state_dict())
    for split, count in SPLITS.items():
        subset = store.subset(split)
        assert len(subset) == count
        for item in subset:
            assert item.summaries.shape == (BARS, model.config.layers, model.config.dim)
            assert len(item.metadata["captions"]) == 2


def test_the_bridge_learns_and_says_what_it_was_made_for(made):
    printed = made.printed["bridge"]
    assert losses(printed)[-1] < losses(printed)[0]
    config = Bridge.from_pretrained(made.folder / "bridge").config
    assert config.museformer == SummaryStore(made.folder / "store").header.model_sha256
    assert (config.layers, config.dim, config.components, config.encoder) == (2, 64, 8, "dummy:12")


def test_prompts_become_pieces_with_their_own_options(made):
    rows = made.pieces("rows")
    assert rows.keys() == {"storm-0", "storm-1", "calm-0", "calm-1"}
    for piece, row in rows.items():
        prompt = next(prompt for prompt in PROMPTS if prompt["id"] == row["id"])
        assert row["attributes"]["bars"] == row["bars"] == prompt["bars"]
        assert row["settings"]["scope"] == "history"
        assert row["settings"]["layers"] == [0, 1]
        written = midi.read(made.folder / "rows" / row["files"]["midi"])
        assert sum(len(track.notes) for track in written.instruments) > 0
        assert row["files"]["midi"] in made.printed["rows"], piece
    assert rows["storm-0"]["about"] == {"mood": "dark"}
    assert rows["calm-0"]["transposition"] == 2
    assert len({row["seed"] for row in rows.values()}) == len(rows)


def test_fairseq_prints_the_tokens_of_the_pieces(made):
    (tokens,) = re.findall(r"^H-0\t\S+\t(.*)$", made.printed["line"], re.MULTILINE)
    written = midi.read(made.folder / "line" / "0001-0.mid")
    midi.write(remi.decode(tokens.split()), made.folder / "printed.mid")
    printed = midi.read(made.folder / "printed.mid")
    assert [(track.name, track.notes) for track in printed.instruments] == [
        (track.name, track.notes) for track in written.instruments
    ]
    assert printed.tempo_changes == written.tempo_changes
    assert len(midi.bar_lines(written)) - 1 == 2


def test_composing_without_fairseq_gives_the_same_bytes(made):
    prompts = ("--prompts", made.folder / "prompts.jsonl", "--count", 2)
    compose(made, "rows_again", *prompts, "--bridge", made.folder / "bridge", "--bridge-only", *INJECTION)
    same_pieces(made, "rows", "rows_again")


def test_a_checkpoint_composes_like_the_directory_it_is_converted_to(made):
    prompts = ("--prompts", made.folder / "prompts.txt", "--bars", 2)
    compose(made, "line_again", *prompts, "--bridge", made.folder / "bridge", "--bridge-only")
    same_pieces(made, "line", "line_again")


def test_without_a_bridge_it_is_plain_museformer(made):
    prompts = ("--prompts", made.folder / "prompts.txt", "--bars", 2)
    (row,) = compose(made, "plain_again", *prompts, "--no-injection").values()
    same_pieces(made, "plain", "plain_again")
    assert (row["settings"]["injected"], row["settings"]["bridge"]) == (False, None)
    plain, injected = ((made.folder / name / "0001-0.mid").read_bytes() for name in ("plain", "line"))
    assert plain != injected
