"""Parity with the golden numbers, batches, and properties of the attention."""

import pytest
import torch
from golden import TINY, case, folder, full, tiny

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.museformer.config import MuseFormerConfig
from fairseq_meloformer.museformer.layout import lay_out
from fairseq_meloformer.museformer.pattern import BarPattern
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, PAD

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-6}
CHUNKINGS = ("infer", "train", "bosbar")
SEQUENCES = ("bos", "one", "s1mid", "s1end", "s3mid", "s3end", "s12mid", "s12end", "s40mid", "s40end", "dense6end")
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype)[6:])


def song(golden):
    return golden["tokens"][None].long()


@pytest.fixture(scope="module", params=TOLERANCE, ids=lambda dtype: str(dtype)[6:])
def model(request, shared):
    return tiny(shared, request.param)


def test_every_golden_file_of_the_tiny_model_is_compared(shared):
    cases = {path.stem for path in folder(shared).glob("tiny4_*.npz")}
    ours = {f"tiny4_{chunking}_{name}" for chunking in CHUNKINGS for name in SEQUENCES}
    assert cases - ours == {"tiny4_inject_s3end", "tiny4_inject_s12mid"}  # tests/injection has these
    assert ours <= cases


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize("name", SEQUENCES)
@torch.no_grad()
def test_logits_and_streams_equal_upstream(model, shared, chunking, name):
    golden = case(shared, f"tiny4_{chunking}_{name}")
    tolerance = TOLERANCE[model.layer_norm.weight.dtype]
    layout = lay_out(song(golden), chunking, model.config)
    assert torch.equal(layout.beat_ids, golden["beat_ids"].long())
    logits = model(song(golden), chunking=chunking)[0]
    torch.testing.assert_close(logits[golden["logit_rows"].long()], golden["logits"].to(logits), atol=tolerance, rtol=0)
    for index, output in enumerate(model.run(layout)):
        for key, ours in ((f"reg_x.{index}", output.tokens), (f"sum_x2.{index}", output.summarised)):
            if key in golden:  # the streams reach 20, so fp32 on disk alone costs 1e-6
                torch.testing.assert_close(ours, golden[key].to(ours), atol=2 * tolerance, rtol=1e-6)


@dtypes
@torch.no_grad()
def test_full_size_equals_upstream(shared, dtype):
    golden = case(shared, "full_infer_s12mid")
    model = full(dtype)
    assert sum(parameter.numel() for parameter in model.parameters()) == 16_141_312
    logits = model(song(golden))[0]
    torch.testing.assert_close(logits, golden["logits"].to(dtype), atol=TOLERANCE[dtype], rtol=0)


def test_parameters_have_the_published_names(shared):
    published = {}
    for line in (folder(shared) / "parameters.txt").read_text().splitlines():
        if line.startswith("decoder."):
            name, shape = line.split("(same")[0].split(maxsplit=1)
            published[name.removeprefix("decoder.")] = shape.strip()
    ours = {name: str(list(value.shape)) for name, value in MuseFormer(full().config).state_dict().items()}
    assert ours == published


@torch.no_grad()
def test_a_batch_gives_what_its_songs_give_alone(shared):
    model = tiny(shared, torch.float64)
    names = ("s3end", "s12mid", "bos", "s1mid")
    songs = [case(shared, f"tiny4_infer_{name}")["tokens"].long() for name in names]
    batch = torch.nn.utils.rnn.pad_sequence(songs, batch_first=True, padding_value=1)
    logits = model(batch)
    summaries, mask = model.summaries(batch)
    assert mask.sum(1).tolist() == [3, 12, 0, 0]
    for row, tokens in enumerate(songs):
        torch.testing.assert_close(logits[row, : len(tokens)], model(tokens[None])[0], atol=1e-12, rtol=0)
        assert not logits[row, len(tokens) :].any()
        alone, _ = model.summaries(tokens[None])
        torch.testing.assert_close(summaries[row][mask[row]], alone[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("chunking", ["infer", "bosbar"])
@torch.no_grad()
def test_bars_can_be_numbered_as_those_of_a_longer_song(chunking):
    """Where bars do not read each other, one alone gives what it gives in its song."""
    config = MuseFormerConfig(
        vocabulary_size=20, layers=2, dim=8, ffn_dim=16, heads=2, token_dim=8, bar_dim=8, beat_dim=8,
        patterns=(BarPattern(near=(), far=()),), onset_ids=(6, 10), offbeat_ids=(12, 14),
    )  # fmt: skip
    torch.manual_seed(0)
    model = MuseFormer(config).double().eval()
    bars = [[7, 15, BAR_END], [9, 16, 17, BAR_END], [6, 18, BAR_END]]
    whole = torch.tensor([[BOS, *bars[0], *bars[1], *bars[2]]])
    alone = torch.tensor([[BOS, *bars[1]], [BOS, *bars[2], PAD]])
    outside = int(chunking == "bosbar")  # there the begin-of-song token is bar 0
    logits, summaries = model(whole, chunking)[0], model.summaries(whole, chunking)[0][0]
    with model.counting_from(torch.tensor([1, 2])):
        shifted, own = model(alone, chunking), model.summaries(alone, chunking)[0]
    torch.testing.assert_close(shifted[0, 1:], logits[4:8])
    torch.testing.assert_close(shifted[1, 1:4], logits[8:])
    torch.testing.assert_close(own[:, outside], summaries[outside + 1 : outside + 3])
    assert (model(alone, chunking)[0, 1:] - logits[4:8]).abs().max() > 1e-3


@pytest.mark.parametrize("chunking", CHUNKINGS)
@torch.no_grad()
def test_only_upstreams_training_chunking_reads_the_future(shared, chunking):
    model = tiny(shared)
    tokens = song(case(shared, "tiny4_infer_s3end"))
    changed = tokens.clone()
    changed[0, 20] = 100
    leak = (model(tokens, chunking=chunking) - model(changed, chunking=chunking))[0, :20].abs().max()
    assert (leak > 0.01) == (chunking == "train")


def test_gradients_reach_every_parameter(shared):
    model = tiny(shared).train()
    model(song(case(shared, "tiny4_infer_s12mid"))).square().sum().backward()
    still = [name for name, parameter in model.named_parameters() if not parameter.grad.any()]
    assert not still


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        (torch.tensor([2, 6]), "shape"),
        (torch.tensor([[6, 2]]), "begin with"),
        (torch.tensor([[2, 560]]), "vocabulary"),
        (torch.tensor([[2, 1, 6]]), "end of a song"),
    ],
)
def test_tokens_that_are_no_batch_are_refused(tokens, reason):
    with pytest.raises(InputError, match=reason):
        MuseFormer(TINY)(tokens)


@pytest.mark.parametrize("near", [None, (), (1,), (1, 2)])
def test_no_bar_is_missed_and_none_is_read_twice(near):
    pattern = BarPattern() if near is None else BarPattern().only_near(near)
    for bar in range(120):
        assert sorted(pattern.near_bars(bar) + pattern.far_bars(bar)) == list(range(bar))
