"""Every method of the comparison through the real task, and from its checkpoint through the real Composer."""

import json

import pytest
import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import train as fairseq_train
from injection.models import museformer
from small_corpus import SONGS, prepare

from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.bridge.baselines.methods import SETTINGS
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.convert import convert
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer.checkpoints import read_state
from fairseq_meloformer.plugin import compat
from fairseq_meloformer.words.prompts import Request

BANK = 5


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    compat.apply()  # its filters: this runs before any test
    return prepare(tmp_path_factory.mktemp("prepared"))


def configured(prepared, method, *more):
    given = ["--task", "summary_bridge", "--arch", "summary_bridge_debug", "--criterion", "summary_bridge"]
    given += ["--method", method, "--bank", BANK, "--text-encoder", "dummy:12", "--most-bars", 8, "--components", 6]
    given += ["--optimizer", "adam", "--lr", 0.01, "--batch-size", 4, "--average-decay", 0.5, "--num-workers", 0]
    if method == "prefix":
        given += ["--museformer", prepared.museformer, "--songs", prepared.songs]
    arguments = [str(part) for part in (prepared.store, "--cpu", *given, *more)]
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), arguments))


@pytest.mark.parametrize("method", SETTINGS)
def test_a_method_is_trained_kept_and_composed_with(method, prepared, tmp_path):
    cfg = configured(prepared, method, "--save-dir", tmp_path, "--max-epoch", 3, "--no-epoch-checkpoints")
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(cfg.common.seed)
    before = {name: value.clone() for name, value in task.build_model(cfg.model).bridge.named_parameters()}
    fairseq_train.main(cfg)
    state = read_state(tmp_path / "checkpoint_last.pt")["model"]
    idle = {"text.", "summaries."}
    moved = {name for name, value in before.items() if not torch.equal(value, state[f"bridge.{name}"])}
    assert any(name.startswith("bars_head") for name in moved)
    assert method == "mean" or any(not name.startswith("bars_head") for name in moved - idle)
    assert not any("museformer" in name for name in state)

    convert(tmp_path / "checkpoint_last.pt", tmp_path / "bridge")
    assert json.loads((tmp_path / "bridge" / "config.json").read_text())["method"] == method
    bridge = Bridge.from_pretrained(tmp_path / "bridge")
    composer = Composer(museformer(), bridge)
    requests = [Request("high", seed=1, bars=2), Request("low", seed=2, bars=3)]
    pieces = composer.compose(requests, Settings(nfe=2, bar_tokens=12))
    assert [piece.tokens.count("b-1") for piece in pieces] == [2, 3]


def test_a_prefix_learns_from_tokens_what_a_mean_summary_does_not_tell(prepared, tmp_path):
    cfg = configured(prepared, "prefix", "--save-dir", tmp_path, "--max-epoch", 40, "--no-save")
    task = tasks.setup_task(cfg.task)
    model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
    task.load_dataset("train")
    songs = task.dataset("train")
    batch = songs.collater([songs[index] for index in range(SONGS["train"])])
    model.train()
    optimiser = torch.optim.Adam(model.bridge.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        loss, size, logs = criterion(model, batch)
        optimiser.zero_grad()
        (loss / size).backward()
        optimiser.step()
        losses.append(float(logs["tokens"]) / size)
    assert losses[-1] < losses[0] - 0.02
    assert all(parameter.grad is None for parameter in task.museformer.parameters())


def test_a_prefix_says_what_it_lacks(prepared):
    for missing, reason in (
        (("--museformer", "--songs"), r"give --museformer, and --songs"),
        (("--songs",), r"give --museformer, and --songs"),
    ):
        cfg = configured(prepared, "prefix")
        for flag in missing:
            setattr(cfg.task, flag.removeprefix("--"), None)
        with pytest.raises(InputError, match=reason):
            tasks.setup_task(cfg.task).build_model(cfg.model)


def test_a_prefix_refuses_another_museformer_and_other_music(prepared, tmp_path):
    museformer(dim=16).save_pretrained(tmp_path / "other")
    cfg = configured(prepared, "prefix", "--museformer", tmp_path / "other")
    with pytest.raises(InputError, match="must be the MuseFormer that the store was extracted with"):
        tasks.setup_task(cfg.task).build_model(cfg.model)
    for subset in SONGS:
        (tmp_path / f"{subset}.tokens").write_text("b-1\n")
        (tmp_path / f"{subset}.items.jsonl").write_text('{"id": "another"}\n')
    task = tasks.setup_task(configured(prepared, "prefix", "--songs", tmp_path).task)
    task.load_dataset("train")
    with pytest.raises(InputError, match="lacks 'train0'"):
        task.dataset("train")[0]


def test_unknown_methods_and_ends_that_do_not_fit_are_refused(prepared):
    with pytest.raises(InputError, match="--method must be one of bridge, flow"):
        configured(prepared, "magic")
    cfg = configured(prepared, "flow", "--endpoint", "regressed")
    with pytest.raises(InputError, match="need a text end, the others must have endpoint none"):
        tasks.setup_task(cfg.task).build_model(cfg.model)


def test_a_flow_starts_from_noise_alone(prepared):
    cfg = configured(prepared, "flow")
    assert (cfg.model.noise, cfg.model.endpoint_noise, cfg.model.endpoint) == (0.0, 1.0, "none")
    cfg = configured(prepared, "regression")
    assert cfg.model.endpoint_depth == cfg.model.depth
