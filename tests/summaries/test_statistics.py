from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.summaries.statistics import Moments, Statistics, principal_components

LENGTHS = st.lists(st.integers(0, 7), min_size=1, max_size=6).filter(any)


def items(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    # A large mean shows up naive formulas.
    return [1e4 + torch.randn(bars, 2, 3, generator=generator) * torch.arange(3) for bars in lengths]


@settings(deadline=None, max_examples=30)
@given(LENGTHS, st.integers(0, 6))
def test_streamed_and_merged_moments_equal_the_direct_ones(lengths: list[int], cut: int) -> None:
    left, right = Moments(), Moments()
    for index, item in enumerate(items(lengths)):
        (left if index < cut else right).update(item)
    left.merge(right)
    everything = torch.cat(items(lengths)).double()
    found = left.statistics()
    assert found.bars == len(everything)
    torch.testing.assert_close(found.mean, everything.mean(0), rtol=1e-13, atol=0)
    torch.testing.assert_close(found.std, everything.std(0, correction=0), rtol=1e-9, atol=1e-9)


def test_normalised_summaries_have_unit_variance_but_for_dead_channels(tmp_path: Path) -> None:
    moments = Moments()
    moments.update(torch.cat(items([50])).double())
    statistics = moments.statistics()
    assert statistics.std[0, 0] == 0
    x = torch.randn(4, 5, 2, 3, dtype=torch.float64)
    normalised = statistics.normalise(items([50])[0].double())
    torch.testing.assert_close(normalised.mean(0), torch.zeros(2, 3, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(normalised.std(0, correction=0)[:, 1:], torch.ones(2, 2, dtype=torch.float64))
    assert statistics.normalise(x.float()).dtype == torch.float32
    statistics.save(tmp_path / "statistics.safetensors")
    again = Statistics.load(tmp_path / "statistics.safetensors")
    assert torch.equal(again.mean, statistics.mean)
    assert torch.equal(again.std, statistics.std)
    assert again.bars == 50


@settings(deadline=None, max_examples=20)
@given(LENGTHS)
def test_components_equal_those_of_a_direct_decomposition(lengths: list[int]) -> None:
    everything = torch.cat(items(lengths)).double().flatten(1)
    centred = everything - everything.mean(0)
    variances = torch.linalg.svdvals(centred) ** 2 / len(everything)
    found = principal_components(items(lengths), components=6)
    torch.testing.assert_close(found.variances[: len(variances)], variances[:6], rtol=1e-6, atol=1e-6)
    flat = found.components.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-9)


def test_projections_keep_what_the_components_span() -> None:
    line = torch.randn(40, 1, 1) * torch.randn(1, 2, 3) + 5
    found = principal_components(line.split(7), components=1)
    back = torch.einsum("bk,kld->bld", found.project(line), found.components.float()) + found.mean.float()
    torch.testing.assert_close(back, line)
    assert found.project(line).shape == (40, 1)
    assert found.explained.item() == pytest.approx(1)


def test_nothing_to_measure_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one bar"):
        Moments().statistics()
    with pytest.raises(InputError, match="at least one bar"):
        principal_components([torch.zeros(0, 2, 3)], 1)
    with pytest.raises(InputError, match=r"none\.safetensors"):
        Statistics.load(tmp_path / "none.safetensors")
    save_file({"mean": torch.zeros(2, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"must hold the tensors mean, std and bars, received \['mean'\]"):
        Statistics.load(tmp_path / "other.safetensors")
