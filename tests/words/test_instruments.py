"""Instruments by name: all of General MIDI, what it lacks, and words that only look like instruments."""

import pytest

from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.midi.six_tracks import BASS, GUITAR, LEAD, PIANO, STRINGS
from fairseq_meloformer.words import instruments
from fairseq_meloformer.words.instruments import SIX, cast, name_of, roles_of
from fairseq_meloformer.words.stated import default_reader
from fairseq_meloformer.words.wishes import read


def test_a_bass_that_is_refused_is_one_and_steel_drums_are_no_kit():
    assert read("church organ, no drums, no bass").absent == {BASS, DRUMS}
    assert not default_reader().read("steel drums, 8 bars").values
    assert default_reader().read("steel drums and drums").values == {"drums": 0.8}


@pytest.mark.parametrize("program", range(DRUMS + 1))
def test_every_program_is_read_by_its_official_name_and_played_by_a_role(program):
    wishes = read(f"calm music for {name_of(program)}")
    assert wishes.players == {roles_of(program)[0]: program}
    assert roles_of(program)[0] in SIX
    assert not wishes.not_honoured


@pytest.mark.parametrize(
    ("text", "players"),
    [
        ("solo flute over a quiet forest", {LEAD: 73}),
        ("bright lead over slow strings", {LEAD: 80, STRINGS: 48}),
        ("a tango in 3/4 for violin and accordion", {STRINGS: 40, PIANO: 21}),
        ("二胡和古筝", {STRINGS: 110, GUITAR: 107}),
        ("trumpet, harp and banjo", {LEAD: 56, GUITAR: 46, PIANO: 105}),
        ("church organ and choir", {PIANO: 19, STRINGS: 52}),
        ("an 8-bit lead with drums", {LEAD: 80, DRUMS: 128}),
        ("cello suite for solo cello", {STRINGS: 42}),
        ("piano and organ", {PIANO: 0, STRINGS: 19}),
        ("flute and clarinet", {LEAD: 73, STRINGS: 71}),
        ("violin, viola, cello", {STRINGS: 40, LEAD: 41, BASS: 42}),
        ("tuba, horns and trumpets", {BASS: 58, LEAD: 60, STRINGS: 56}),
        ("ukulele strumming", {GUITAR: 24}),
        ("唢呐独奏", {LEAD: 111}),
        ("笛子、琵琶", {LEAD: 73, GUITAR: 106}),
        ("古筝與琵琶", {GUITAR: 107, PIANO: 106}),
        ("brass and drums", {LEAD: 61, DRUMS: 128}),
        ("乐器：长笛、大提琴、马林巴", {LEAD: 73, STRINGS: 42, PIANO: 12}),
        ("小号和圆号", {LEAD: 56, STRINGS: 60}),
        ("synth bass and electric piano", {BASS: 38, PIANO: 4}),
    ],
)
def test_who_plays_what(text, players):
    assert read(text).players == players


@pytest.mark.parametrize(
    "text",
    [
        "lead me home",
        "a lily pad",
        "he blew the horn",
        "church bells in the valley",
        "the train whistle",
        "bass fishing",
        "the helicopter over the jungle",
        "风筝飞上天",
        "用鼓舞人心的音乐",
        "a vibrant city",
        "the organ donor",
        "a harpoon",
        "applause in the hall",
        "夜夜笙歌",
        "drumming rain",
        "the highest note of the bass register",
        "大号的衣服",
        "fluted glass",
    ],
)
def test_words_with_another_sense_are_no_instruments(text):
    assert read(text).instruments == ()


@pytest.mark.parametrize(
    "text", ["erhu by the lake", "a piece for guzheng", "pipa solo", "二胡独奏", "handpan meditation"]
)
def test_the_nearest_kin_of_what_general_midi_lacks_is_said(text):
    (said,) = read(text).understood()
    assert "as its nearest kin" in said


def test_a_role_plays_one_instrument_and_who_is_left_over_is_said():
    programs = [0, 24, 48, 73, 56, 43, 40]
    players = cast(programs)
    assert len(players) == 5  # drums do not play melodies
    assert set(players.values()) < set(programs)
    wishes = read("flute, oboe, clarinet, trumpet, horn and trombone")
    assert len(wishes.not_honoured) == 1
    assert "no track" in wishes.not_honoured[0]


def test_refused_instruments_do_not_play():
    wishes = read("violin and flute, no trumpet")
    assert wishes.players == {STRINGS: 40, LEAD: 73}
    assert read("no flute").programs == SIX - {LEAD}
    assert read("不要长笛和小提琴").programs == SIX - {LEAD, STRINGS}


@pytest.mark.parametrize(
    "text",
    [
        "I don't want piano",
        "we don't need piano",
        "neither guitar nor piano",
        "exclude piano",
        "I hate piano",
        "piano isn't needed",
        "forget the piano",
        "anything but piano",
        "不要使用钢琴",
        "请不要加入钢琴",
        "不要出现钢琴",
        "不含钢琴",
        "禁止钢琴",
        "不是钢琴",
        "钢琴就不用了",
        "钢琴统统不要",
        "the piano section should sit this one out",
    ],
)
def test_whoever_is_denied_in_any_words_is_refused(text):
    wishes = read(text)
    assert PIANO in wishes.absent
    assert not wishes.playing


@pytest.mark.parametrize(
    "text", ["exclude drums", "drum-free", "with neither drums nor bass", "all but the drums", "I don't want drums"]
)
def test_drums_that_are_refused_by_name_are_refused_on_their_axis(text):
    assert DRUMS in read(text).absent
    assert default_reader().read(text).values["drums"] < 0


@pytest.mark.parametrize(
    ("text", "playing", "absent"),
    [
        ("no drums, piano solo", {PIANO}, {DRUMS}),
        ("without drums and solo piano", {PIANO}, {DRUMS}),
        ("without drums, piano, 90 bpm", {PIANO}, {DRUMS}),
        ("no drums and no bass, piano please", {PIANO}, {DRUMS, BASS}),
        ("不要鼓，钢琴独奏", {PIANO}, {DRUMS}),
        ("没有鼓，钢琴和弦乐", {PIANO, STRINGS}, {DRUMS}),
        ("不要鼓和贝斯，钢琴", {PIANO}, {DRUMS, BASS}),
        ("no drums, bass or piano", set(), {DRUMS, BASS, PIANO}),
        ("no drums, bass, or piano", set(), {DRUMS, BASS, PIANO}),
        ("不要鼓、贝斯和钢琴", set(), {DRUMS, BASS, PIANO}),
        ("不要鼓，贝斯或钢琴", set(), {DRUMS, BASS, PIANO}),
        ("钢琴、鼓和贝斯都不要，只留弦乐", {STRINGS}, {DRUMS, BASS, PIANO}),
    ],
)
def test_a_refusal_reaches_over_a_comma_only_in_a_list_that_ends_in_or(text, playing, absent):
    wishes = read(text)
    assert (wishes.playing, wishes.absent) == (playing, absent)


@pytest.mark.parametrize(
    ("text", "players"),
    [
        ("分别用钢琴和小提琴", {PIANO: 0, STRINGS: 40}),
        ("特别加钢琴", {PIANO: 0}),
        ("告别钢琴", {PIANO: 0}),
        ("don't forget the piano", {PIANO: 0}),
        ("never get tired of the piano", {PIANO: 0}),
        ("没有钢琴不行", {PIANO: 0}),
        ("没有钢琴和鼓不行", {PIANO: 0, DRUMS: 128}),
        ("not only piano but guitar", {PIANO: 0, GUITAR: 25}),
        ("non-stop piano", {PIANO: 0}),
        ("钢琴不要太响", {PIANO: 0}),
    ],
)
def test_words_that_only_look_like_a_refusal_refuse_nobody(text, players):
    assert read(text).players == players


def test_no_name_stands_for_two_programs():
    names = instruments._names().names
    assert names["violin"].program == 40
    assert len(names) > 500
