"""The learning rate that comes down by the clock."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.optim import FairseqOptimizer

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.plugin import in_time


class Optimiser(FairseqOptimizer):
    """Keeps the rate that it is given."""

    params = (torch.zeros(1),)

    def __init__(self):
        self.rate = None

    def set_lr(self, lr):
        self.rate = lr

    def get_lr(self):
        return self.rate


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(in_time, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def schedule(hours=1.0, warmup=4):
    return in_time.InTime(SimpleNamespace(lr=[0.5], warmup_updates=warmup, stop_time_hours=hours), Optimiser())


def test_it_rises_by_updates_stays_and_falls_to_nothing_by_the_hour(clock):
    rate = schedule()
    assert [rate.step_update(update) for update in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    found = []
    for minute in (36, 48, 60, 70):
        clock.seconds = 1000 + 60 * minute
        found.append(rate.step_update(100))
    assert found == pytest.approx([0.5, 0.25, 0, 0])


def test_a_run_that_was_stopped_has_the_rest_of_the_time(clock):
    rate = schedule()
    clock.seconds += 2400
    kept = rate.state_dict()
    clock.seconds += 86400  # the night
    later = schedule()
    later.load_state_dict(kept)
    clock.seconds += 600
    assert later.spent == 3000
    assert later.step_update(100) == pytest.approx(0.5 * (10 / 60) / 0.4)


def test_a_training_that_never_ends_has_no_such_schedule():
    with pytest.raises(InputError, match="needs --stop-time-hours"):
        schedule(hours=-1)
