"""Captions are true, varied, bilingual, and the same for the same seed."""

import re
from collections import Counter

import numpy as np
import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.measures.quantiles import Quantiles
from fairseq_meloformer.words.captions import STYLES, Captioner, describe
from fairseq_meloformer.words.lexicon import default_lexicon

HAN = re.compile("[\u4e00-\u9fff]")
LATIN = re.compile("[a-z]{3,}")


def made_up(count, seed=0):
    """Attributes as varied as a corpus's."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        mode = float(rng.normal(0, 0.2))
        drums = float(rng.choice([0, rng.uniform(0.05, 0.6)]))
        yield {
            "tempo": float(rng.uniform(50, 200)),
            "density": float(rng.lognormal(2.5, 0.7)),
            "register": float(rng.normal(60, 6)),
            "leaps": float(rng.lognormal(1.5, 0.5)),
            "sustain": float(rng.uniform(0.2, 1.5)),
            "loudness": float(rng.uniform(40, 120)),
            "mode": mode,
            "drums": drums,
            "polyphony": float(rng.uniform(1, 8)),
            "energy": float(rng.uniform(0, 1)),
            "key": "C major" if mode > 0 else "A minor",
            "instruments": [0, 33, 128] if drums else [0, 33],
            "metre": "4/4",
            "bars": 16.0,
        }


@pytest.fixture(scope="module")
def corpus():
    return list(made_up(200))


@pytest.fixture(scope="module")
def captioner(corpus):
    return Captioner(Quantiles.fit(corpus))


def test_everything_asked_for_is_true_of_the_passage(corpus, captioner):
    for index, row in enumerate(corpus):
        places = captioner.quantiles.positions(row)
        for caption in captioner.captions(row, item=str(index), count=10):
            for axis, value in caption.profile.items():
                assert value * places[axis] > 0 or abs(value) < 0.35, (caption, axis, places[axis])


def test_scenes_are_named_for_what_they_imply(corpus, captioner):
    scenes = {scene.id: scene for scene in default_lexicon().scenes}
    named = 0
    for index, row in enumerate(corpus[:150]):
        places = captioner.quantiles.positions(row)
        for style in ("scene", "prompt"):
            caption = captioner.caption(row, lang="zh", style=style, seed=index)
            if caption.scene:
                named += 1
                profile = scenes[caption.scene].profile
                assert all(places[axis] * value >= value * value / 3 - 1e-9 for axis, value in profile.items())
                assert set(profile) <= set(caption.profile)
    assert named > 150


def test_the_same_seed_gives_the_same_text_and_another_seed_another(corpus, captioner):
    first = [captioner.captions(row, item=f"item {index}", count=6) for index, row in enumerate(corpus[:20])]
    again = [captioner.captions(row, item=f"item {index}", count=6) for index, row in enumerate(corpus[:20])]
    assert first == again
    texts = {captioner.caption(corpus[0], lang="en", style="sentence", seed=seed).text for seed in range(50)}
    assert len(texts) > 40
    assert (
        describe(corpus[0], captioner.quantiles, lang="zh", style="phrase", seed=3)
        == captioner.caption(corpus[0], lang="zh", style="phrase", seed=3).text
    )


def test_languages_are_halved_and_styles_take_turns(corpus, captioner):
    captions = [
        caption for index, row in enumerate(corpus) for caption in captioner.captions(row, item=str(index), count=5)
    ]
    languages, styles = Counter(caption.lang for caption in captions), Counter(caption.style for caption in captions)
    assert languages["zh"] / len(captions) == pytest.approx(0.5, abs=0.05)
    assert set(styles) == set(STYLES)
    assert min(styles.values()) > 0.1 * len(captions)
    for index, row in enumerate(corpus[:50]):
        even = captioner.captions(row, item=str(index), count=6)
        assert Counter(caption.lang for caption in even) == {"zh": 3, "en": 3}


@pytest.mark.parametrize("style", STYLES)
def test_languages_stay_apart_unless_mixed(corpus, captioner, style):
    mixed = 0
    for index, row in enumerate(corpus[:100]):
        english = captioner.caption(row, lang="en", style=style, seed=index)
        chinese = captioner.caption(row, lang="zh", style=style, seed=index)
        assert (english.lang, chinese.lang) == ("en", "zh")
        assert not HAN.search(english.text)
        assert HAN.search(chinese.text)
        assert not LATIN.search(chinese.text.replace("bpm", ""))
        both = captioner.caption(row, lang="mixed", style=style, seed=index).text
        mixed += bool(HAN.search(both) and LATIN.search(both))
    assert mixed > 10


def test_no_two_passages_share_a_wording_but_for_bare_prompts(corpus, captioner):
    taken, texts = set(), []
    for index, row in enumerate(corpus):
        captions = captioner.captions(row, item=str(index), count=10, taken=taken)
        assert len({caption.text for caption in captions}) == 10
        texts += [caption.text for caption in captions if caption.style != "prompt"]
    assert len(set(texts)) == len(texts)
    assert set(texts) <= taken


def test_texts_are_tidy(corpus, captioner):
    for index, row in enumerate(corpus):
        for caption in captioner.captions(row, item=str(index), count=10):
            assert caption.text == caption.text.strip()
            assert not re.search(r"[{}_]|  |,,|，，|的的|\ba [aeiou]|\ban [^aeiou]", caption.text), caption.text


def test_prompts_are_short(corpus, captioner):
    prompts = [captioner.caption(row, lang="en", style="prompt", seed=1) for row in corpus]
    words = [len(caption.text.split()) for caption in prompts if caption.style == "prompt"]
    assert np.median(words) <= 3


def test_any_subset_of_the_axes_is_asked_for(corpus, captioner):
    counts = Counter(
        len(caption.profile)
        for index, row in enumerate(corpus)
        for caption in captioner.captions(row, item=str(index), count=8)
    )
    assert all(counts[size] > 20 for size in range(1, 6))


def test_rows_are_as_prepared_data_hold_them(corpus, captioner):
    row = captioner.caption(corpus[0], lang="en", style="labels", seed=0).row()
    assert set(row) == {"text", "lang", "source", "licence", "style"}
    assert row["source"] == "measured"


def test_a_passage_of_drums_alone_can_be_described(captioner):
    row = {"tempo": 150.0, "density": 60.0, "loudness": 110.0, "drums": 1.0, "instruments": [128], "bars": 8.0}
    for caption in captioner.captions(row, item="drums", count=10):
        assert set(caption.profile) <= {"tempo", "density", "loudness", "drums"}


def test_what_cannot_be_described(corpus, captioner):
    with pytest.raises(InputError, match="at least one control axis measured"):
        captioner.captions({"bars": 4.0}, item="empty", count=2)
    with pytest.raises(InputError, match="lang must be zh, en or mixed"):
        captioner.caption(corpus[0], lang="fr", style="labels", seed=0)
    with pytest.raises(InputError, match="style one of labels"):
        captioner.caption(corpus[0], lang="zh", style="haiku", seed=0)


def test_balance_over_the_axes(corpus, captioner):
    asked = Counter(
        (axis, value > 0)
        for index, row in enumerate(corpus)
        for caption in captioner.captions(row, item=str(index), count=8)
        for axis, value in caption.profile.items()
        if value
    )
    assert min(asked[axis, side] for axis in AXES for side in (True, False)) > 50
