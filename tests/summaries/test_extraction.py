from copy import deepcopy
from pathlib import Path

import pytest
import torch
from operators import WAITING, calls_of
from torch import Tensor, nn

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer import model as model_module
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.model import MuseFormer
from fairseq_meloformer.summaries.extraction import capture, core, extract, fingerprint, finish, projections
from fairseq_meloformer.summaries.statistics import Statistics
from fairseq_meloformer.summaries.store import StoreHeader, SummaryStore
from fairseq_meloformer.summaries.writer import StoreWriter
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, PAD

CONFIG = MuseFormerConfig(layers=3, dim=32, ffn_dim=64, heads=2, token_dim=16, bar_dim=8, beat_dim=8)


@pytest.fixture
def model() -> MuseFormer:
    torch.manual_seed(1)
    return MuseFormer(CONFIG).eval()


def song(bars: int, unfinished: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(bars)
    tokens = [BOS]
    for bar in range(bars):
        tokens += [*torch.randint(6, 540, (3 + bar % 4,), generator=generator).tolist(), BAR_END]
    return [*tokens, *range(10, 10 + unfinished)]


def batch(*songs: list[int]) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(song) for song in songs], batch_first=True, padding_value=PAD)


class Foreign(nn.Module):
    """Somebody else's MuseFormer: the same modules, one song at a time, (bars, 1, dim) summaries padded at the end."""

    def __init__(self, ours: MuseFormer, extra: int) -> None:
        super().__init__()
        self.decoder = nn.Module()
        for name, child in ours.named_children():
            self.decoder.add_module(name, child)
        self._ours = [deepcopy(ours)]
        self._extra = extra

    def forward(self, src_tokens: Tensor) -> Tensor:
        assert src_tokens.shape[0] == 1
        with capture(self._ours[0]) as captured:
            logits = self._ours[0](src_tokens)
        for layer, summaries in zip(self.decoder.layers, list(captured), strict=True):
            padded = torch.cat([summaries, torch.ones(self._extra, summaries.shape[1])])
            layer.self_attn.sum_key2_proj(padded[:, None])
        return logits


def test_capture_sees_what_the_model_hands_out_and_leaves_no_hook(model: MuseFormer) -> None:
    tokens = batch(song(5, unfinished=2), song(2))
    with capture(model) as captured:
        before = model(tokens)
    summaries, mask = model.summaries(tokens)
    assert torch.equal(torch.stack(captured, dim=1), summaries[mask])
    assert torch.equal(model(tokens), before)
    assert len(captured) == CONFIG.layers
    with pytest.raises(ZeroDivisionError), capture(model):
        raise ZeroDivisionError
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_batches_give_what_single_songs_give(model: MuseFormer) -> None:
    songs = [song(5, unfinished=2), song(1), song(9)]
    summaries, mask = extract(model, batch(*songs))
    assert summaries.shape == (3, 9, 3, 32)
    assert mask.sum(1).tolist() == [5, 1, 9]
    for row, alone in enumerate(songs):
        bars = int(mask[row].sum())
        torch.testing.assert_close(summaries[row, :bars], extract(model, batch(alone))[0][0], atol=1e-5, rtol=1e-5)
        assert not summaries[row, bars:].any()


def test_on_a_gpu_a_batch_waits_for_nothing_and_calls_as_much_whatever_the_songs_are(
    model: MuseFormer, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = extract(model, batch(song(9), song(14, 3)))
    monkeypatch.setattr(model_module, "pads", lambda _: True)
    calls = []
    for bars in ((9, 14), (20, 28, 19)):
        tokens = batch(*map(song, bars))
        extract(model, tokens, max(bars))  # tables of the pattern are made once
        calls.append(calls_of(extract, model, tokens, max(bars)))
    assert not WAITING & calls[0].keys()
    assert calls[0].total() == pytest.approx(calls[1].total(), rel=0.01)
    for found, wanted in zip(extract(model, batch(song(9), song(14, 3)), 14), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("extra", [0, 59])
def test_foreign_models_are_read_by_their_module_names(model: MuseFormer, extra: int) -> None:
    foreign = Foreign(model, extra)
    assert core(foreign) is None
    assert len(projections(foreign)) == 3
    tokens = batch(song(4), song(0, unfinished=3), song(6, unfinished=1))
    summaries, mask = extract(foreign, tokens)
    expected, expected_mask = extract(model, tokens)
    assert torch.equal(mask, expected_mask)
    torch.testing.assert_close(summaries, expected, atol=1e-5, rtol=1e-5)


def test_a_wrapped_model_of_ours_is_found(model: MuseFormer) -> None:
    wrapped = nn.ModuleDict({"decoder": model})
    tokens = batch(song(3))
    assert torch.equal(extract(wrapped, tokens)[0], extract(model, tokens)[0])
    assert fingerprint(wrapped) == fingerprint(model)


def test_a_model_without_summaries_is_refused() -> None:
    with pytest.raises(InputError, match="sum_key2_proj"):
        extract(nn.Linear(2, 2), batch(song(1)))


def test_fingerprints_tell_models_apart_and_survive_a_checkpoint(model: MuseFormer, tmp_path: Path) -> None:
    before = fingerprint(model)
    assert fingerprint(Foreign(model, 0)) == before
    model.save_pretrained(tmp_path)
    assert fingerprint(MuseFormer.from_pretrained(tmp_path)) == before
    with torch.no_grad():
        model.layers[2].self_attn.sum_key2_proj.weight[3, 4] += 1e-3
    assert fingerprint(model) != before


def test_the_last_rank_writes_the_statistics(tmp_path: Path) -> None:
    header = StoreHeader("m", "v", layers=2, dim=3)
    items = {name: torch.randn(4, 2, 3) for name in "abc"}
    with StoreWriter(tmp_path, "train", header, rank=0) as writer:
        writer.put("a", items["a"], {})
    assert finish(tmp_path, "train", items.keys()) is None
    with StoreWriter(tmp_path, "train", header, rank=1) as writer:
        writer.put("b", items["b"], {})
        writer.put("c", items["c"], {})
    for _ in range(2):
        assert finish(tmp_path, "train", items.keys()) is not None
        found = Statistics.load(tmp_path / "train" / "statistics.safetensors")
        everything = torch.cat(list(items.values())).double()
        torch.testing.assert_close(found.mean, everything.mean(0))
        torch.testing.assert_close(found.std, everything.std(0, correction=0))
    assert SummaryStore(tmp_path).subset("train").ids == ["a", "b", "c"]
