"""The endpoint against a server on this machine that fails in every way servers know."""

import json
import logging
import time

import pytest
from chat_server import answer, fails, says, serving

from fairseq_meloformer.corpus.sources.endpoint import ChatClient, EndpointFailure, key_from
from fairseq_meloformer.corpus.sources.questions import read_answer
from fairseq_meloformer.errors import InputError

KEY = "sk-very-secret-0123456789"
QUESTION = [{"role": "user", "content": "what is it like?"}]


def endpoint(server, timeout=5.0, attempts=3):
    return ChatClient(server.url, KEY, "small", timeout, attempts, first_wait=0.01)


def ask(server, **settings):
    made = endpoint(server, **settings)
    try:
        return made.ask(QUESTION, 2), made.usage
    finally:
        made.close()


def test_a_question_is_answered():
    with serving() as server:
        found, usage = ask(server)
    assert found == answer(1)
    assert (usage.requests, usage.prompt, usage.completion) == (1, 100, 40)
    assert server.requests == [{"model": "small", "messages": QUESTION}]
    assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "failure",
    [
        fails(429),
        fails(500),
        fails(503),
        fails(408),
        (500, {"content-type": "text/html"}, b"<html>bad gateway</html>"),
        (200, {}, b"{not json"),
        (200, {"content-type": "text/html"}, b"<html>log in</html>"),
        (200, {}, b'{"choices": []}'),
        (200, {}, b"[]"),
        says("Sure! Here are your captions."),
        says('{"zh": ["安静的钢琴", "雨夜'),
        says({"zh": answer(1)["zh"]}),
        says({"zh": answer(1)["en"], "en": answer(1)["zh"]}),
        says({"zh": ["同样的钢琴曲", "同样的钢琴曲"], "en": answer(1)["en"]}),
        says({"zh": [1, 2], "en": answer(1)["en"]}),
        says({"zh": answer(1)["zh"], "en": ["see www.example.com for more", "calm"]}),
        says({"zh": answer(1)["zh"], "en": ["x" * 500, "calm"]}),
    ],
)
def test_one_failure_is_followed_by_another_attempt(failure):
    with serving(failure) as server:
        found, _ = ask(server)
    assert found == answer(2)
    assert len(server.requests) == 2


def test_time_outs_are_tried_again():
    with serving(lambda _: time.sleep(1.0) or fails(500)) as server:
        found, _ = ask(server, timeout=0.4)
    assert found == answer(2)


def test_the_server_says_how_long_to_wait():
    with serving(
        fails(429, retry_after="0.8"), fails(500), fails(500, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
    ) as server:
        ask(server, attempts=5)
    waits = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert waits[0] >= 0.8
    assert max(waits[1:]) < 0.8


def test_attempts_end():
    failure = pytest.raises(InputError, match=r"RateLimitError.*slow down.*attempts: 3")
    with serving(*[fails(429, "slow down")] * 9) as server, failure:
        ask(server)
    assert len(server.requests) == 3


def test_a_refused_question_is_not_asked_again():
    refusal = pytest.raises(InputError, match=r"refuses the question.*too long")
    with serving(fails(400, "too long")) as server, refusal:
        ask(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_is_hopeless_ends_everything(status):
    with serving(fails(status)) as server, pytest.raises(EndpointFailure):
        ask(server)
    assert len(server.requests) == 1


def test_a_key_in_the_address_is_blotted_out():
    with serving(fails(401, "no")) as server:
        made = ChatClient(f"{server.url}?key={KEY}", KEY, "small", 5.0, 1)
        with pytest.raises(EndpointFailure) as failure:
            made.ask(QUESTION, 2)
        made.close()
    assert "very-secret" not in f"{failure.value} {made}"


def test_a_caption_that_repeats_the_key_is_none():
    with serving(says({"zh": answer(1)["zh"], "en": [f"calm {KEY}", "a calm piano piece"]})) as server:
        found, _ = ask(server)
    assert found == answer(2)


def test_control_characters_are_dropped():
    texts = {"zh": ["安静的\x1b钢琴曲", "雨\u202e夜的曲子"], "en": ["a calm\npiano\x07 piece", "a rainy\u200b night"]}
    assert read_answer(json.dumps(texts), 2) == {
        "zh": ["安静的钢琴曲", "雨夜的曲子"],
        "en": ["a calm piano piece", "a rainy night"],
    }


def test_nobody_there():
    with serving() as server:
        pass
    with pytest.raises(InputError, match="APIConnectionError"):
        ask(server)


def test_the_key_is_never_shown(caplog, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_LOG", "debug")
    caplog.set_level(logging.DEBUG)
    with serving(fails(429, f"{KEY} is over its quota"), fails(401, f"Incorrect key: {KEY}")) as server:
        made = endpoint(server)
        with pytest.raises(EndpointFailure) as failure:
            made.ask(QUESTION, 2)
        made.close()
    assert "***" in str(failure.value)
    assert failure.value.__suppress_context__
    shown = capsys.readouterr()
    for text in (str(failure.value), repr(made), caplog.text, shown.out, shown.err):
        assert "very-secret" not in text


@pytest.mark.parametrize(
    ("value", "message"),
    [("", "must hold the endpoint's key"), ("  ", "must hold"), ("钥匙", "ASCII"), ("a b", "spaces")],
)
def test_keys_that_cannot_be(monkeypatch, value, message):
    monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(InputError, match=message) as failure:
        key_from("SOME_KEY")
    assert not value.strip() or value not in str(failure.value)


def test_an_address_must_be_one():
    with pytest.raises(InputError, match="https://"):
        ChatClient("api.example.com/v1", KEY, "small", 1, 1)


def test_a_frame_around_the_json_is_tolerated_and_more_than_asked_is_cut():
    framed = f"Here it is:\n```json\n{json.dumps(answer(1, 3), ensure_ascii=False)}\n```"
    assert read_answer(framed, 2) == answer(1, 2)


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", '{"zh": null, "en": null}', "}{"])
def test_empty_answers_are_none(text):
    with pytest.raises(InputError):
        read_answer(text, 1)
