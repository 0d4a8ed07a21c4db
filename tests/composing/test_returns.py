"""Form: which bars return to which, in pieces, in sections, and in what is written."""

from collections import Counter

import pytest
import torch

from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.decoding import Plan
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.composing.returns import drawn, since
from fairseq_meloformer.measures.passage import Song
from fairseq_meloformer.measures.repetition import SIXTEENTH, bar_notes
from fairseq_meloformer.words.prompts import Request
from fairseq_meloformer.words.timeline import Section

FORMS = [drawn(16, seed) for seed in range(400)]


def test_bars_return_to_earlier_phrases_at_their_places():
    for form in FORMS:
        for bar, earlier in form.items():
            assert 0 <= earlier < bar < 16
            assert bar // 4 > earlier // 4
            assert (bar - earlier) % 4 == 0
            assert earlier not in form
    assert drawn(16, 7) == drawn(16, 7)


def test_phrases_return_as_often_as_in_songs():
    returned = Counter(phrase for form in FORMS for phrase in {bar // 4 for bar in form})
    assert returned[1] / len(FORMS) == pytest.approx(0.25, abs=0.08)
    assert returned[2] / len(FORMS) == pytest.approx(0.4, abs=0.08)
    assert returned[3] / len(FORMS) == pytest.approx(0.4, abs=0.08)
    assert 0.17 < sum(not form for form in FORMS) / len(FORMS) < 0.37


def test_phrases_return_as_often_as_is_asked():
    assert not any(drawn(16, seed, asked=-1) for seed in range(50))
    always = [{bar // 4 for bar in drawn(16, seed, asked=1)} for seed in range(50)]
    assert all(phrases == {1, 2, 3} for phrases in always)
    count = [sum(len(drawn(16, seed, asked=asked)) for seed in range(200)) for asked in (-0.8, -0.4, 0, 0.4, 0.8)]
    assert count == sorted(count)
    assert [drawn(16, seed, asked=0) for seed in range(400)] == FORMS


@pytest.mark.parametrize("bars", [1, 3, 4, 7])
def test_a_piece_of_one_phrase_has_nothing_to_return_to(bars):
    assert not any(drawn(bars, seed) for seed in range(20))


def test_what_returns_in_a_section_is_of_it_but_a_chorus_is_all_of_the_first():
    sections = [
        Section(1, 8, "calm", "verse"),
        Section(9, 12, "bright", "chorus"),
        Section(13, 20, "calm again", "bridge"),
        Section(21, 24, "bright", "chorus"),
    ]
    for seed in range(50):
        form = drawn(24, seed, sections)
        assert {bar: earlier for bar, earlier in form.items() if bar >= 20} == {20: 8, 21: 9, 22: 10, 23: 11}
        assert all(bar // 4 == 1 and earlier < 4 for bar, earlier in form.items() if bar < 8)
        assert not any(8 <= bar < 12 for bar in form)
        assert all(bar >= 16 and 12 <= earlier < 16 for bar, earlier in form.items() if 12 <= bar < 20)


def test_from_a_bar_on_only_what_is_in_view_returns():
    assert since({4: 0, 8: 4, 12: 8}, 4) == {4: 0, 8: 4}


def test_bars_that_return_have_the_plan_of_the_earlier_one():
    values = torch.randn(2, 9, 3, 4)
    plan = Plan(values, torch.ones(2, 9, dtype=torch.bool), "plan", None, 1.0, outside=1)
    made = plan.returning([{4: 0, 5: 1}, {}]).values
    torch.testing.assert_close(made[0, [5, 6]], values[0, [1, 2]])
    torch.testing.assert_close(made[0, [0, 1, 2, 3, 4, 7, 8]], values[0, [0, 1, 2, 3, 4, 7, 8]])
    torch.testing.assert_close(made[1], values[1])


def test_what_is_to_return_is_heard_again():
    composer = Composer.from_pretrained(probe=None)
    seed = next(seed for seed in range(100) if drawn(8, seed) == {4: 0, 5: 1, 6: 2, 7: 3})
    likeness = []
    for recall in (True, False):
        (piece,) = composer.compose([Request("a bright march", bars=8, seed=seed)], Settings(recall=recall))
        passage = Song(piece.tokens).passage(0, 8)
        bars = bar_notes(passage, SIXTEENTH, passage.pitch, passage.program)
        likeness.append(sum(len(bars[bar] & bars[bar + 4]) / len(bars[bar] | bars[bar + 4]) for bar in range(4)) / 4)
    assert likeness[0] > 0.6 > 1.5 * likeness[1]


def test_bars_return_where_their_chords_do():
    seed = next(seed for seed in range(100) if drawn(8, seed) == {4: 0, 5: 1, 6: 2, 7: 3})
    composer = Composer.from_pretrained(best_of=1)
    (piece,) = composer.compose([Request("piano, chords: C Am F G Dm Am Bb G", bars=8, seed=seed)])
    passage = Song(piece.tokens).passage(0, 8)
    bars = bar_notes(passage, SIXTEENTH, passage.pitch, passage.program)
    again = [len(bars[bar] & bars[bar + 4]) / len(bars[bar] | bars[bar + 4]) for bar in range(4)]
    assert min(again[1], again[3]) > 0.8 > max(again[0], again[2])
