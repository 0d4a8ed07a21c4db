"""The lexicon as it is shipped, and how its loader complains."""

import itertools
import re

import numpy as np
import pytest
import yaml

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words.lexicon import FOLDER, Lexicon, default_lexicon
from fairseq_meloformer.words.scenes import Word, read_yaml

FILES = sorted(FOLDER.parent.rglob("*.yaml"))

STORM = """kind: scene
entries:
  storm:
    zh: [暴风雨, 风暴]
    en: [(a) storm, (the) tempest]
    profile: {tempo: 0.4, density: 0.9, loudness: 0.9}
    why: loud and dense
"""
MODIFIERS = """distant:
  zh: ["远处的{}"]
  en: ["distant {}"]
  profile: {loudness: -0.9, register: 0.4}
  despite: [loudness]
  themes: [weather]
calm:
  zh: ["平静的{}"]
  en: ["calm {}"]
  profile: {density: -0.8}
  themes: [weather]
memories:
  zh: ["回忆里的{}"]
  en: ["memories of {full}"]
  profile: {sustain: 0.5}
  themes: [weather]
"""


def write(folder, scenes=STORM, modifiers=MODIFIERS, theme="weather"):
    (folder / "scenes").mkdir(exist_ok=True)
    (folder / "scenes" / f"{theme}.yaml").write_text(scenes, encoding="utf-8")
    (folder / "modifiers.yaml").write_text(modifiers, encoding="utf-8")
    return folder


def test_at_least_two_thousand_words_per_language_and_hundreds_of_entries_by_hand():
    lexicon = default_lexicon()
    assert len([scene for scene in lexicon.scenes if not scene.composed]) >= 500
    assert {lang: len(words) >= 2000 for lang, words in lexicon.words.items()} == {"zh": True, "en": True}


def test_words_are_in_their_language_and_name_one_scene():
    for lang, words in default_lexicon().words.items():
        for text, scene in words.items():
            assert bool(re.search("[\u4e00-\u9fff]", text)) == (lang == "zh"), text
            assert text in [word.text.casefold() for word in scene.words[lang]]
    total = sum(len(scene.words["en"]) for scene in default_lexicon().scenes)
    assert total == len(default_lexicon().words["en"])


def test_every_direction_and_every_pair_of_directions_is_covered():
    profiles = default_lexicon().profiles
    for (first, second), signs in itertools.product(
        itertools.combinations(range(len(AXES)), 2), itertools.product((1, -1), repeat=2)
    ):
        both = (profiles[:, first] * signs[0] > 0) & (profiles[:, second] * signs[1] > 0)
        assert both.sum() >= 50, (AXES[first], AXES[second], signs)


@pytest.mark.parametrize(
    "corner",
    [
        {"density": -1, "register": 1, "loudness": -1},
        {"register": -1, "sustain": 1, "loudness": 1},
        {"tempo": 1, "density": -1, "register": 1, "leaps": 1},
        {"register": -1, "density": 1, "sustain": 1, "loudness": 1},
    ],
)
def test_rare_corners_have_plain_words(corner):
    plain = [scene for scene in default_lexicon().scenes if not scene.composed]
    matching = [scene for scene in plain if all(scene.profile.get(axis, 0) * sign > 0 for axis, sign in corner.items())]
    assert len(matching) >= 2, corner


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("暴风雨", {"register": -1, "density": 1, "sustain": 1, "loudness": 1}),
        ("storm", {"register": -1, "density": 1, "sustain": 1, "loudness": 1}),
        ("流星雨", {"tempo": 1, "register": 1, "leaps": 1, "density": -1}),
        ("A meteor shower.", {"tempo": 1, "register": 1, "leaps": 1, "density": -1}),
        ("夜里的暴风雨", {"loudness": 1, "density": 1}),
        ("the Great Wall", {"loudness": 1, "register": -1}),
        ("江南烟雨", {"loudness": -1, "tempo": -1}),
    ],
)
def test_words_have_the_profile_that_a_musician_expects(text, asked):
    profile = default_lexicon().profile(text)
    assert all(profile[axis] * sign > 0 for axis, sign in asked.items())


def test_unknown_texts_have_no_profile():
    assert default_lexicon().profile("a spreadsheet about taxes") is None


def test_composition_adds_profiles_and_moves_the_article(tmp_path):
    lexicon = Lexicon.load(write(tmp_path))
    assert lexicon.profile("distant storm") == {"tempo": 0.4, "density": 0.9, "register": 0.4}
    assert lexicon.find("远处的暴风雨").words["en"] == (Word("distant storm", "a distant storm"),)
    assert lexicon.find("memories of a storm").composed


def test_modifiers_do_not_contradict_what_a_scene_strongly_implies(tmp_path):
    assert Lexicon.load(write(tmp_path)).find("calm storm") is None


def test_articles_fit_the_next_sound():
    assert Word.read("(an) owl").within("sleeping {}").full == "a sleeping owl"
    assert Word.read("(a) storm").within("endless {}").full == "an endless storm"
    assert Word.read("(the) sea").within("{} at night").full == "the sea at night"
    assert Word.read("snowfall").within("gentle {}").full == "gentle snowfall"


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("loudness: 0.9", "volume: 0.9", r"entry 'storm': profile knows the axes .* received \['volume'\]"),
        ("loudness: 0.9", "loudness: 9", r"profile values must be 0\.3\.\.1 or -1\.\.-0\.3"),
        ("loudness: 0.9", "loudness: 0.1", "leave out what is not implied"),
        ("loudness: 0.9", "loudness: yes", "profile values must be"),
        ("{tempo: 0.4, density: 0.9, loudness: 0.9}", "{}", "profile must name at least one axis"),
        ("{tempo: 0.4, density: 0.9, loudness: 0.9}", "loud", "profile must map axes to numbers"),
        ("暴风雨, ", "storm, ", "zh must be Chinese"),
        ("(a) storm", "暴风", "en must be English"),
        ("[暴风雨, 风暴]", "[]", "zh must be a list of words"),
        ("(a) storm", "no", "quote 'no' and the like"),
        ("    why: loud and dense\n", "", "must have exactly zh, en, profile and why"),
        ("why: loud and dense", "why: ''", "why must say"),
        ("kind: scene", "kind: smell", "must have 'kind: scene' or 'kind: mood'"),
        ("kind: scene", "kind: mood", None),
        ("entries:", "entries: [", "readable YAML"),
    ],
)
def test_mistakes_in_scenes_are_named(tmp_path, before, after, complaint):
    write(tmp_path, scenes=STORM.replace(before, after))
    if complaint is None:
        assert Lexicon.load(tmp_path).scenes[0].kind == "mood"
        return
    with pytest.raises(InputError, match=complaint) as error:
        Lexicon.load(tmp_path)
    assert "weather.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("distant {}", "distant", r"entry 'distant': en must be a list of patterns"),
        ("themes: [weather]", "themes: [cheese]", "themes must be among weather"),
        ("despite: [loudness]", "despite: [cheese]", "despite must list axes"),
        ("despite: [loudness]", "except: [cheese]", r"unknown \['cheese'\]"),
        ("despite: [loudness]", "loud: 3", "may have despite, except, longest, scale"),
    ],
)
def test_mistakes_in_modifiers_are_named(tmp_path, before, after, complaint):
    write(tmp_path, modifiers=MODIFIERS.replace(before, after, 1))
    with pytest.raises(InputError, match=complaint):
        Lexicon.load(tmp_path)


def test_all_mistakes_are_reported_at_once(tmp_path):
    write(tmp_path, scenes=STORM.replace("storm:", "other:"), theme="other")
    write(tmp_path, modifiers=MODIFIERS.replace("distant {}", "distant"))
    with pytest.raises(InputError, match="5 mistakes") as error:
        Lexicon.load(tmp_path)
    assert "'暴风雨' already stands in entry 'other'" in str(error.value)
    assert "modifiers.yaml, entry 'distant'" in str(error.value)


def test_moods_come_without_particle(tmp_path):
    mood = STORM.replace("kind: scene", "kind: mood").replace("风暴", "风暴般的")
    with pytest.raises(InputError, match="without 的"):
        Lexicon.load(write(tmp_path, scenes=mood))


def test_an_empty_folder_is_no_lexicon(tmp_path):
    with pytest.raises(InputError, match=r"no scenes/\*\.yaml"):
        Lexicon.load(write(tmp_path, scenes="kind: scene\nentries: {}\n", modifiers=""))


def test_music_goes_by_a_scene_that_it_fits():
    lexicon = default_lexicon()
    stormy = {"tempo": 0.6, "density": 0.9, "register": -0.8, "leaps": 0, "sustain": 0.7, "loudness": 0.9, "mode": 0}
    match = lexicon.match({**stormy, "drums": 0.0})
    index = next(index for index, scene in enumerate(lexicon.scenes) if scene.id == "storm")
    assert match[index] == pytest.approx(1)
    assert lexicon.match({**stormy, "drums": 0.0, "loudness": 0.1})[index] == 0
    assert lexicon.match({**stormy, "drums": 0.0, "density": -0.1})[index] == 0
    partly = lexicon.match({**stormy, "loudness": 0.5})[index]
    assert 0.8 < partly < 1


def test_scenes_whose_axes_were_not_measured_do_not_fit():
    lexicon = default_lexicon()
    fitting = np.flatnonzero(lexicon.match({"loudness": 1.0}))
    assert all(set(lexicon.scenes[index].profile) == {"loudness"} for index in fitting)


def test_every_plain_scene_can_be_chosen():
    lexicon = default_lexicon()
    for index, scene in enumerate(lexicon.scenes[:100]):
        assert lexicon.match(scene.profile)[index] == pytest.approx(1)
        assert lexicon.weights[index] > 0


def test_shipped_files_explain_themselves():
    for path in sorted(FOLDER.rglob("*.yaml")):
        assert path.read_text(encoding="utf-8").startswith("# "), path
        assert read_yaml(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_the_same_to_a_pyyaml_without_libyaml(path):
    text = path.read_text(encoding="utf-8")
    assert yaml.load(text, yaml.SafeLoader) == yaml.load(text, yaml.CSafeLoader)
