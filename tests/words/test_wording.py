"""How facts are said, and how the files that say so are checked."""

from random import Random

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words.facts import exact, instrument_names
from fairseq_meloformer.words.lexicon import FOLDER
from fairseq_meloformer.words.sentences import Pattern, Sentences, default_sentences, phrase
from fairseq_meloformer.words.wording import FORMS, Fact, facts, joined, load_wording, say, wording


def said(fact, slot, lang):
    return {say(fact, slot, lang, Random(seed)) for seed in range(200)}


def test_facts_are_what_lies_clearly_on_one_side_or_in_the_middle():
    found = {fact.attribute: fact for fact in facts({"tempo": 0.9, "density": -0.6, "register": 0.3, "loudness": 0.05})}
    assert found["tempo"] == Fact("tempo", 1, "strongly", 1.0)
    assert found["density"] == Fact("density", -1, "plainly", -0.7)
    assert found["register"] == Fact("register", 1, "slightly", 0.4)
    assert found["loudness"] == Fact("loudness", 0, "plainly", 0.0)
    assert facts({}) == []


def test_there_is_something_to_say_of_every_measured_passage():
    assert [fact.attribute for fact in facts({"tempo": 0.18, "density": -0.17})] == ["density"]


def test_a_few_drums_are_drums():
    assert facts({"drums": 0.1})[0].stated > 0


def test_every_form_of_every_pole_can_be_said():
    for attribute in wording():
        for pole in (1, -1):
            for degree in ("slightly", "plainly", "strongly"):
                for slot in FORMS:
                    for lang in ("zh", "en"):
                        text = say(Fact(attribute, pole, degree, 0.0), slot, lang, Random(0))
                        assert text
                        assert "{" not in text


def test_poles_never_share_words():
    for attribute in wording():
        for slot in FORMS:
            for lang in ("zh", "en"):
                high = said(Fact(attribute, 1, "plainly", 0.7), slot, lang)
                low = said(Fact(attribute, -1, "plainly", -0.7), slot, lang)
                assert not high & low, (attribute, slot)


def test_labels_belong_to_one_attribute_and_pole():
    owner = {}
    for attribute, words in wording().items():
        for pole in ("positive", "negative"):
            for text in words[pole]["zh"]["labels"] + words[pole]["en"]["adjectives"]:
                assert owner.setdefault(text, (attribute, pole)) == (attribute, pole), text


def test_degrees_negations_and_comparisons():
    fast = Fact("tempo", 1, "strongly", 1.0)
    assert "very fast" in said(fast, "adjectives", "en")
    assert "速度非常快" in said(fast, "predicates", "zh")
    assert {"not slow", "faster than usual"} <= said(fast, "asides", "en")
    assert {"不慢", "比平常快"} <= said(fast, "asides", "zh")
    silent = Fact("drums", -1, "strongly", -1.0)
    assert "no drums" in said(silent, "nouns", "en")
    assert "没有鼓" in said(silent, "labels", "zh")
    assert not any("very" in text for text in said(silent, "adjectives", "en"))


ATTRIBUTES = {"tempo": 119.6, "key": "F# minor", "instruments": [128, 0, 33], "metre": "3/4", "bars": 16.0}


def test_exact_facts():
    english = {fact.text for seed in range(300) for fact in exact(ATTRIBUTES, {"tempo": 0.2}, "en", Random(seed))}
    chinese = {fact.text for seed in range(300) for fact in exact(ATTRIBUTES, {"tempo": 0.2}, "zh", Random(seed))}
    assert {"120 bpm", "in F# minor", "16 bars", "in 3/4", "without guitar", "for drums, piano and bass"} <= english
    assert {"每分钟120拍", "升F小调", "16小节", "3/4拍", "没有弦乐", "用鼓、钢琴和贝斯"} <= chinese
    assert not any("no bass" in text or "without piano" in text for text in english)


def test_exact_facts_state_axes_too():
    stated = {}
    for fact in exact(ATTRIBUTES, {"tempo": 0.2}, "en", Random(0)):
        stated.update(fact.states)
    assert stated == {"tempo": 0.2, "mode": -0.7, "drums": 0.7}


def test_what_was_not_measured_is_not_said():
    assert exact({}, {}, "en", Random(0)) == []


def test_all_programs_have_names():
    assert len(instrument_names()) == 129
    assert instrument_names()[128] == {"en": "drums", "zh": "鼓"}


@pytest.mark.parametrize(("parts", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_enumerations(parts, text):
    assert joined(parts, ", ", " and ") == text


def test_patterns_take_as_many_facts_as_they_have_room_for():
    two = Pattern.parse("{A_adjectives} {noun}, {asides}{with}{tail}")
    assert two.slots == ("a_adjectives", "asides", "with")
    assert [two.takes(count) for count in (0, 1, 2, 5)] == [False, False, True, True]
    bare = Pattern.parse("like {scene}")
    assert [bare.takes(count) for count in (0, 1)] == [True, False]


def test_every_fact_dealt_stands_in_a_slot():
    some = [Fact(axis, 1, "plainly", 0.7) for axis in AXES[:5]]
    for patterns in default_sentences().patterns.values():
        for pattern in (pattern for kind in patterns.values() for pattern in kind if pattern.takes(5)):
            shares = pattern.deal(some, Random(1))
            assert sorted(fact.attribute for share in shares.values() for fact in share) == sorted(AXES[:5])
            assert all(share or slot == "with" for slot, share in shares.items())


def test_slots_are_written_in_the_grammar_of_the_language():
    def plain(fact, form):
        return f"{fact.attribute} {form}"

    pair = [Fact("energy", 1, "plainly", 0.7), Fact("tempo", 1, "plainly", 0.7)]
    assert phrase("a_adjectives", pair, "en", plain) == "an energy adjectives, tempo adjectives"
    assert phrase("and_adjectives", pair, "en", plain) == "energy adjectives and tempo adjectives"
    assert phrase("with", pair, "en", plain) == " with energy nouns and tempo nouns"
    assert phrase("with", [], "en", plain) == ""
    assert phrase("labels", pair, "zh", plain) == "energy labels、tempo labels"
    assert Pattern.parse("{Clauses}.").fill({"clauses": "it hurries"}) == "It hurries."


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("tempo:\n", "speed:\n", "tempo: every control axis must be there"),
        ("  graded: true\n", "", "tempo: must have from"),
        ("  from: 0.2\n", "  from: 2\n", "tempo: must have from"),
        ("negations: [not slow,", "negatives: [not slow,", "tempo, positive, en: negations must be a list of texts"),
    ],
)
def test_mistakes_in_wording_are_named(tmp_path, before, after, complaint):
    text = (FOLDER / "wording.yaml").read_text(encoding="utf-8")
    path = tmp_path / "wording.yaml"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(InputError, match=complaint):
        load_wording(path)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("{noun}", "{melody}", r"unknown|received \['melody'\]"),
        ("  mood:", "  moods:", "en: must have a list of texts for mood"),
    ],
)
def test_mistakes_in_sentences_are_named(tmp_path, before, after, complaint):
    text = (FOLDER / "sentences.yaml").read_text(encoding="utf-8")
    path = tmp_path / "sentences.yaml"
    path.write_text(text.partition("\nen:")[1] + text.partition("\nen:")[2].replace(before, after, 1), encoding="utf-8")
    with pytest.raises(InputError, match=complaint):
        Sentences.load(path)
