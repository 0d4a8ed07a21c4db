"""Plans of timelines: each section its own, gliding at the joints; and what the sections became is measured."""

import json

import pytest
import torch
from injection.models import DIM, LAYERS, bridge, museformer

from fairseq_meloformer import cli
from fairseq_meloformer.composing.composer import Composer
from fairseq_meloformer.composing.piece import Settings
from fairseq_meloformer.composing.sections import joined, measure_sections, plan_requests
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import measure
from fairseq_meloformer.tokens import remi
from fairseq_meloformer.words.prompts import Request, sections_of
from fairseq_meloformer.words.timeline import read_timeline

TIMELINE = "1-3: calm | 4-4: rain | 5-6: storm"
SECTIONS = read_timeline(TIMELINE)
SETTINGS = Settings(scope="plan", nfe=2, bar_tokens=12)


def timeline(seed=1, text=TIMELINE):
    sections = read_timeline(text)
    return Request(text, seed, sections[-1].last, sections=sections)


def sampled(made, *requests):
    plan, mask = plan_requests(made, requests, outside=0, guidance_scale=1.0, nfe=2)
    return [values[own] for values, own in zip(plan, mask, strict=True)]


def test_a_joint_is_a_glide_over_two_bars_and_the_rest_is_each_sections_own():
    plans = [torch.full((count, 1, 1), value) for count, value in ((4, 0.0), (3, 6.0), (3, 12.0))]
    assert joined(plans, SECTIONS).flatten().tolist() == [0, 0, 2, 6, 10, 12]


def test_bars_before_the_music_belong_to_the_first_section():
    plans = [torch.full((5, 1, 1), 1.0), torch.full((3, 1, 1), 4.0), torch.full((3, 1, 1), 7.0)]
    assert joined(plans, SECTIONS, outside=1).flatten().tolist() == [1, 1, 1, 2, 4, 6, 7]


def test_sections_are_planned_apart_whatever_they_are_planned_with():
    made = bridge()
    alone = sampled(made, timeline())[0]
    together = sampled(made, Request("rain", 5, 4), timeline())
    assert [len(plan) for plan in together] == [4, 6]
    torch.testing.assert_close(together[1], alone)
    torch.testing.assert_close(together[0], made.plan(["rain"], [4], seed=[5], nfe=2)[0][0])
    other = sampled(made, timeline(text=TIMELINE.replace("storm", "sun")))[0]
    torch.testing.assert_close(other[:3], alone[:3])
    assert not torch.allclose(other[4:], alone[4:])
    assert other.shape == (6, LAYERS, DIM)


@pytest.mark.parametrize("outside", [0, 1])
def test_a_chorus_that_comes_back_has_the_same_plan_again(outside):
    text = "verse 3 bars, chorus 4 bars, verse 3 bars, bridge 2 bars, chorus 4 bars"
    request = Request(text, 1, 16, sections=sections_of(text))
    values, mask = plan_requests(bridge(), [request], outside=outside, guidance_scale=1.0, nfe=2)
    assert mask.sum() == 16 + outside
    music = values[0, outside:]
    torch.testing.assert_close(music[4:6], music[13:15])  # between the joints
    torch.testing.assert_close(music[1], music[8])
    assert not torch.allclose(music[1], music[5])


@pytest.mark.parametrize("chunking", ["infer", "bosbar"])
def test_a_timeline_has_its_own_length(chunking):
    composer = Composer(museformer(chunking=chunking), bridge())
    piece = composer.compose([timeline()], SETTINGS)[0]
    assert len(remi.bars(piece.tokens)) == 6
    found = measure_sections(piece.midi, SECTIONS)
    assert [attributes["bars"] for attributes in found] == [3, 1, 2]
    assert found[2] == measure(piece.midi, 4, 6)
    assert measure_sections(piece.midi, read_timeline("1-6: a | 7-8: b"))[1] == {}


def test_what_no_plan_can_be_made_for_is_refused():
    composer = Composer(museformer(), bridge())
    with pytest.raises(InputError, match='not "history"'):
        composer.compose([timeline()], Settings(scope="history"))
    with pytest.raises(InputError, match="1 to 1024 bars, received 2000"):
        composer.compose([timeline(text="1-1000: a | 1001-2000: b")], SETTINGS)


def test_the_command_takes_timelines_and_writes_what_each_section_became(tmp_path):
    museformer().save_pretrained(tmp_path / "museformer")
    bridge().save_pretrained(tmp_path / "bridge")
    prompts = tmp_path / "prompts.jsonl"
    sections = [{"bars": "1-2", "text": "宁静的早晨"}, {"bars": "3", "text": "storm"}]
    prompts.write_text(json.dumps({"id": "a", "sections": sections}) + "\n第1到2小节：晨｜第3小节：雨\n")
    models = ["--model", str(tmp_path / "museformer"), "--bridge", str(tmp_path / "bridge"), "--nfe", "1"]
    plain = ["--no-audio", "--no-picture", "--bridge-only", "--inject-scope", "plan"]
    out = tmp_path / "out"
    arguments = ["compose", "--prompts", str(prompts), "--output", str(out), "--bars", "7", *models, *plain]
    assert cli.main(arguments) == 0
    assert cli.main(arguments) == 0  # finds that all is done
    first, second = (json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines())
    assert first["text"] == "1-2: 宁静的早晨 | 3-3: storm"
    assert first["sections"] == [
        {"first": 1, "last": 2, "text": "宁静的早晨"},
        {"first": 3, "last": 3, "text": "storm"},
    ]
    assert [attributes["bars"] for attributes in second["section_attributes"]] == [2, 1]
    assert second["attributes"]["bars"] == 3
