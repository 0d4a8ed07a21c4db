"""Pieces obey what is asked exactly, depend on their own request only, and decode."""

import pytest
from injection.models import DIM, LAYERS, bridge, museformer

from fairseq_meloformer.composing.composer import Composer, plan_of
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.midi.general_midi import SOUNDS
from fairseq_meloformer.midi.notes import DRUMS
from fairseq_meloformer.museformer.checkpoints import model_hash
from fairseq_meloformer.museformer.config import SCOPES
from fairseq_meloformer.museformer.sampling import Sampling
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.prompts import Request

REQUESTS = [Request("暴风雨", seed=1, bars=3), Request("a meteor shower", seed=2, bars=2)]


@pytest.fixture(scope="module")
def composer():
    return Composer(museformer(), bridge())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_every_scope_gives_pieces_of_the_asked_length_that_decode(composer, scope, guidance):
    settings = Settings(scope=scope, sampling=Sampling(logit_guidance=guidance), nfe=2, bar_tokens=40)
    for request, piece in zip(REQUESTS, composer.compose(REQUESTS, settings), strict=True):
        bars = remi.bars(piece.tokens)
        assert len(bars) == request.bars
        assert all(len(bar) <= 40 for bar in bars)
        again = remi.encode(piece.midi, "REMIGEN2", ignore_time_signature=True, instrument_order="six_tracks")
        assert again == piece.tokens
    assert composer.model.reading is None


@pytest.mark.parametrize("scope", SCOPES)
def test_a_piece_does_not_depend_on_its_batch(composer, scope):
    settings = Settings(scope=scope, nfe=2, bar_tokens=40)
    together = composer.compose(REQUESTS, settings)
    alone = composer.compose(REQUESTS[1:], settings)
    assert together[1].tokens == alone[0].tokens
    other = composer.compose([Request(REQUESTS[1].text, seed=3, bars=2)], settings)
    assert other[0].tokens != alone[0].tokens


def test_text_and_plan_change_the_music_and_no_injection_does_not_hear_them(composer):
    def tokens(text, **settings):
        return composer.compose([Request(text, seed=1, bars=4)], Settings(nfe=2, bar_tokens=40, **settings))[0].tokens

    assert tokens("暴风雨", scope="plan") != tokens("流星雨", scope="plan")
    assert tokens("暴风雨", injected=False) == tokens("流星雨", injected=False) == tokens("solo flute", injected=False)
    assert tokens("暴风雨", scope="plan", strength=0.0) != tokens("暴风雨", scope="plan")


def test_a_plan_acts_in_the_layers_that_its_bridge_makes():
    composer = Composer(museformer(), bridge(plan_layers=(1,)))
    requests = [Request("rain", seed=1, bars=4)]
    own, same, other = (
        composer.compose(requests, Settings(scope="plan", nfe=2, bar_tokens=40, layers=layers))[0].tokens
        for layers in (None, (1,), (0, 1))
    )
    assert own == same
    assert own != other


def test_the_bridge_decides_the_length_when_nothing_says_it(composer):
    piece = composer.compose([Request("rain", seed=5)], Settings(nfe=2, bar_tokens=30))[0]
    _, mask = composer.bridge.plan(["rain"], seed=[5], nfe=2)
    assert len(remi.bars(piece.tokens)) == int(mask.sum())


def test_bars_of_the_text_that_are_not_kept_are_said_of_the_plan_alone_too(composer):
    (piece,) = composer.compose([Request("rain, 8 bars", seed=5, bars=1)], Settings(nfe=2, bar_tokens=30))
    assert piece.not_honoured == ["8 bars (1 are asked for)"]


def test_pieces_are_transposed_afterwards(composer):
    settings = Settings(nfe=2, bar_tokens=40)
    piece = composer.compose([Request("rain", 1, 2, 3)], settings)[0]
    written, moved = (
        sorted(note.pitch for track in song.instruments if not track.is_drum for note in track.notes)
        for song in (remi.decode(piece.tokens), piece.midi)
    )
    assert moved == [pitch + 3 for pitch in written]


@pytest.mark.parametrize("transposition", [0, -12, 7])
def test_no_piece_leaves_what_its_instruments_can_play(composer, transposition):
    requests = [Request("rain", seed=seed, bars=2, transposition=transposition) for seed in range(6)]
    for piece in composer.compose(requests, Settings(nfe=2, bar_tokens=60)):
        assert piece.midi.instruments
        for track in piece.midi.instruments:
            playable = SOUNDS[DRUMS if track.is_drum else track.program].pitches
            assert {note.pitch for note in track.notes} <= set(playable)


def test_an_oracle_plan_is_followed(composer):
    song = composer.compose([Request("rain", seed=1, bars=5)], Settings(nfe=2, bar_tokens=40))[0].midi
    plan, shift = plan_of(composer.model, song)
    assert plan.shape == (5, LAYERS, DIM)
    assert -11 <= shift <= 9
    settings = Settings(scope="plan", bar_tokens=40)
    pieces = Composer(composer.model, None).compose([Request("", seed=2), Request("", seed=3)], settings, plan)
    assert [len(remi.bars(piece.tokens)) for piece in pieces] == [5, 5]


def test_bosbar_models_have_one_more_planned_bar():
    composer = Composer(museformer(chunking="bosbar", scope="plan"), bridge())
    piece = composer.compose([Request("rain", seed=1, bars=3)], Settings(nfe=2, bar_tokens=40))[0]
    assert len(remi.bars(piece.tokens)) == 3


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(InputError, match="2 layers of 32"):
        Composer(museformer(), bridge(layers=3))
    with pytest.raises(InputError, match="needs a bridge"):
        Composer(museformer(), None).compose(REQUESTS, Settings())
    with pytest.raises(InputError, match="was trained with"):
        Composer(museformer(vocabulary_sha256="0" * 64), None)


def test_a_bridge_for_another_museformer_of_equal_sizes_is_refused_unless_it_is_meant(tmp_path):
    model = museformer()
    model.save_pretrained(tmp_path / "own")
    bridge(museformer=model_hash(model.state_dict())).save_pretrained(tmp_path / "bridge")
    model.layer_norm.weight.data += 1
    model.save_pretrained(tmp_path / "other")
    assert Composer.from_pretrained(tmp_path / "own", tmp_path / "bridge", probe=None, dtype="int8").bridge
    with pytest.raises(InputError, match=r"trained for \w{12} and the model is \w{12}.*--another-museformer"):
        Composer.from_pretrained(tmp_path / "other", tmp_path / "bridge", probe=None)
    assert Composer.from_pretrained(tmp_path / "other", tmp_path / "bridge", probe=None, another_museformer=True).bridge


def test_nothing_asked_is_nothing_composed(composer):
    assert composer.compose([], Settings()) == []
