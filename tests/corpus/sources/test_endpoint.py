"""The endpoint against a server on this machine that fails in every way servers know."""

import json
import logging
import time
from urllib.parse import quote, quote_plus

import pytest
from chat_server import answer, fails, says, serving, slowly

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
        says('{"zh": ' + "[" * 9999),
        (200, {}, b'{"choices": ' + b"[" * 9999),
        (200, {}, b'{"choices": [{"message": {"content": ["{", "}"]}}]}'),
        (200, {"content-encoding": "gzip"}, b"\x1f\x8bno"),
        (200, {}, b" " * (5 * 2**20)),
        slowly(says(answer(1))),
    ],
)
def test_one_failure_is_followed_by_another_attempt(failure):
    with serving(failure) as server:
        found, _ = ask(server, timeout=0.5)
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
    failure = pytest.raises(InputError, match=r"status 429: slow down.*attempts: 3")
    with serving(*[fails(429, "slow down")] * 9) as server, failure:
        ask(server)
    assert len(server.requests) == 3


def test_a_refused_question_is_not_asked_again():
    refusal = pytest.raises(InputError, match=r"refuses the question.*too long")
    with serving(fails(400, "too long")) as server, refusal:
        ask(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (fails(401), "the key is refused"),
        (fails(403), "may not"),
        (fails(404), "no such"),
        (fails(429, retry_after="1e400"), "come back in inf s"),
        (fails(503, retry_after="86400"), "come back in 86400 s"),
    ],
)
def test_what_is_hopeless_ends_everything(failure, told):
    with serving(failure) as server, pytest.raises(EndpointFailure, match=told):
        ask(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_key_goes_to_no_other_address(status):
    refusal = pytest.raises(EndpointFailure, match="elsewhere")
    with serving() as other, serving((status, {"location": f"{other.url}/x"}, b"")) as server, refusal:
        ask(server)
    assert not other.requests
    assert len(server.requests) == 1


@pytest.mark.parametrize("address", ["http://{host}?key={quoted}", "http://me:{quoted}@{host}"])
def test_a_key_in_the_address_is_blotted_out(address, caplog):
    caplog.set_level(logging.DEBUG)
    key = "very/secret+01=2345%"
    quoted = quote(key, safe="")
    told = f"{key}, {quoted}, {quoted.lower()} or \x1b[31m{quote_plus(key)} is wrong"
    with serving(fails(500, told), fails(401, told)) as server:
        url = address.format(host=server.url.removeprefix("http://"), quoted=quoted)
        made = ChatClient(url, key, "small", 5.0, 2, first_wait=0.01)
        with pytest.raises(EndpointFailure, match=r"\*\*\* or \[31m\*\*\* is wrong") as failure:
            made.ask(QUESTION, 2)
        made.close()
    assert "status 500" not in str(failure.value)
    for shown in (str(failure.value), repr(made), caplog.text):
        assert "secret" not in shown
    assert len(server.requests) == 2


def test_a_caption_that_repeats_the_key_is_none():
    with serving(says({"zh": answer(1)["zh"], "en": [f"calm {KEY.upper()}", "a calm piano"]})) as server:
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
    with pytest.raises(InputError, match="ConnectError"):
        ask(server)


def test_the_key_is_never_shown(caplog, capsys):
    caplog.set_level(logging.DEBUG)
    with serving(fails(429, f"{KEY} is over its quota"), fails(401, f"Incorrect key: {KEY}")) as server:
        made = endpoint(server)
        with pytest.raises(EndpointFailure) as failure:
            made.ask(QUESTION, 2)
        made.close()
    assert "***" in str(failure.value)
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


@pytest.mark.parametrize("address", ["api.example.com/v1", f"ftp://{KEY}/v1", f"https://a:{KEY}\n", "https://", ""])
def test_an_address_must_be_one(address):
    with pytest.raises(InputError, match="https://") as failure:
        ChatClient(address, KEY, "small", 1, 1)
    assert KEY not in str(failure.value)


def test_a_frame_around_the_json_is_tolerated_and_more_than_asked_is_cut():
    framed = f"Here it is:\n```json\n{json.dumps(answer(1, 3), ensure_ascii=False)}\n```"
    assert read_answer(framed, 2) == answer(1, 2)


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", '{"zh": null, "en": null}', "}{"])
def test_empty_answers_are_none(text):
    with pytest.raises(InputError):
        read_answer(text, 1)
