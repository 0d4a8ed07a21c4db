"""The probe, its training texts, and the frozen prompts that it is judged by."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from fairseq_meloformer.encoders.registry import DummyEncoder
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words.lexicon import default_lexicon
from fairseq_meloformer.words.probe import DEFAULT, Probe, ProbeConfig
from fairseq_meloformer.words.probe_texts import Example, lived, outright, plain_words
from fairseq_meloformer.words.probe_training import examples, train

PROMPTS = Path(__file__).parents[2] / "fairseq_meloformer" / "evaluation" / "control" / "prompts"
FROZEN = "333e0c65146990c2b166feda83d49e5b3a073f2e785c80ea83336f784a7b1d97"
SMALL = ProbeConfig(encoder="dummy:32", dropout=0.0)


def rows(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (PROMPTS / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def small_probe() -> Probe:
    words = {"fish": ("tempo", 1.0), "sloth": ("tempo", -1.0), "虎": ("loudness", 1.0), "蛾": ("loudness", -1.0)}
    data = [Example(f"{opening} {word}", {axis: value}) for word, (axis, value) in words.items() for opening in "abcd"]
    return train(data, DummyEncoder(32), SMALL, epochs=60, batch=8, learning_rate=3e-2, weight_decay=0)


def test_a_probe_reads_what_it_was_taught_and_is_silent_otherwise(small_probe: Probe) -> None:
    values = small_probe.read(["a fish", "d 蛾"])
    asked = torch.zeros(2, len(AXES))
    asked[0, AXES.index("tempo")] = 1
    asked[1, AXES.index("loudness")] = -1
    torch.testing.assert_close(values, asked, atol=0.3, rtol=0)


def test_words_that_ask_outright_go_before_what_the_probe_guesses(small_probe: Probe) -> None:
    slow, both = small_probe.read(["slow", "a fish, not loud"])
    assert slow.tolist() == pytest.approx([-0.8] + [0.0] * 7)
    guessed = small_probe(DummyEncoder(32).encode(["a fish, not loud"]))[0] / 3  # one word of three asks for nothing
    guessed[AXES.index("loudness")] = -0.8
    torch.testing.assert_close(both, guessed)


def test_scenes_of_the_lexicon_ask_for_what_stands_there(small_probe: Probe) -> None:
    bare, changed = small_probe.read(["流星雨", "a meteor shower, slow"]).tolist()
    profile = default_lexicon().profile("meteor shower") or {}
    assert bare == pytest.approx([profile.get(axis, 0.0) for axis in AXES])
    assert changed == pytest.approx([{**profile, "tempo": -0.8}.get(axis, 0.0) for axis in AXES])


def test_a_reading_does_not_depend_on_the_batch(small_probe: Probe) -> None:
    texts = ["fish", "a 虎 text that is a good deal wilder", "sloth b"]
    alone = torch.cat([small_probe.read([text]) for text in texts])
    torch.testing.assert_close(small_probe.read(texts), alone)


def test_training_is_repeatable_and_leaves_the_random_state_alone() -> None:
    data = [Example("fast", {"tempo": 1.0}), Example("slow", {"tempo": -1.0}), Example("轻", {"loudness": -1.0})]
    before = torch.random.get_rng_state()
    first, second = (train(data, DummyEncoder(32), SMALL, epochs=2).state_dict() for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_silence_of_a_scene_counts_less_than_of_a_request() -> None:
    values, weights = Example("storm", {"tempo": 0.9, "mode": 0.0}, scene=True).target()
    assert values[0] == pytest.approx(0.9)
    assert weights.tolist()[0] == weights.tolist()[AXES.index("mode")] == 1
    assert 0 < weights[AXES.index("drums")] < 1
    assert Example("quick", {"tempo": 0.9}).target()[1].tolist() == [1.0] * len(AXES)


def test_saved_and_read_again_it_reads_the_same(small_probe: Probe, tmp_path: Path) -> None:
    small_probe.save_pretrained(tmp_path)
    again = Probe.from_pretrained(tmp_path)
    torch.testing.assert_close(again.read(["a fish"]), small_probe.read(["a fish"]), atol=2e-2, rtol=0)


def test_files_that_are_no_probe_are_refused(small_probe: Probe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config.json is missing.*train_probe"):
        Probe.from_pretrained(tmp_path / "absent")
    small_probe.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="must be a safetensors file"):
        Probe.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "bridge"}', encoding="utf-8")
    with pytest.raises(InputError, match="a bridge of None"):
        Probe.from_pretrained(tmp_path)


def test_another_encoder_is_refused(small_probe: Probe, tmp_path: Path) -> None:
    small_probe.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="dummy:32, width 32; received one of width 16"):
        Probe.from_pretrained(tmp_path, encoder=DummyEncoder(16))


def test_the_embedded_probe_is_small_and_has_a_card() -> None:
    assert sum(path.stat().st_size for path in DEFAULT.iterdir()) < 2_000_000
    assert "held_out.jsonl" in (DEFAULT / "README.md").read_text(encoding="utf-8")


def test_training_texts_are_of_every_source() -> None:
    lexicon = default_lexicon()
    assert len(list(plain_words(lexicon))) > 2000
    assert all(example.scene for example in lived())
    assert not any(example.scene for example in outright(20))
    data = examples(lexicon, 50)
    assert len({example.text for example in data}) == len(data)


def test_the_held_out_prompts_are_the_frozen_ones() -> None:
    assert hashlib.sha256((PROMPTS / "held_out.jsonl").read_bytes()).hexdigest() == FROZEN
    prompts = rows("held_out.jsonl")
    shares = [
        sum(row["lang"] == lang and row["kind"] == kind for row in prompts)
        for lang, kind in (("zh", "stated"), ("zh", "implied"), ("en", "stated"), ("en", "implied"))
    ]
    assert shares == [75] * 4


@pytest.mark.parametrize("name", ["held_out.jsonl", "seen.jsonl", "development.jsonl"])
def test_no_prompt_is_a_word_of_the_lexicon_or_a_training_text(name: str) -> None:
    lexicon = default_lexicon()
    assert [row["text"] for row in rows(name) if lexicon.find(str(row["text"]))] == []
    drawn = {example.text.casefold().rstrip(".。") for example in outright(2000)}
    assert [row["text"] for row in rows(name) if str(row["text"]).casefold().rstrip(".。") in drawn] == []


def test_no_held_out_scene_is_contained_in_the_lexicon() -> None:
    words = default_lexicon().words
    for row in rows("held_out.jsonl"):
        if row["kind"] == "implied":
            text = str(row["text"]).casefold().rstrip(".。!！")
            assert not [word for lang in words for word in words[lang] if text in word], text


@pytest.mark.parametrize("name", ["seen.jsonl", "development.jsonl"])
def test_held_out_prompts_are_apart_from_those_that_were_looked_at(name: str) -> None:
    assert not {row["text"] for row in rows("held_out.jsonl")} & {row["text"] for row in rows(name)}
