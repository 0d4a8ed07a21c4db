"""Readers of what summaries say: what they count, and that summaries learn to be read."""

import pytest
import torch
from injection.models import DIM, LAYERS, museformer

from fairseq_meloformer.injection.attribute_training import AttributeReaders, positions
from fairseq_meloformer.injection.plan_training import own_summaries
from fairseq_meloformer.measures.attributes import AXES, measure
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.tokens import vocabulary
from fairseq_meloformer.tokens.vocabulary import BOS


def song(pitches, velocity):
    """A bar for each pitch, of one note; None for an empty bar."""
    bars = [("t-30", "o-0", "i-0", f"p-{pitch}", "d-12", f"v-{velocity}") if pitch else ("t-30",) for pitch in pitches]
    return [token for bar in bars for token in (*bar, "b-1")]


LOW, HIGH = song([40, 43, 40, 44], 5), song([80, 83, 80, 84], 28)


def wanted(quantiles, *songs):
    rows = [positions(tokens, quantiles) for tokens in songs]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)


def ids(*songs):
    rows = [torch.tensor([BOS, *vocabulary.published().ids(tokens)]) for tokens in songs]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)


@pytest.fixture(scope="module")
def quantiles():
    return Quantiles.fit(
        {axis: float(value) for axis in AXES} | measured
        for value, measured in [(-1, {}), (0, measure(LOW)), (1, measure(HIGH)), (2, {})]
    )


def test_the_error_is_that_of_readers_on_summaries_of_finished_bars(quantiles):
    model, tokens = museformer(), ids(LOW, [*HIGH[:-1], *HIGH[:3]])
    readers = AttributeReaders(LAYERS, DIM, noise=0)
    songs = [LOW, [*HIGH[:-1], *HIGH[:3]]]
    plan, mask = own_summaries(model, tokens)
    error, count = readers(plan, mask, wanted(quantiles, *songs))
    expected = []
    for row, (music, bars) in enumerate([(LOW, 4), (HIGH, 3)]):
        for bar in range(bars):
            found = quantiles.positions(measure(music, max(0, bar - 3), bar + 1))
            read = [reader(plan[row, bar, layer]) for layer, reader in enumerate(readers.readers)]
            for column, axis in enumerate(AXES):
                if axis in found:
                    expected.append(sum((value[column] - found[axis]) ** 2 for value in read) / LAYERS)
    assert count == len(expected)
    assert 0 < count < 7 * len(AXES)  # a bar of one pitch has no mode
    torch.testing.assert_close(error, sum(expected))


def test_an_empty_bar_is_measured_with_those_before_it_or_not_at_all(quantiles):
    model, music = museformer(), song([None, 60, None], 20)
    readers = AttributeReaders(LAYERS, DIM)
    error, count = readers(*own_summaries(model, ids(music)), wanted(quantiles, music))
    _, without = readers(*own_summaries(model, ids(music[3:])), wanted(quantiles, music[3:]))
    assert error.isfinite()
    assert 0 < count == without


def test_summaries_learn_to_be_read_against_the_noise(quantiles):
    model, tokens, asked = museformer(), ids(LOW, HIGH), wanted(quantiles, LOW, HIGH)
    readers = AttributeReaders(LAYERS, DIM)

    def contrast():
        plan, _ = own_summaries(model, tokens)
        return float((plan[0] - plan[1]).abs().mean().detach() / plan.std(1).mean().detach())

    def train(parameters):
        optimiser = torch.optim.Adam(parameters, lr=3e-3)
        errors = []
        for _ in range(40):
            error, count = readers(*own_summaries(model, tokens), asked)
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            errors.append(float(error.detach()) / count)
        return sum(errors[-10:]) / 10

    torch.manual_seed(0)
    before = contrast()
    by_readers_alone = train(readers.parameters())
    assert contrast() == before
    together = train([*readers.parameters(), *model.parameters()])
    assert together < 0.7 * by_readers_alone
    assert contrast() > 1.2 * before
    with torch.no_grad():
        plan, _ = own_summaries(model, tokens)
        read = readers.readers[0](plan[:, :, 0])[..., AXES.index("register")].mean(1)
    assert read[1] - read[0] > 0.5
