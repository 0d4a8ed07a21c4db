"""Small runs of the campaigns; the long ones are commands, and their figures are in docs/reliability.md."""

import logging

import pytest

from tests.campaigns import campaign, disk, kills, midi, models, places, prompts, server, threads


@pytest.fixture(autouse=True)
def warnings_of_later_tests():
    """Campaigns silence the package, of which others want to hear."""
    logger = logging.getLogger("fairseq_meloformer")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.mark.parametrize(
    ("case", "cases", "ends"),
    [
        (midi.case, 300, 3),
        (models.case, 60, 1),
        (prompts.case, 60, 2),
        (threads.case, 5, 1),
        (server.case, 20, 3),
        (lambda rng: kills.case(rng, *kills.LIGHT), 6, 2),
        (disk.case, 6, 2),
        (places.case, 8, 3),
    ],
    ids=["midi", "models", "prompts", "threads", "server", "kills", "disk", "places"],
)
def test_nothing_is_lost_and_every_fault_is_a_sentence(case, cases, ends):
    found = campaign.run(case, cases)
    assert not found.faults
    assert found.cases == cases
    assert len(found.ends) >= ends


def test_a_fault_is_found():
    def case(rng):
        return str(1 // rng.choice((0, 0)))

    assert campaign.run(case, 2).faults[0].startswith("0: ZeroDivisionError")
