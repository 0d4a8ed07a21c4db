"""The criterion of plan training beside fairseq's cross entropy."""

import dataclasses
import math
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from fairseq import options, tasks
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq_cli import train as fairseq_train
from injection.models import museformer
from plugin.precision import check_products

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.injection import inject
from fairseq_meloformer.injection.plan_training import own_summaries
from fairseq_meloformer.measures.attributes import AXES, measure
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.museformer import model as museformer_model
from fairseq_meloformer.museformer.checkpoints import read_state
from fairseq_meloformer.plugin import compat
from fairseq_meloformer.plugin.plan_criterion import PlanCriterion


def configured(corpus, *more):
    arguments = (corpus.data, "--task", "museformer_language_modeling", "--arch", "museformer_lm_v2s1_debug", "--cpu")
    recipe = ("--criterion", "museformer_plan", "--dropout", 0, "--attention-dropout", 0)
    given = [str(value) for value in (*arguments, *recipe, *more)]
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), given))


@pytest.fixture(scope="module")
def setting(corpus):
    """Task, model and a batch of four songs."""
    compat.apply()  # its filters: this runs before any test
    cfg = configured(corpus)
    task = tasks.setup_task(cfg.task)
    task.load_dataset("valid")
    torch.manual_seed(0)
    model = task.build_model(cfg.model)
    songs = task.dataset("valid")
    return task, model, songs.collater([songs[index] for index in range(4)])


@pytest.fixture
def criterion(corpus, setting):
    """Builds a criterion with these options."""
    return lambda *more: setting[0].build_criterion(configured(corpus, *more).criterion)


def reduced(kind, *logs):
    with metrics.aggregate(new_root=True) as aggregated:
        kind.reduce_metrics(logs)
    return aggregated.get_smoothed_values()


def test_validation_reports_the_loss_without_a_plan_and_with_one(setting, criterion):
    task, model, sample = setting
    model.eval()
    with torch.no_grad():
        expected, size, logs = CrossEntropyCriterion(task, sentence_avg=False)(model, sample)
        loss, planned_size, planned_logs = criterion()(model, sample)
        plan, mask = own_summaries(model.decoder, sample["net_input"]["src_tokens"])
        with inject(model.decoder, plan, scope="plan", mask=mask):
            planned, _, _ = CrossEntropyCriterion(task, sentence_avg=False)(model, sample)
    assert torch.equal(loss, expected)
    assert planned_size == size
    assert logs.items() <= planned_logs.items()
    assert torch.equal(planned_logs["plan_loss"], planned)
    values = reduced(PlanCriterion, planned_logs, planned_logs)
    assert values["loss"] == reduced(CrossEntropyCriterion, logs)["loss"]
    assert values["plan_loss"] == pytest.approx(float(planned) / size / math.log(2), abs=1e-3)
    assert values["plan_loss"] != values["loss"]


def test_torchs_seed_decides_alone_in_training(setting, criterion):
    _, model, sample = setting
    model.train()
    planning = criterion()

    def outcome(seed):
        torch.manual_seed(seed)
        loss, _, logs = planning(model, sample)
        model.zero_grad()
        loss.backward()
        return float(loss.detach()), logs["plan_tokens"], model.decoder.layers[0].reg_fc1.weight.grad.clone()

    runs = [outcome(seed) for seed in range(8)]
    again = outcome(3)
    assert again[:2] == runs[3][:2]
    assert torch.equal(again[2], runs[3][2])
    assert {tokens for _, tokens, _ in runs} == {0, sample["ntokens"]}
    assert len({loss for loss, _, _ in runs}) > 3


def test_the_share_of_batches_with_a_plan_is_an_option(setting, criterion):
    task, model, sample = setting
    model.train()
    expected, _, logs = CrossEntropyCriterion(task, sentence_avg=False)(model, sample)
    never, _, unplanned = criterion("--plan-probability", 0)(model, sample)
    assert torch.equal(never, expected)
    assert "plan_loss" not in reduced(PlanCriterion, unplanned)
    always, size, planned = criterion("--plan-probability", 1)(model, sample)
    assert not torch.equal(always, expected)
    assert (planned["plan_tokens"], float(planned["plan_loss"])) == (logs["ntokens"], float(always.detach()))
    # Of two batches, of which one had a plan, the plan's loss is that of the one.
    values = reduced(PlanCriterion, unplanned, planned)
    assert values["plan_loss"] == pytest.approx(float(always.detach()) / size / math.log(2), abs=1e-3)
    assert model.decoder.reading is None


def test_tempo_tokens_can_weigh_more_in_training_alone(setting, criterion):
    task, model, sample = setting
    weighted = criterion("--plan-probability", 0, "--tempo-weight", 5)
    model.train()
    each, _ = CrossEntropyCriterion(task, sentence_avg=False).compute_loss(
        model, model(**sample["net_input"]), sample, reduce=False
    )
    symbols = task.source_dictionary.symbols
    tempi = torch.tensor([symbols[index].startswith("t-") for index in sample["target"].flatten().tolist()])
    assert 0 < tempi.sum() < len(tempi)
    loss, _, _ = weighted(model, sample)
    torch.testing.assert_close(loss, each[~tempi].sum() + 5 * each[tempi].sum())
    model.eval()
    plain, _, _ = weighted(model, sample)
    torch.testing.assert_close(plain, CrossEntropyCriterion(task, sentence_avg=False)(model, sample)[0])


def test_half_of_the_songs_are_learnt_as_the_middle_of_longer_ones(setting, criterion):
    task, model, sample = setting
    decoder = model.decoder
    shifting = criterion("--first-bar-below", 3)
    numbers = []
    spy = decoder.layers[0].register_forward_pre_hook(lambda *_: numbers.append(decoder.first_bars))
    model.train()
    for _ in range(25):
        shifting(model, sample)
    plain = criterion("--plan-probability", 0, "--first-bar-below", 3)
    loss, _, _ = plain(model, sample)
    last = numbers[-1]
    model.eval()
    plain(model, sample)
    spy.remove()
    assert numbers[-1] is None
    counts = torch.bincount(torch.cat([drawn for drawn in numbers if drawn is not None])).tolist()
    assert len(counts) == 3
    assert counts[0] > counts[1] + counts[2] > 0  # half, and a third of the others
    model.train()
    with decoder.counting_from(last):
        expected, _, _ = CrossEntropyCriterion(task, sentence_avg=False)(model, sample)
    torch.testing.assert_close(loss, expected)
    assert decoder.first_bars is None


@pytest.fixture(scope="module")
def measured(corpus, tmp_path_factory):
    """The corpus with its quantiles, as `scripts/prepare.sh` leaves it."""
    folder = tmp_path_factory.mktemp("measured")
    shutil.copytree(corpus.data, folder, dirs_exist_ok=True)
    Quantiles.fit(measure(line.split()) for line in corpus.songs["train"]).save(folder / "quantiles.json")
    return dataclasses.replace(corpus, data=folder)


def reading(corpus, *more):
    """A model and a criterion with readers."""
    cfg = configured(corpus, "--attribute-weight", 3, "--plan-through", *more)
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(0)
    model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
    songs = task.load_dataset("train")
    return model, criterion, songs.collater([songs[index] for index in range(4)])


def test_readers_of_the_summaries_add_their_error_to_the_loss_of_batches_with_a_plan(measured, criterion):
    model, readers, sample = reading(measured, "--plan-probability", 1)
    plain = criterion("--plan-probability", 1, "--plan-through")
    model.train()
    torch.manual_seed(1)
    loss, _, logs = readers(model, sample)
    torch.manual_seed(1)
    expected, _, _ = plain(model, sample)
    assert logs["attribute_error"] > 0
    torch.testing.assert_close(loss, expected + 3 * logs["attribute_error"])
    torch.testing.assert_close(logs["loss"], expected.detach())
    bars = sum(measured.songs["train"][index].split().count("b-1") for index in range(4))
    assert sample["positions"].shape[2] == len(AXES)
    assert 0 < logs["attribute_values"] <= bars * len(AXES)
    values = reduced(PlanCriterion, logs, logs)
    mean = float(logs["attribute_error"] / logs["attribute_values"])
    assert values["attribute_error"] == pytest.approx(mean, abs=1e-3)
    loss.backward()
    assert all(parameter.grad.any() for parameter in readers.parameters())
    model.eval()
    assert torch.equal(readers(model, sample)[0], plain(model, sample)[0])


def test_in_ordinary_batches_readers_have_no_part(measured, setting):
    task = setting[0]
    model, readers, sample = reading(measured, "--plan-probability", 0)
    model.train()
    loss, _, logs = readers(model, sample)
    expected, _, _ = CrossEntropyCriterion(task, sentence_avg=False)(model, sample)
    torch.testing.assert_close(loss, expected)
    assert "attribute_error" not in reduced(PlanCriterion, logs)
    loss.backward()
    assert not any(parameter.grad.any() for parameter in readers.parameters())  # zeros, which other processes wait for


def test_levels_are_those_of_the_first_of_several_folders(measured):
    several = dataclasses.replace(measured, data=f"{measured.data}:{measured.data}")
    assert reading(several)[2]["positions"].shape[2] == len(AXES)


def test_readers_need_levels(corpus):
    with pytest.raises(InputError, match=r"quantiles\.json"):
        reading(corpus)


def test_a_model_is_tuned_with_readers_and_goes_on_with_them(measured, tmp_path, caplog):
    """One that was trained without any, for long; stopped after two updates, and gone on with."""
    options = ("--optimizer", "adam", "--lr", 0.003, "--max-tokens", 300, "--no-epoch-checkpoints", "--num-workers", 0)
    options += ("--log-format", "simple", "--log-interval", 1, "--first-bar-below", 8, "--disable-validation")

    def train(folder, *more):
        caplog.clear()
        with caplog.at_level("INFO"):
            fairseq_train.main(configured(measured, *options, "--plan-through", "--save-dir", folder, *more))
        return caplog.text, read_state(folder / "checkpoint_last.pt")

    _, before = train(tmp_path / "before", "--max-update", 1)
    before["extra_state"]["previous_training_time"] = 1e6  # seconds, which --stop-time-hours does not count
    torch.save(before, tmp_path / "before" / "checkpoint_last.pt")
    start = ("--attribute-weight", 2, "--finetune-from-model", tmp_path / "before" / "checkpoint_last.pt")
    start += ("--stop-time-hours", 10)
    for updates in (2, 4):
        printed, after = train(tmp_path / "after", *start, "--max-update", updates)
    assert re.findall(r"num_updates=(\d+)", printed) == ["3", "4"]
    assert re.search(r"attribute_error=0\.\d+", printed)
    assert {name.partition(".")[0] for name in after["criterion"]} == {"readers"}
    assert after["model"].keys() == before["model"].keys()


def test_options_are_lists_as_python_has_them(criterion):
    recipe = criterion("--plan-noise", "(0.1,)", "--plan-dropped", "[0, 0.5]", "--plan-near", "None, (1, 2)").recipe
    assert (list(recipe.noise), list(recipe.dropped), list(recipe.near)) == ([0.1], [0, 0.5], [None, (1, 2)])


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--plan-probability", 2, r"probability must be in \[0, 1\]"),
        ("--tempo-weight", 0, "--tempo-weight must be above 0"),
        ("--first-bar-below", 0, "--first-bar-below must be at least 1"),
        ("--attribute-weight", -1, "--attribute-weight must be at least 0"),
        ("--attribute-weight", 1, "--attribute-weight needs --plan-through"),
        ("--plan-noise", "(-1,)", "noise must be at least 0"),
        ("--plan-dropped", "(1.0,)", r"dropped must be in \[0, 1\)"),
        ("--plan-near", "()", "every list must have an entry"),
        ("--plan-noise", "0.2", r"--plan-noise must be a list such as .*received '0.2'"),
        ("--plan-noise", "('loud',)", r"--plan-noise must be a list such as .*received \"\('loud',\)\""),
        ("--plan-near", "None", "--plan-near must be a list such as .*received 'None'"),
        ("--plan-near", "1, 2", "--plan-near must be a list such as .*received '1, 2'"),
        ("--plan-dropped", "some", "--plan-dropped must be a list such as .*received 'some'"),
    ],
)
def test_bad_options_are_refused(flag, value, reason, criterion):
    with pytest.raises(InputError, match=reason):
        criterion(flag, value)


def test_summary_projections_alone_learn_where_that_is_asked_for(corpus, setting, criterion):
    sample = setting[2]
    cfg = configured(corpus, "--train-summary-projections-only")
    model = tasks.setup_task(cfg.task).build_model(cfg.model)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(filter(lambda parameter: parameter.requires_grad, model.parameters()), lr=0.01)
    loss, _, _ = criterion("--plan-probability", 1)(model.train(), sample)
    loss.backward()
    optimiser.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    projections = ("sum_key2_proj.weight", "sum_value2_proj.weight")
    assert changed == {
        f"decoder.layers.{layer}.self_attn.{projection}" for layer in range(2) for projection in projections
    }


@pytest.mark.parametrize("flag", ["--fp16", "--bf16", "--amp"])
def test_fairseqs_half_precisions_are_refused(corpus, flag):
    cfg = configured(corpus)
    halved = tasks.setup_task(configured(corpus, flag).task)
    with pytest.raises(InputError, match=f"{flag} must not be given"):
        halved.build_model(cfg.model)
    assert halved.build_model(cfg.model, from_checkpoint=True) is not None  # a checkpoint that was trained so opens
    assert tasks.setup_task(cfg.task).build_model(cfg.model) is not None


def test_steps_calculate_in_bfloat16_where_that_is_faster(setting, criterion, monkeypatch):
    task, model, sample = setting
    planning = criterion("--plan-probability", 1, "--plan-through")
    optimiser = SimpleNamespace(backward=lambda loss: loss.backward())

    def step():
        loss, _, _ = task.train_step(sample, model, planning, optimiser, 0)
        task.valid_step(sample, model, planning)
        return loss

    check_products(monkeypatch, model, model.decoder.layers[0].reg_fc1, step)


def test_a_step_as_a_gpu_takes_it_has_the_same_loss_and_gradients(setting, criterion, monkeypatch):
    _, model, sample = setting
    planning = criterion("--plan-probability", 1, "--plan-through")
    outcomes = []
    for padded in (False, True):
        monkeypatch.setattr(museformer_model, "pads", lambda _, padded=padded: padded)
        torch.manual_seed(0)
        model.zero_grad()
        loss, _, _ = planning(model, sample)
        loss.backward()
        outcomes.append([loss, *(each.grad for each in model.parameters() if each.grad is not None)])
    torch.testing.assert_close(*outcomes, rtol=1e-3, atol=1e-4)


def test_tuning_takes_its_sizes_from_the_model_that_it_begins_with(corpus, tmp_path):
    museformer(vocabulary_sha256="").save_pretrained(tmp_path)
    tuned = configured(corpus, "--finetune-from-model", tmp_path)
    task = tasks.setup_task(tuned.task)
    config = task.build_model(tuned.model).decoder.config
    assert (config.layers, config.dim, config.heads, config.bar_dim) == (2, 32, 2, 8)
    assert tuned.model.attention_embed_dim == 32  # which is what checkpoints then say
    missing = configured(corpus, "--finetune-from-model", tmp_path / "nowhere")
    task = tasks.setup_task(missing.task)
    with pytest.raises(InputError, match="nowhere"):
        task.build_model(missing.model)
    assert task.build_model(missing.model, from_checkpoint=True) is not None  # tuned once, where that model is no more
