"""Earlier bars foretell the tokens of later ones, as far as they have been right."""

import json

import pytest
import torch

from fairseq_meloformer.museformer import MuseFormer
from fairseq_meloformer.museformer.recall import Recall
from fairseq_meloformer.museformer.sampling import Sampling, generate
from fairseq_meloformer.pretrained import MUSEFORMER
from fairseq_meloformer.tokens import vocabulary
from fairseq_meloformer.tokens.vocabulary import BOS

BOOK = vocabulary.published()
BAR = "t-30 o-0 i-80 p-60 d-12 v-20 o-12 i-80 p-62 d-12 v-20 o-24 i-80 p-64 d-12 v-20 i-43 p-40 d-24 v-16 b-1 "
OTHER = "t-30 o-0 i-80 p-70 d-6 v-24 o-6 i-80 p-71 d-6 v-24 o-18 i-80 p-72 d-6 v-24 b-1 "


def ids(text):
    return BOOK.ids(text.split())


def recalled(text, begins=(), returns=None):
    """By token, its probability after a text where the model knows nothing."""
    recalling = Recall(BOOK, [begins], [returns or {}]).start([ids(text)])
    probabilities = recalling.mixed(torch.zeros(1, len(BOOK))).softmax(-1)[0]
    return {symbol: float(value) for symbol, value in zip(BOOK.symbols, probabilities, strict=True)}


def test_a_bar_that_has_returned_is_expected_to_go_on_so():
    unknown = 1 / len(BOOK)
    once, often = (recalled(BAR * times + "t-30 o-0 i-80")["p-60"] for times in (1, 6))
    assert unknown < once < 0.1
    assert often > 0.15
    assert sum(recalled(BAR * 6 + "t-30 o-0 i-80").values()) == pytest.approx(1, abs=1e-5)


def test_nothing_is_recalled_of_a_first_bar_nor_after_a_bars_end():
    logits = torch.randn(2, len(BOOK))
    recalling = Recall(BOOK, [[], []]).start([ids("t-30 o-0 i-80"), ids(BAR * 6)])
    assert recalling.mixed(logits) is logits


def test_a_bar_that_was_wrong_is_trusted_less():
    right = recalled(BAR * 6 + "t-30 o-0 i-80 p-60 d-12 v-20 o-12 i-80")["p-62"]
    wrong = recalled(BAR * 6 + "t-30 o-0 i-80 p-67 d-6 v-28 o-12 i-80")["p-62"]
    assert wrong < 0.8 * right


def test_form_is_recalled_from_as_many_bars_back_as_it_has():
    text = (BAR + OTHER) * 5
    assert recalled(text + "t-30 o-0 i-80")["p-60"] > 10 * recalled(text + "t-30 o-0 i-80")["p-70"]
    assert recalled(text + BAR + "t-30 o-0 i-80")["p-70"] > 10 * recalled(text + BAR + "t-30 o-0 i-80")["p-60"]


def test_instruments_are_trusted_apart():
    bars = "".join(BAR.replace("p-40", f"p-{40 + number}") for number in range(6))
    found = recalled(bars + "t-30 o-0 i-80 p-60 d-12 v-20 o-12 i-80")["p-62"]
    assert found > 0.15 > 5 * max(recalled(bars + "t-30 o-24 i-43")[f"p-{40 + number}"] for number in range(6))


def test_after_a_note_that_a_bar_does_not_have_comes_its_next_moment_or_its_end():
    assert recalled(BAR * 6 + "t-30 o-0 i-80 p-60 d-12 v-20 o-6 i-80 p-61 d-6 v-20")["o-12"] > 0.1
    assert recalled(BAR * 6 + BAR[:-4] + "i-48 p-50 d-6 v-20")["b-1"] > 0.1


def test_what_was_before_something_else_began_is_not_recalled():
    text = BAR * 6 + "t-30 o-0 i-80"
    assert recalled(text, begins=[6])["p-60"] == pytest.approx(1 / len(BOOK))
    assert recalled(text, begins=[0, 9])["p-60"] == recalled(text)["p-60"]


def test_songs_are_followed_apart_token_by_token():
    one, other = ids(BAR * 3 + OTHER), ids((BAR + OTHER) * 2)[: len(ids(BAR * 3 + OTHER))]
    together = Recall(BOOK, [[], []]).start([[], []])
    for pair in zip(other, one[: len(other)], strict=True):
        together.mixed(torch.zeros(2, len(BOOK)))
        together.advance(torch.tensor(pair))
    together.select([1, 0])
    expected = [
        Recall(BOOK, [[]]).start([song]).mixed(torch.zeros(1, len(BOOK))) for song in (one[: len(other)], other)
    ]
    torch.testing.assert_close(together.mixed(torch.zeros(2, len(BOOK))), torch.cat(expected))


def test_real_songs_are_foretold_better(shared):
    model = MuseFormer.from_pretrained(MUSEFORMER).eval()
    lines = (shared / "museformer" / "golden" / "midiprocessor_tokens.jsonl").read_text().splitlines()
    songs = [json.loads(line)["remigen2_normalised_no_ts"].split() for line in lines]
    gains = []
    for song in (song for song in songs if all(token in BOOK for token in song)):
        tokens = BOOK.ids(song[:900])
        with torch.inference_mode():
            logits = model(torch.tensor([[BOS, *tokens]]))[0, :-1].log_softmax(-1)
        recalling, gain = Recall(BOOK, [[]]).start([[]]), 0.0
        for own, token in zip(logits, tokens, strict=True):
            gain += float(recalling.mixed(own[None]).log_softmax(-1)[0, token] - own[token])
            recalling.advance(torch.tensor([token]))
        gains.append(gain / len(tokens))
    assert sum(gains) / len(gains) > 0.015


def test_songs_that_are_written_with_it_depend_on_no_other():
    model = MuseFormer.from_pretrained(MUSEFORMER).eval()
    prompts = [ids(BAR * 2), ids(OTHER * 2), ids(BAR + OTHER)]
    sampling = Sampling(max_tokens=90)
    together = generate(model, prompts, sampling, seeds=[1, 2, 3], recall=Recall(BOOK, [[], [], []]))
    for prompt, seed, song in zip(prompts, (1, 2, 3), together, strict=True):
        assert generate(model, [prompt], sampling, seeds=[seed], recall=Recall(BOOK, [[]])) == [song]


def test_a_bar_that_is_to_return_has_the_notes_of_the_earlier_one():
    text, form = BAR + OTHER * 3, {4: 0}
    for begun, follows in (("t-30", "o-0"), ("t-30 o-0 i-80", "p-60"), ("t-30 o-0 i-80 p-60 d-12 v-20", "o-12")):
        assert recalled(text + begun, returns=form)[follows] == pytest.approx(0.98, abs=0.01)
    assert recalled(text + "t-30 o-0 i-80 p-61 d-6 v-20", returns=form)["o-12"] == pytest.approx(0.98, abs=0.01)
    assert recalled(BAR * 6 + "t-30 o-0 i-80", returns=form)["p-60"] > 0.15


def test_other_instruments_return_loosely_where_the_lead_has_the_tune():
    piano = "t-30 o-0 i-0 p-60 d-12 v-20 b-1 "
    alone, beside = piano, piano.replace("t-30 ", "t-30 o-0 i-80 p-70 d-12 v-20 ").replace("v-20 o-0", "v-20")
    assert recalled(alone + OTHER * 3 + "t-30 o-0 i-0", returns={4: 0})["p-60"] > 0.95
    assert 0.7 < recalled(beside + OTHER * 3 + "t-30 o-0 i-80 p-70 d-12 v-20 i-0", returns={4: 0})["p-60"] < 0.9


def test_what_returns_by_form_says_nothing_of_what_follows():
    bars = [BAR.replace("p-6", f"p-{number}") for number in range(6, 10)]
    text = "".join(bars) + BAR + "t-30 o-0 i-80"
    assert recalled(text)["p-70"] > 1.5 * recalled(text, returns={4: 0})["p-70"]
