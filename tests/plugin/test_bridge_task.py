"""Task, dataset and model of the bridge in this process: what is drawn, refused and kept in a checkpoint."""

import argparse
import io
import json
from dataclasses import dataclass

import pytest
import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq_cli import generate
from fairseq_cli import train as fairseq_train
from injection.models import museformer
from malicious import Malicious
from plugin.precision import check_products

from fairseq_meloformer.bridge import checkpoints
from fairseq_meloformer.composing.command import add_arguments
from fairseq_meloformer.composing.pieces import gather
from fairseq_meloformer.encoders import registry
from fairseq_meloformer.encoders.registry import DummyEncoder
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.arguments import arguments_from_config
from fairseq_meloformer.museformer.checkpoints import read_state, with_aliases
from fairseq_meloformer.plugin import compat
from fairseq_meloformer.plugin.bridge_criterion import BridgeCriterion
from fairseq_meloformer.plugin.bridge_dataset import BridgeDataset
from fairseq_meloformer.summaries.extraction import finish
from fairseq_meloformer.summaries.store import StoreHeader, SummaryStore
from fairseq_meloformer.summaries.writer import StoreWriter
from fairseq_meloformer.tokens import vocabulary

LAYERS, DIM = 2, 32  # of the debug MuseFormer of the injection's tests
TEXTS = ["a storm", "暴风雨", "night train"]


def write_store(directory, songs=9, *, captions=True, finished=True):
    """Random summaries; the fifth song of a subset has no caption."""
    generator = torch.Generator().manual_seed(0)
    header = StoreHeader("model", "vocabulary", LAYERS, DIM)
    for subset in ("train", "valid"):
        ids = [f"{subset}{index}" for index in range(songs)]
        with StoreWriter(directory, subset, header) as writer:
            for index, name in enumerate(ids):
                texts = TEXTS if captions and index != 4 else []
                summaries = torch.randn(1 + index % 4, LAYERS, DIM, generator=generator)
                writer.put(name, summaries, {"captions": [{"text": text} for text in texts]})
        if finished:
            finish(directory, subset, ids)
    return directory


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store"))


def configured(parser, *arguments):
    given = ["--task", "summary_bridge", "--cpu", "--num-workers", "0", *map(str, arguments)]
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, given))


def training(store, *more):
    recipe = ("--arch", "summary_bridge_debug", "--criterion", "summary_bridge", "--text-encoder", "dummy:12")
    optimiser = ("--optimizer", "adam", "--lr", 0.003, "--batch-size", 3, "--most-bars", 8)
    return configured(options.get_training_parser(), store, *recipe, *optimiser, *more)


def composing(prompts, model, midi_dir, *more, alone=True):
    """The plan alone, or all that `meloformer compose` does; the store's model is an invented one."""
    more = (*more, "--another-museformer", *(["--bridge-only"] if alone else []))
    return configured(options.get_generation_parser(), prompts, "--path", model, "--midi-dir", midi_dir, *more)


def dataset(store, *, seed=1, vary=True, subset="train"):
    return BridgeDataset(SummaryStore(store).subset(subset), DummyEncoder(12), seed=seed, vary=vary)


def drawn(songs, epoch):
    songs.set_epoch(epoch)
    return [(songs[int(index)]["text"], songs[int(index)]["seed"]) for index in songs.kept]


def test_what_is_drawn_depends_on_seed_epoch_and_item_alone(store):
    first, second = dataset(store), dataset(store)
    whole = drawn(first, 3)
    second.set_epoch(1)
    second.set_epoch(3)
    assert [(second[int(i)]["text"], second[int(i)]["seed"]) for i in reversed(second.kept)] == whole[::-1]
    assert len({seed for _, seed in whole}) == len(whole)
    for other in (drawn(first, 4), drawn(dataset(store, seed=2), 3)):
        assert not {seed for _, seed in other} & {seed for _, seed in whole}
    assert {text for epoch in range(9) for text, _ in drawn(first, epoch)[:1]} == set(TEXTS)


def test_validation_is_the_same_in_every_epoch(store):
    songs = dataset(store, vary=False, subset="valid")
    assert drawn(songs, 1) == drawn(songs, 2)
    assert {text for text, _ in drawn(songs, 1)} == {TEXTS[0]}
    assert songs.can_reuse_epoch_itr_across_epochs
    assert list(songs.texts()) == [TEXTS[0]] * 8


def test_a_batch_is_padded_and_holds_what_its_items_are_alone(store):
    songs = dataset(store)
    alone = [songs.collater([songs[index]])["net_input"] for index in (0, 3)]
    batch = songs.collater([songs[0], songs[3]])
    given = batch["net_input"]
    assert batch["ntokens"] == int(given["bars"].sum()) == 1 + 4
    for row, one in enumerate(alone):
        bars, tokens = int(one["bars"]), one["mask"].shape[1]
        assert torch.equal(given["summaries"][row, :bars], one["summaries"][0])
        assert not given["summaries"][row, bars:].any()
        assert torch.equal(given["states"][row, :tokens], one["states"][0])
        assert given["seeds"][row] == one["seeds"][0]
    assert songs.collater([]) == {}


def test_fairseqs_batches_hold_every_captioned_song_once_and_follow_the_epoch(store):
    task = tasks.setup_task(training(store).task)
    task.load_dataset("train")
    songs = task.dataset("train")
    assert task.encoder.dim == 12
    for epoch in (1, 2):
        batches = list(task.get_batch_iterator(songs, max_tokens=9, epoch=epoch).next_epoch_itr())
        assert sorted(i for batch in batches for i in batch["id"].tolist()) == [0, 1, 2, 3, 5, 6, 7, 8]
        assert all(batch["net_input"]["summaries"].shape[:2].numel() <= 9 for batch in batches)
        expected = dict(zip(songs.kept.tolist(), drawn(songs, epoch), strict=True))
        for batch in batches:
            for index, seed in zip(batch["id"].tolist(), batch["net_input"]["seeds"], strict=True):
                assert seed == expected[index][1]


def test_songs_without_captions_are_refused(tmp_path):
    cfg = training(write_store(tmp_path, captions=False))
    with pytest.raises(
        InputError, match=r"songs with captions, but of the 9 songs .* none has any.*--describe K, or --captions FILE"
    ):
        tasks.setup_task(cfg.task).load_dataset("train")


def test_an_unfinished_store_is_refused(tmp_path):
    cfg = training(write_store(tmp_path, finished=False))
    with pytest.raises(InputError, match=r"store must be finished, but has no .*statistics.safetensors"):
        tasks.setup_task(cfg.task).build_model(cfg.model)


def test_texts_are_encoded_on_a_gpu_unless_it_is_declined(store, monkeypatch):
    loaded = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(registry, "load", lambda _, device: loaded.append(device) or DummyEncoder(12))
    for declined in (True, False):
        cfg = training(store)
        cfg.task.cpu = declined
        assert tasks.setup_task(cfg.task).encoder.dim == 12
    assert loaded == ["cpu", "cuda"]


def test_a_subset_that_is_not_there_is_refused(store):
    with pytest.raises(InputError, match=r"has the subsets .*'train', 'valid'.*, not 'test'"):
        tasks.setup_task(training(store).task).load_dataset("test")


@pytest.mark.parametrize("setup", [training, lambda path: composing(path, "model", "out")])
def test_what_is_neither_a_store_nor_prompts_is_refused_as_both(tmp_path, setup):
    task = tasks.setup_task(setup(tmp_path / "prompts.txt").task)
    with pytest.raises(InputError, match=r"prompts\.txt must be a store of summaries .* or a file of prompts"):
        task.load_dataset("train")


@pytest.mark.parametrize("flag", ["--fp16", "--bf16", "--amp"])
def test_fairseqs_half_precisions_are_refused_for_a_bridge_too(store, flag):
    cfg = training(store, flag)
    task = tasks.setup_task(cfg.task)
    with pytest.raises(InputError, match=f"{flag} must not be given to train a bridge"):
        task.build_model(cfg.model)
    assert task.build_model(cfg.model, from_checkpoint=True) is not None


def built(cfg):
    task = tasks.setup_task(cfg.task)
    return task.build_model(cfg.model), task.build_criterion(cfg.criterion)


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--endpoint", "guessed", "endpoint must be one of regressed, variational, learned"),
        ("--schedule", "fast", "schedule"),
        ("--prediction", "y", "prediction"),
        ("--noise", -1, "noise"),
        ("--components", 1000, "components"),
        ("--average-decay", 1, r"decay .* in \[0, 1\)"),
        ("--text-encoder", "word2vec", "word2vec"),
        ("--heads", 5, "heads"),
        ("--most-bars", 0, "most_bars"),
        ("--text-dropout", 1, "text_dropout"),
        ("--kl-weight", -1, "at least 0"),
    ],
)
def test_bad_settings_are_refused(flag, value, reason, store):
    cfg = training(store, flag, value)
    with pytest.raises(InputError, match=reason):
        built(cfg)


def test_steps_calculate_in_bfloat16_where_that_is_faster(store, monkeypatch):
    model, criterion = built(training(store))
    songs = dataset(store)
    sample = songs.collater([songs[0], songs[1]])
    for parameter in model.bridge.denoiser.parameters():  # whose output is 0 at the start
        torch.nn.init.normal_(parameter, std=0.1)
    linear = next(module for module in model.bridge.denoiser.modules() if isinstance(module, torch.nn.Linear))

    def step():
        loss, _, _ = criterion(model.train(), sample)
        loss.backward()
        return loss

    check_products(monkeypatch, model, linear, step)


def test_metrics_are_means_over_songs_however_they_are_batched():
    parts = ["bridge", "endpoint", "kl", "bars", "layer_0", "quarter_0", "quarter_1", "quarter_2", "quarter_3"]
    counts = {f"quarter_{quarter}_songs": 0 for quarter in range(4)}
    zero = {"loss": 0.0, "songs": 0, "ntokens": 0, "nsentences": 0, **dict.fromkeys(parts, 0.0), **counts}
    logs = [
        {**zero, "songs": 1, "loss": 2.0, "layer_0": 1.0, "quarter_3": 2.0, "quarter_3_songs": 1},
        {**zero, "songs": 3, "loss": 2.0, "layer_0": 5.0, "quarter_0": 6.0, "quarter_0_songs": 3},
    ]
    with metrics.aggregate(new_root=True) as aggregated:
        BridgeCriterion.reduce_metrics(logs)
    values = aggregated.get_smoothed_values()
    assert (values["loss"], values["layer_0"]) == (1.0, 1.5)
    assert {name: value for name, value in values.items() if name.startswith("quarter")} == {
        "quarter_0": 2.0,
        "quarter_3": 2.0,
    }


@pytest.mark.parametrize(
    ("name", "value", "another"),
    [
        ("museformer", "another", True),
        ("encoder_identity", "another", True),
        ("text_dim", 16, True),
        ("museformer", "", False),  # unknown
        ("most_bars", 9, False),  # the command line's to say
    ],
)
def test_a_bridge_goes_on_for_its_own_museformer_and_text_encoder_alone(store, name, value, another):
    model, _ = built(training(store))
    state = model.state_dict()
    state["_extra_state"]["bridge_config"][name] = value
    if another:
        with pytest.raises(InputError, match=f"{name} was {value!r} and is .* here.*another --save-dir"):
            model.load_state_dict(state)
    else:
        model.load_state_dict(state)
    tuned, _ = built(training(store, "--finetune-from-model", "a bridge"))
    tuned.load_state_dict(state)


@dataclass(frozen=True)
class Models:
    bridge: str
    museformer: str


@pytest.fixture(scope="module")
def models(store, tmp_path_factory):
    """A bridge of three updates, and the debug MuseFormer it composes with."""
    compat.apply()  # its filters: this runs before any test
    folder = tmp_path_factory.mktemp("models")
    save = ("--save-dir", folder / "bridge", "--max-update", 3, "--average-decay", 0.5)
    fairseq_train.main(training(store, *save, "--no-epoch-checkpoints", "--disable-validation"))
    museformer().save_pretrained(folder / "museformer")
    return Models(str(folder / "bridge" / "checkpoint_last.pt"), str(folder / "museformer"))


def test_the_core_reads_the_average_that_fairseq_keeps(models):
    (kept,), _, _ = checkpoint_utils.load_model_ensemble_and_task([models.bridge])
    kept.eval()
    read = checkpoints.load(models.bridge)
    assert read.config == kept.bridge.config
    assert read.config.encoder_identity == "dummy:12"
    plans = [bridge.plan(TEXTS, [4, 2, 3], nfe=3)[0] for bridge in (read, kept.ema.average, kept.bridge)]
    assert torch.equal(plans[0], plans[1])
    assert not torch.equal(plans[0], plans[2])
    assert not any(parameter.requires_grad for parameter in kept.ema.parameters())


def generated(cfg):
    """What fairseq-generate does after its start."""
    generate._main(cfg, io.StringIO())


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"id": "a", "text": "a storm", "bars": 1}\n{"id": "b", "text": "暴风雨", "bars": 2}\n')
    return path


def test_composing_goes_on_where_it_was_stopped(models, prompts, tmp_path):
    generated(composing(prompts, models.museformer, tmp_path / "out", "--bridge", models.bridge, "--nfe", 2))
    manifest = tmp_path / "out" / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.mid")}
    assert whole.keys() == {"a-0.mid", "b-0.mid"}
    assert [json.loads(line)["attributes"]["bars"] for line in lines] == [1, 2]
    manifest.write_text(lines[0] + "\n")
    (tmp_path / "out" / "b-0.mid").unlink()
    kept = (tmp_path / "out" / "a-0.mid").stat().st_mtime_ns
    generated(composing(prompts, models.museformer, tmp_path / "out", "--bridge", models.bridge, "--nfe", 2))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.mid")} == whole
    assert (tmp_path / "out" / "a-0.mid").stat().st_mtime_ns == kept
    with pytest.raises(InputError, match="made with another settings"):
        generated(composing(prompts, models.museformer, tmp_path / "out", "--bridge", models.bridge, "--nfe", 3))


def test_processes_share_the_pieces_of_one_folder(models, prompts, tmp_path):
    together = ("--bridge", models.bridge, "--nfe", 2)
    generated(composing(prompts, models.museformer, tmp_path / "one", *together))
    for rank in (1, 0):
        share = ("--distributed-world-size", 3, "--distributed-rank", rank)
        generated(composing(prompts, models.museformer, tmp_path / "two", *together, *share))
    with pytest.raises(SystemExit) as third:  # has nothing to do
        generated(composing(prompts, models.museformer, tmp_path / "two", *together, *share[:3], 2))
    assert not third.value.code
    names = {path.name for path in (tmp_path / "two").iterdir() if not path.name.startswith(".")}
    assert names == {"a-0.mid", "b-0.mid", "manifest.0.jsonl", "manifest.1.jsonl"}
    gather(tmp_path / "two")
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.*")} for name in ("one", "two"))
    assert one.pop("manifest.jsonl").splitlines() == sorted(two.pop("manifest.jsonl").splitlines())
    assert one == two
    (tmp_path / "two" / "b-0.mid").unlink()  # it alone is made again, by the process whose it is
    for rank in (0, 1):
        share = ("--distributed-world-size", 3, "--distributed-rank", rank)
        generated(composing(prompts, models.museformer, tmp_path / "two", *together, *share))
        assert (tmp_path / "two" / "manifest.1.jsonl").exists() == (rank == 1)


def test_whatever_compose_does_is_done_under_the_same_names(models, tmp_path):
    prompts, out, compose = tmp_path / "prompts.jsonl", tmp_path / "out", argparse.ArgumentParser()
    prompts.write_text('{"id": "a", "text": "1-2: calm, 80 bpm | 3-4: storm"}\n')
    given = ("--bridge", models.bridge, "--nfe", 1, "--sampling", "--best-of", 2, "--tilt", 1)
    generated(composing(prompts, models.museformer, out, *given, alone=False))
    (row,) = (json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines())
    assert row["settings"]["full_system"]["best_of"] == 2
    assert row["settings"]["full_system"]["strength"] == 1
    assert [section["text"] for section in row["sections"]] == ["calm, 80 bpm", "storm"]
    assert row["section_attributes"][0]["tempo"] == pytest.approx(80, abs=1)
    again = (*given, "--from", out / "a-0.mid", "--regenerate", "3-4")
    generated(composing(prompts_of(tmp_path, "loud"), models.museformer, tmp_path / "again", *again, alone=False))
    (row,) = (json.loads(line) for line in (tmp_path / "again" / "manifest.jsonl").read_text().splitlines())
    assert row["settings"]["regenerated"]["bars"] == [3, 4]
    add_arguments(compose)
    flags = {flag for action in compose._actions for flag in action.option_strings}
    generation = options.get_generation_parser()
    tasks.TASK_REGISTRY["summary_bridge"].add_args(generation)
    known = {flag for action in generation._actions for flag in action.option_strings}
    own = {"--prompts", "--output", "--model", "--device", "--top-k", "--top-p", "--no-audio", "--no-picture", "-h"}
    assert flags - own - known <= {"--help"}


def prompts_of(folder, text):
    path = folder / "again.txt"
    path.write_text(f"{text}\n")
    return path


def test_a_checkpoint_of_the_general_vocabulary_composes_in_it(prompts, tmp_path):
    symbols = vocabulary.general()
    model = museformer(
        vocabulary_size=len(symbols),
        vocabulary_sha256=symbols.sha256,
        onset_ids=(symbols.range("o").start, symbols.range("o").stop),
        offbeat_ids=(symbols.range("s").start, symbols.range("s").stop),
    )
    # As fairseq writes it, which names no vocabulary.
    arguments = {name: v for name, v in arguments_from_config(model.config).items() if name != "vocabulary_sha256"}
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
    state = {
        "args": argparse.Namespace(criterion="cross_entropy", sentence_avg=False, **arguments),
        "model": with_aliases(dict(model.named_parameters())),
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }
    torch.save(state, tmp_path / "general.pt")
    generated(composing(prompts, tmp_path / "general.pt", tmp_path / "out"))
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a", "b"]
    assert all((tmp_path / "out" / row["files"]["midi"]).exists() for row in rows)


def test_a_bridge_that_runs_code_is_refused_without_running_it(models, prompts, tmp_path):
    state = read_state(models.bridge)
    torch.save({**state, "extra_state": Malicious(tmp_path / "executed")}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match=r"evil\.pt was not loaded: .*mkdir, which may run code"):
        generated(composing(prompts, models.museformer, tmp_path / "out", "--bridge", tmp_path / "evil.pt"))
    assert not (tmp_path / "executed").exists()


def test_a_bridge_of_another_museformer_is_refused(models, prompts, tmp_path):
    given = (prompts, "--path", models.museformer, "--midi-dir", tmp_path, "--bridge", models.bridge)
    with pytest.raises(InputError, match="was trained for model and"):
        generated(configured(options.get_generation_parser(), *given))


def test_composing_refuses_what_it_cannot_use(models, prompts, tmp_path):
    torch.save({"args": None, "model": {"decoder.x": torch.zeros(1)}}, tmp_path / "other.pt")
    out, bridge = tmp_path / "out", ("--bridge", models.bridge)
    for cfg, reason in (
        (composing(prompts, models.museformer, out, "--bridge", tmp_path / "other.pt"), "holds another model"),
        (composing(prompts, models.museformer, out, "--bridge", tmp_path / "none"), "none must be a bridge"),
        (composing(prompts, f"{models.museformer}:{models.museformer}", out), "one MuseFormer .* received 2 models"),
        (composing(prompts, models.museformer, out, "--inject-layers", "a"), "--inject-layers"),
        (composing(prompts, models.museformer, out, *bridge, "--inject-scope", "future"), "scope must be one of"),
        (composing(tmp_path / "missing.txt", models.museformer, out), "missing.txt"),
    ):
        with pytest.raises(InputError, match=reason):
            generated(cfg)
    cfg = configured(options.get_generation_parser(), prompts, "--path", models.museformer)
    with pytest.raises(InputError, match="give --midi-dir DIR"):
        generated(cfg)
