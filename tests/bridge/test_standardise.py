"""Into unit variance and back."""

import pytest
import torch

from fairseq_meloformer.bridge.standardise import SummaryStandardiser, TextStandardiser
from fairseq_meloformer.encoders.embeddings import TextStates
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.summaries.statistics import Moments, Statistics, principal_components

LAYERS, DIM = 3, 5


@pytest.fixture
def songs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(15, 15, generator=generator)
    flat = [torch.randn(bars, 15, generator=generator) @ mixing * 3 + 7 for bars in (40, 25, 60)]
    return [song.reshape(-1, LAYERS, DIM) for song in flat]


def statistics(songs: list[torch.Tensor]) -> Statistics:
    moments = Moments()
    for song in songs:
        moments.update(song)
    return moments.statistics()


@pytest.mark.parametrize("components", [0, 15])
def test_the_way_back_is_the_inverse(songs: list[torch.Tensor], components: int) -> None:
    standardiser = SummaryStandardiser(LAYERS, DIM, components)
    fitted = statistics(songs)
    standardiser.fit(fitted, principal_components(map(fitted.normalise, songs), components) if components else None)
    every = torch.cat(songs)
    channels = standardiser.normalise(every)
    assert channels.shape == (125, 15)
    torch.testing.assert_close(standardiser.denormalise(channels), every, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(channels.mean(0), torch.zeros(15), rtol=0, atol=1e-4)
    assert channels.var(0, correction=0).mean().item() == pytest.approx(1, rel=1e-3)


def test_components_keep_what_they_span_and_their_proportions(songs: list[torch.Tensor]) -> None:
    standardiser = SummaryStandardiser(LAYERS, DIM, 4)
    fitted = statistics(songs)
    components = principal_components(map(fitted.normalise, songs), 4)
    standardiser.fit(fitted, components)
    every = torch.cat(songs)
    channels = standardiser.normalise(every)
    kept = standardiser.denormalise(channels)
    torch.testing.assert_close(standardiser.normalise(kept), channels, rtol=1e-4, atol=1e-4)
    lost = fitted.normalise(every - kept + fitted.mean.float()).square().sum((1, 2)).mean().item()
    assert lost == pytest.approx(components.total - components.variances.sum().item(), rel=1e-3)
    variances = channels.var(0, correction=0).double()
    torch.testing.assert_close(variances / variances.sum(), components.variances / components.variances.sum())

    difference = standardiser.spread(channels[1:] - channels[:-1])
    torch.testing.assert_close(difference, fitted.normalise(kept).diff(dim=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("components", [0, 10])
def test_layers_that_are_not_kept_come_back_as_their_mean(songs: list[torch.Tensor], components: int) -> None:
    standardiser = SummaryStandardiser(LAYERS, DIM, components, (0, 2))
    fitted = statistics(songs)
    chosen = (fitted.normalise(song)[:, [0, 2]] for song in songs)
    standardiser.fit(fitted, principal_components(chosen, components) if components else None)
    every = torch.cat(songs)
    channels = standardiser.normalise(every)
    assert channels.shape == (125, 10)
    assert torch.equal(standardiser.normalise(every * torch.tensor([1, 5, 1])[:, None]), channels)
    back = standardiser.denormalise(channels)
    torch.testing.assert_close(back[:, [0, 2]], every[:, [0, 2]], rtol=1e-4, atol=1e-4)
    assert torch.equal(back[:, 1], fitted.mean.float()[1].expand(125, DIM))
    difference = standardiser.spread(channels.diff(dim=0))
    torch.testing.assert_close(difference[:, [0, 2]], fitted.normalise(every)[:, [0, 2]].diff(dim=0))
    assert not difference[:, 1].any()


def test_other_shapes_are_refused(songs: list[torch.Tensor]) -> None:
    with pytest.raises(InputError, match=r"\(3, 6\) with 0 components; received statistics of \(3, 5\) with 0"):
        SummaryStandardiser(LAYERS, DIM + 1, 0).fit(statistics(songs))
    with pytest.raises(InputError, match=r"with 2 components; received statistics of \(3, 5\) with 0"):
        SummaryStandardiser(LAYERS, DIM, 2).fit(statistics(songs))
    with pytest.raises(InputError, match="to layers \\* dim = 15"):
        SummaryStandardiser(LAYERS, DIM, 16)
    with pytest.raises(InputError, match="to layers \\* dim = 5"):
        SummaryStandardiser(LAYERS, DIM, 6, (1,))
    fitted = statistics(songs)
    with pytest.raises(InputError, match=r"layers \[1\], \(layers, dim\) \(1, 5\); received components of \(3, 5\)"):
        SummaryStandardiser(LAYERS, DIM, 2, (1,)).fit(fitted, principal_components(map(fitted.normalise, songs), 2))


def test_texts_come_out_in_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    states = 0.1 * torch.randn(50, 7, 4, generator=generator) + 5
    mask = torch.rand(50, 7, generator=generator) > 0.3
    states[~mask] = 1e6
    text = TextStates(states, mask, 0.02 * torch.randn(50, 4, generator=generator) - 1)
    standardiser = TextStandardiser(4)
    standardiser.fit(text)
    standard = standardiser(text)
    for values in (standard.states[mask], standard.pooled):
        torch.testing.assert_close(values.mean(0), torch.zeros(4), rtol=0, atol=1e-4)
        torch.testing.assert_close(values.std(0), torch.ones(4), rtol=1e-3, atol=0)
