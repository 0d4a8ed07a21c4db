import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_meloformer import midi
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.six_tracks import merge_six_tracks
from fairseq_meloformer.tokens import remi, vocabulary
from fairseq_meloformer.tokens.grammar import Grammar, Limits
from fairseq_meloformer.tokens.vocabulary import BAR_END, END, PAD

PUBLISHED = vocabulary.published()
GENERAL = vocabulary.general()


def walk(grammar, seed, steps=1000):
    """Follow the grammar at random until all songs end; token strings of the songs, without END."""
    generator = torch.Generator().manual_seed(seed)
    kinds = [symbol[0] for symbol in grammar._vocabulary.symbols]
    weights = torch.tensor([1 / kinds.count(kind) for kind in kinds])  # every kind is as likely as any other
    songs = [[] for _ in grammar.bars]
    for _ in range(steps):
        allowed = grammar.allowed()
        assert allowed.dtype == torch.bool
        assert allowed.any(1).all()
        ids = torch.multinomial(weights * allowed, 1, generator=generator)[:, 0]
        grammar.advance(ids)
        for song, token in zip(songs, ids.tolist(), strict=True):
            if token not in {END, PAD}:
                song.append(token)
        if ((ids == END) | (ids == PAD)).all():
            return [grammar._vocabulary.tokens(song) for song in songs]
    pytest.fail(f"songs did not end within {steps} tokens")


def without_empty_ends(tokens):
    bars = remi.bars(tokens)
    sounding = [index for index, bar in enumerate(bars) if any(token.startswith("o-") for token in bar)]
    return [token for bar in bars[min(sounding) : max(sounding) + 1] for token in bar]


@given(st.integers(0, 2**31))
@settings(max_examples=5, deadline=None)
def test_random_walks_decode_and_round_trip(seed):
    grammar = Grammar(PUBLISHED, empty_bars=bool(seed % 2))
    grammar.start(6, limits=Limits(bar_tokens=[None, 8, 20, 40, 80, 160]))
    for tokens in walk(grammar, seed):
        song = remi.decode(tokens)
        if song.instruments:
            encoded = remi.encode(song, ignore_time_signature=True, instrument_order="six_tracks")
            assert encoded == without_empty_ends(tokens)


@given(st.integers(0, 2**31))
@settings(max_examples=5, deadline=None)
def test_random_walks_in_the_general_vocabulary_round_trip(seed):
    grammar = Grammar(GENERAL, empty_bars=False)
    metres = ["4/4", "3/4", "5/4", "12/8"]
    grammar.start(4, limits=Limits(bars=[1, 2, 3, 4], bar_tokens=[60] * 4, metres=metres))
    for number, (tokens, metre) in enumerate(zip(walk(grammar, seed), metres, strict=True), start=1):
        assert remi.encode(remi.decode(tokens, metre), **FORM) == tokens
        assert len(remi.bars(tokens)) == number


def test_limits_are_kept_song_by_song():
    grammar = Grammar(PUBLISHED)
    limits = Limits(
        bars=[4, 1, None, 7],
        programs=[{0}, {80, 128}, None, {43, 48, 127}],
        tempi=[10, None, 48, 0],
        bar_tokens=[8, 30, 13, None],
    )
    for seed in range(5):
        grammar.start(4, limits=limits)
        songs = walk(grammar, seed)
        bars = [remi.bars(song) for song in songs]
        assert grammar.bars.tolist() == [len(song) for song in bars]
        assert [len(song) for song in bars][::2] == [4, len(bars[2])]
        assert [len(song) for song in bars][1::2] == [1, 7]
        for song, programs in zip(songs, [{0}, {80, 128}, {80, 128, 43, 25, 0, 48}, {43, 48}], strict=True):
            assert {int(token[2:]) for token in song if token.startswith("i-")} <= programs
        for number, tempo in ((0, "t-10"), (2, "t-48"), (3, "t-0")):
            assert {token for token in songs[number] if token.startswith("t-")} == {tempo}
        assert max(map(len, bars[0])) <= 8
        assert max(map(len, bars[1])) <= 30
        assert max(map(len, bars[2])) <= 13


def test_every_instrument_keeps_to_its_pitches():
    ranges = {0: range(60, 72), 43: range(28, 40), 128: range(35, 82), 80: range(200, 210), 25: range(-5, 3)}
    narrow = {0: range(10, 11)}
    for book in (PUBLISHED, GENERAL):
        grammar = Grammar(book, empty_bars=False)
        grammar.start(
            4, limits=Limits(bars=[9] * 4, programs=[set(ranges)] * 4, pitches=[ranges, None, narrow, ranges])
        )
        grammar.select([0, 2, 3])
        held, low, again = walk(grammar, 1, steps=20_000)
        for tokens in (held, again):
            heard = {0: set(), 43: set(), 128: set(), 25: set()}
            for track in remi.decode(tokens).instruments:
                heard[128 if track.is_drum else track.program] = {note.pitch for note in track.notes}
            assert all(pitches <= set(ranges[program]) for program, pitches in heard.items() if program in ranges)
            assert heard[0]
            assert heard[25] <= {0, 1, 2}
        piano = next(track for track in remi.decode(low).instruments if (track.program, track.is_drum) == (0, False))
        assert {note.pitch for note in piano.notes} == {10}


def test_songs_keep_to_their_own_metres():
    metres = ["3/4", None, "2/4", "6/8", "5/4"]
    lengths = [36, 48, 24, 36, 60]
    grammar = Grammar(PUBLISHED, empty_bars=False)
    for seed in range(5):
        grammar.start(5, limits=Limits(bars=[6] * 5, bar_tokens=[60] * 5, metres=metres))
        songs = walk(grammar, seed)
        for tokens, metre, length in zip(songs, metres, lengths, strict=True):
            assert max(int(token[2:]) for token in tokens if token.startswith("o-")) < length
            assert remi.encode(remi.decode(tokens, metre or "4/4"), **FORM) == tokens
    grammar.start([ids("t-30")] * 5, limits=Limits(metres=metres))
    grammar.select([4, 0, 2])
    onsets = [[n for n in range(64) if row[PUBLISHED.ids([f"o-{n}"])[0]]] for row in grammar.allowed()]
    assert [(min(row), max(row)) for row in onsets] == [(0, 59), (0, 35), (0, 23)]


FORM = {"ignore_time_signature": True, "instrument_order": "six_tracks"}


def ids(tokens, book=PUBLISHED):
    return book.ids(tokens.split())


@pytest.mark.parametrize(
    ("prompt", "allowed", "kinds"),
    [
        ("", ("t-0", "t-48"), "t"),
        ("t-30", ("o-0", "o-47", "b-1"), "ob"),
        ("t-30 o-12", ("i-0", "i-128"), "i"),
        ("t-30 o-12 i-128", ("p-128", "p-255"), "p"),
        ("t-30 o-12 i-25", ("p-0", "p-127"), "p"),
        ("t-30 o-12 i-25 p-60", ("d-0", "d-95"), "d"),
        ("t-30 o-12 i-25 p-60 d-3", ("v-0", "v-31"), "v"),
        ("t-30 o-12 i-25 p-60 d-3 v-9", ("o-13", "o-47", "i-0", "i-48", "p-59", "p-0", "b-1"), "oipb"),
        ("t-30 o-12 i-25 p-60 d-3 v-9 p-4 d-3 v-9", ("p-3",), "oipb"),
        ("t-30 o-12 i-128 p-129 d-3 v-9", ("p-128", "i-43"), "oipb"),
        ("t-30 o-47 i-48 p-0 d-3 v-9", ("b-1",), "b"),
        ("t-30 b-1", ("t-0", "</s>"), "t<"),
    ],
)
def test_what_may_follow(prompt, allowed, kinds):
    grammar = Grammar(PUBLISHED)
    grammar.start([ids(prompt)])
    following = PUBLISHED.tokens(grammar.allowed()[0].nonzero()[:, 0].tolist())
    assert set(allowed) <= set(following)
    assert {token[0] for token in following} == set(kinds)


@pytest.mark.parametrize(
    ("prompt", "barred"),
    [
        (
            "t-30 o-12 i-25 p-60 d-3 v-9",
            ("o-12", "o-48", "i-25", "i-80", "i-43", "i-128", "p-60", "p-61", "b-0", "</s>"),
        ),
        ("t-30 o-12 i-128 p-129 d-3 v-9", ("p-127", "p-129", "i-80")),
        ("t-30 o-12 i-128 p-128 d-3 v-9", ("p-127", "p-0", "p-128", "p-255")),
        ("t-30 o-12 i-25 p-60", ("d-96", "d-127")),
        ("t-30", ("o-48", "o-63", "</s>")),
    ],
)
def test_what_may_not_follow(prompt, barred):
    grammar = Grammar(PUBLISHED)
    grammar.start([ids(prompt)])
    assert not grammar.allowed()[0, PUBLISHED.ids(barred)].any()


def test_real_songs_keep_to_the_grammar(shared, real_music):
    grammar = Grammar(PUBLISHED)
    songs = [midi.read(real_music / f"pop909/{number}.mid") for number in ("128", "759")]
    songs += [midi.read(shared / "museformer" / "golden" / "six_track_sample.mid")]
    for song in songs:
        merged = merge_six_tracks(song)
        bars = remi.bars(remi.encode(merged, ignore_time_signature=True, instrument_order="six_tracks"))[:24]
        grammar.start(1)
        for token in PUBLISHED.ids([token for bar in bars for token in bar]):
            assert grammar.allowed()[0, token]
            grammar.advance(torch.tensor([token]))
        assert grammar.bars.item() == 24
        assert grammar.allowed()[0, END]


def test_starting_from_prompts_equals_advancing_through_them():
    prompts = [
        ids("t-30 o-12 i-25 p-60 d-3 v-9 b-1 t-3 b-1 t-30 o-3 i-80 p-70"), [], ids("t-1 b-1"), ids("t-1 b-1 t-2"),
    ]  # fmt: skip
    limits = Limits(bars=[3, 1, 1, None], bar_tokens=[None, 8, 9, 10])
    grammar = Grammar(PUBLISHED)
    grammar.start(prompts, limits=limits)
    stepped = Grammar(PUBLISHED)
    stepped.start(4, limits=limits)
    for column in range(max(map(len, prompts))):
        stepped.advance(torch.tensor([prompt[column] if column < len(prompt) else PAD for prompt in prompts]))
    assert torch.equal(grammar.allowed(), stepped.allowed())
    assert grammar.bars.tolist() == stepped.bars.tolist() == [2, 0, 1, 1]
    assert grammar.allowed()[2].nonzero().tolist() == [[END]]
    assert torch.equal(grammar._used, stepped._used)


def test_songs_are_dropped_and_doubled():
    prompts = [ids("t-30"), ids("t-30 o-12"), ids("t-30 o-12 i-25")]
    limits = Limits(bars=[1, 2, 3], tempi=[1, 2, 3])
    grammar = Grammar(PUBLISHED)
    grammar.start(prompts, limits=limits)
    before = grammar.allowed()
    grammar.select([2, 0, 0])
    assert torch.equal(grammar.allowed(), before[[2, 0, 0]])
    grammar.advance(torch.tensor(ids("p-60 b-1 o-3")))
    assert grammar.bars.tolist() == [0, 1, 0]
    assert grammar.allowed()[1].nonzero().tolist() == [[END]]
    assert PUBLISHED.tokens(grammar.allowed()[2].nonzero()[:, 0].tolist())[0] == "i-0"


def test_after_the_end_only_padding_comes():
    grammar = Grammar(PUBLISHED)
    grammar.start([ids("t-30 b-1")], limits=Limits(bars=[1]))
    for token in (END, PAD, PAD):
        grammar.advance(torch.tensor([token]))
        assert grammar.allowed()[0].nonzero().tolist() == [[PAD]]


def test_a_prompt_that_is_too_full_already_is_closed_at_once():
    grammar = Grammar(PUBLISHED)
    notes = " ".join(f"p-{pitch} d-1 v-1" for pitch in range(60, 50, -1))
    grammar.start([ids(f"t-30 o-1 i-0 {notes}"), ids(f"t-30 o-1 i-0 {notes} p-3")], limits=Limits(bar_tokens=[8, 8]))
    assert grammar.allowed()[0].nonzero().tolist() == [[BAR_END]]
    assert PUBLISHED.tokens(grammar.allowed()[1].nonzero()[:, 0].tolist())[0] == "d-0"


@pytest.mark.parametrize(
    ("songs", "limits", "message"),
    [
        ([ids("o-3")], None, "Prompt 0 must be REMIGEN2, but its token 0, o-3, cannot follow bar"),
        ([[], ids("t-3 b-1 </s>")], None, "Prompt 1 must be REMIGEN2, but its token 2, </s>, cannot follow bar"),
        ([ids("t-3 b-1 t-3 t-3 b-1")], None, "its token 3, t-3, cannot follow t"),
        (2, Limits(bars=[1]), "must have bars for each of the 2 songs, but have 1"),
        (1, Limits(bars=[0]), "bars of song 0 must be at least 1, but is 0"),
        (1, Limits(bar_tokens=[7]), "bar_tokens of song 0 must be at least 8, but is 7"),
        (1, Limits(tempi=[49]), r"tempo code of song 0 must be in 0\.\.48, but is 49"),
        (1, Limits(metres=["1/64"]), "A bar of song 0 must have 1 to 64 places for notes.*one of 1/64 has 0.75"),
        (1, Limits(metres=["7/4"]), "A bar of song 0 must have 1 to 64 places for notes.*one of 7/4 has 84"),
        (1, Limits(metres=["4/4", "3/4"]), "must have metres for each of the 1 songs, but have 2"),
        (2, Limits(programs=[None, {33}]), "Song 1 must have an instrument of the vocabulary"),
        (1, Limits(programs=[{0}], pitches=[{0: range(-9, 0)}]), "Song 0 must have an instrument .* that can play"),
    ],
)
def test_impossible_beginnings_are_refused(songs, limits, message):
    with pytest.raises(InputError, match=message):
        Grammar(PUBLISHED).start(songs, limits=limits)


def test_a_steady_tempo_is_the_first_bars_or_that_of_the_prompts_last_bar():
    grammar = Grammar(PUBLISHED, empty_bars=True, steady_tempo=True)
    prompt = PUBLISHED.ids(["t-10", "b-1", "t-20", "o-0", "i-0", "p-60", "d-6", "v-16", "b-1"])
    grammar.start([[], [], prompt, prompt[:-1]], limits=Limits(bars=[6] * 4, bar_tokens=[20] * 4))
    songs = walk(grammar, 1)
    tempi = [{token for token in song if token.startswith("t-")} for song in songs]
    assert [len(found) for found in tempi[:3]] == [1, 1, 1]
    assert tempi[2] == tempi[3] == {"t-20"}
    assert len(set.union(*tempi)) > 2


def test_a_steady_tempo_may_change_at_named_bars():
    grammar = Grammar(PUBLISHED, steady_tempo=True)
    grammar.start(8, limits=Limits(bars=[9] * 8, bar_tokens=[20] * 8, tempo_changes=[{2, 5}] * 4 + [None] * 4))
    songs = [[token for token in song if token.startswith("t-")] for song in walk(grammar, 3)]
    for tempi in songs[:4]:
        assert [len(set(part)) for part in (tempi[:2], tempi[2:5], tempi[5:])] == [1, 1, 1]
    assert all(len(set(tempi)) == 1 for tempi in songs[4:])
    assert any(len(set(tempi)) == 3 for tempi in songs[:4])
