"""What the probe is taught besides the lexicon: outright requests and moments, and that they are not the test."""

import json
import re
from pathlib import Path

import pytest
import yaml

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.words import moments, requests
from fairseq_meloformer.words.lexicon import default_lexicon
from fairseq_meloformer.words.requests import Requests

HELD_OUT = Path(requests.__file__).parents[1] / "evaluation" / "control" / "prompts" / "held_out.jsonl"


def test_requests_are_repeatable_and_of_both_languages() -> None:
    source = Requests()
    drawn = [source.draw(index, lang) for index in range(300) for lang in ("zh", "en")]
    assert [request.text for request in drawn[:2]] == [source.draw(0, "zh").text, source.draw(0, "en").text]
    signs = {(axis, value > 0) for request in drawn for axis, value in request.profile.items() if value}
    assert signs == {(axis, positive) for axis in AXES for positive in (True, False)}
    assert all(-1 <= value <= 1 for request in drawn for value in request.profile.values())
    assert any(not request.profile for request in drawn)
    assert not [request.text for request in drawn if re.search(r"[{}]", request.text)]


def test_mistakes_in_a_requests_file_are_listed_together(tmp_path: Path) -> None:
    content = yaml.safe_load(requests.FILE.read_text(encoding="utf-8"))
    content["axes"]["tempo"]["positive"]["zh"]["is"] = []
    content["patterns"]["en"]["has"].append(["no slot", -1])
    del content["neutral"]["en"]
    path = tmp_path / "requests.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        Requests(path)
    message = str(refusal.value)
    assert "3 mistakes" in message
    assert "axes, tempo, positive, zh: is must be" in message
    assert "no slot" in message
    assert "neutral, en" in message


def test_pairs_and_changes_say_what_they_change() -> None:
    source = Requests()
    drawn = [source.draw(index, lang) for index in range(3000) for lang in ("zh", "en")]
    neither = [request for request in drawn if request.text.lower().startswith("neither ") and request.profile]
    assert neither
    assert any(len(request.profile) > 1 for request in neither)
    halved = [request for request in drawn if re.fullmatch(r"halve the (tempo|volume|pitch)\.?", request.text.lower())]
    assert halved
    assert all(value == -1 for request in halved for value in request.profile.values())


def test_moments_are_of_both_languages_and_of_every_side() -> None:
    found = dict(moments.moments())
    chinese = sum(bool(re.search(r"[一-鿿]", text)) for text in found)
    assert abs(2 * chinese - len(found)) < 0.1 * len(found)
    signs = {(axis, value > 0) for profile in found.values() for axis, value in profile.items()}
    assert signs == {(axis, positive) for axis in AXES for positive in (True, False)}
    assert [text for text in found if default_lexicon().find(text)] == []


def test_mistakes_in_a_moments_file_are_listed_together(tmp_path: Path) -> None:
    path = tmp_path / "moments.yaml"
    path.write_text("tempo-:\n  en: [a nap]\n  zh: [a nap]\nspeed+:\n  en: []\n  zh: [跑]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"(?s)3 mistakes.*'a nap' already stands.*'speed\+': must name.*en must be"):
        list(moments.moments(path))


def runs(text: str) -> set[str]:
    """Runs of four English words or six Chinese characters."""
    characters = "".join(character if "一" <= character <= "鿿" else "|" for character in text)
    words = re.findall(r"[a-z0-9'-]+", text.casefold())
    return {" ".join(words[start : start + 4]) for start in range(len(words) - 3)} | {
        run for start in range(len(characters) - 5) if "|" not in (run := characters[start : start + 6])
    }


@pytest.mark.parametrize("file", [requests.FILE, moments.FILE], ids=lambda file: file.name)
def test_the_training_wording_borrows_nothing_from_the_held_out_prompts(file: Path) -> None:
    training = runs(file.read_text(encoding="utf-8"))
    prompts = [json.loads(line)["text"] for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]
    assert {text: shared for text in prompts if (shared := runs(text) & training)} == {}
