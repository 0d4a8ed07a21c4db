"""What training makes of songs."""

from collections import Counter

import torch

from fairseq_meloformer.corpus.augment import programs
from fairseq_meloformer.plugin.song_variations import SongVariations
from fairseq_meloformer.tokens.vocabulary import END, published

SYMBOLS = published().symbols
BAR = ["t-30", "o-0", "i-80", "p-60", "d-6", "v-20", "o-12", "i-0", "p-50", "d-6", "v-20", "b-1"]


def song(bars):
    """Bars that tell their number by a tempo of their own."""
    tokens = [token for bar in range(bars) for token in (f"t-{bar}", *BAR[1:])]
    return torch.tensor([*published().ids(tokens), END])


def symbols(ids):
    return [SYMBOLS[token] for token in ids.tolist()]


def test_half_of_the_long_songs_are_taken_from_another_bar_on():
    crop, whole = SongVariations(SYMBOLS, 1, 0.0, 60), song(20)
    starts = Counter()
    for epoch in range(400):
        begun = symbols(crop(whole, epoch, 7))
        assert begun[1] == "o-0"
        starts[int(begun[0][2:])] += 1
    assert 150 < starts[0] < 250
    assert set(starts) == set(range(17))  # 60 ids are left from bar 15 on, and less than that from the next alone
    assert max(starts[bar] for bar in range(1, 17)) < 40
    short = song(4)
    assert torch.equal(crop(short, 3, 7), short)


def test_a_variation_is_a_song_of_another_octave_tempo_loudness_or_of_fewer_tracks():
    vary, whole = SongVariations(SYMBOLS, 1, 1.0, None), song(8)
    found = [symbols(vary(whole, epoch, 0)) for epoch in range(60)]
    for tokens in found:
        assert tokens[-1] == "</s>"
        assert tokens.count("b-1") == 8
        assert len(tokens) <= len(whole)
        assert all(not int(token[2:]) % 12 or int(token[2:]) % 12 == 2 for token in tokens if token.startswith("p-"))
    assert {tuple(programs(tokens[:-1])) for tokens in found} == {(0, 80), (0,), (80,)}
    assert len({tokens[0] for tokens in found}) > 3
    assert len({next(token for token in tokens if token.startswith("v-")) for tokens in found}) > 3


def test_epoch_number_and_seed_decide():
    whole = song(8)
    outcomes = [
        tuple(SongVariations(SYMBOLS, seed, 1.0, 60)(whole, epoch, index).tolist())
        for seed, epoch, index in ((1, 1, 1), (1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2))
    ]
    assert outcomes[0] == outcomes[1]
    assert len(set(outcomes)) == 4


def test_a_share_is_varied_and_silence_stays():
    whole = song(2)
    vary = SongVariations(SYMBOLS, 1, 0.5, None)
    same = sum(torch.equal(vary(whole, epoch, 0), whole) for epoch in range(200))
    assert 80 < same < 130
    silence = torch.tensor([*published().ids(["t-30", "b-1"]), END])
    assert torch.equal(SongVariations(SYMBOLS, 1, 1.0, None)(silence, 0, 0), silence)
