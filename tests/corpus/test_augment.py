from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_meloformer.corpus.augment import Augmentation, programs
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.tokens.vocabulary import published

CHORD = ["i-80", "p-72", "d-12", "v-20", "i-128", "p-164", "d-1", "v-30", "i-0", "p-60", "d-12", "v-20"]
CHORD += ["p-55", "d-12", "v-3"]
BAR = ["t-30", "o-0", *CHORD, "o-24", "i-128", "p-166", "d-1", "v-30", "b-1"]
NONE = Augmentation(0, 0, 0, ())


def test_doing_nothing_changes_nothing() -> None:
    assert NONE.apply(BAR) == BAR
    assert programs(BAR) == [0, 80, 128]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_variations_are_grammatical_and_as_an_encoder_would_write_them(seed: int, keep_key: bool) -> None:
    drawn = Augmentation.draw(programs(BAR), Random(seed), keep_key=keep_key)
    tokens = drawn.apply(BAR * 3)
    assert published().ids(tokens)
    assert remi.encode(remi.decode(tokens), "REMIGEN2", False, True, "six_tracks") == tokens
    assert programs(tokens) == [program for program in (0, 80, 128) if program not in drawn.dropped]
    assert drawn == Augmentation.draw(programs(BAR), Random(seed), keep_key=keep_key)
    if keep_key:
        assert drawn.semitones % 12 == 0


def test_every_change_is_the_one_it_says() -> None:
    before = measure(BAR)
    higher, faster, softer = (
        measure(Augmentation(*values, ()).apply(BAR)) for values in ((5, 0, 0), (0, 12, 0), (0, 0, -2))
    )
    assert higher["register"] == pytest.approx(before["register"] + 5)
    assert faster["tempo"] == pytest.approx(2 * before["tempo"], rel=0.01)
    assert softer["loudness"] == pytest.approx(before["loudness"] - 8, abs=2)
    assert measure(Augmentation(0, 0, 0, (128,)).apply(BAR))["drums"] == 0


def test_limits_are_kept() -> None:
    extreme = Augmentation(0, 40, 40, ()).apply(BAR)
    assert "t-48" in extreme
    assert "v-31" in extreme
    assert "v-0" in Augmentation(0, -40, -40, ()).apply(BAR)
    with pytest.raises(InputError, match="at least one"):
        Augmentation(0, 0, 0, (0, 80, 128)).apply(BAR)


def test_the_tempo_of_a_dropped_onset_goes_too() -> None:
    piano, drums = ["i-0", "p-60", "d-1", "v-3"], ["i-128", "p-160", "d-1", "v-3"]
    remigen = ["s-9", "o-0", "t-20", *piano, "o-5", "t-21", *drums, "b-1"]
    assert Augmentation(0, 1, 0, (128,)).apply(remigen) == ["s-9", "o-0", "t-21", *piano, "b-1"]
    assert Augmentation(0, 1, 0, (0,)).apply(remigen) == ["s-9", "o-5", "t-22", *drums, "b-1"]
