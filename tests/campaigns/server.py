"""Hostile servers: whatever an endpoint answers, there are captions or a sentence, soon, and the key is in neither.

python -m tests.campaigns.server --cases 2000
"""

import contextlib
import gzip
import io
import json
import logging
import os
import random
import re
import socketserver
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote, quote_plus, unquote

from fairseq_meloformer import cli
from fairseq_meloformer.corpus.sources.endpoint import ChatClient, EndpointFailure
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.pretrained import MUSEFORMER
from tests.campaigns import campaign

_DEADLINE = 0.3  # seconds of an answer
_LONGEST = 10.0  # seconds of a case, on a busy machine
_QUESTIONS = 2
_KEY = "sk-Se/cr+et=%01-very&long"
_SECRET = re.compile(r"cr\+et|cr%2bet|very&long|very%26long", re.IGNORECASE)
_VALUES = (None, True, 0, -1, 1.5, 10**400, float("nan"), "", "x" * 9000, [], {}, [[]], {"": []}, "\ud800", "\x1b[2J")
_STATUSES = (
    200,
    201,
    204,
    206,
    300,
    304,
    400,
    401,
    403,
    404,
    408,
    409,
    413,
    422,
    425,
    429,
    451,
    500,
    502,
    503,
    599,
    999,
)
_LATER = ("0", "-5", "nan", "0.01", "inf", "1e400", "99999999", "1" * 5000, "Wed, 21 Oct 2015 07:28:00 GMT", "soon")

Answer = list[bytes | float] | Iterator[bytes]
"""What a server sends: bytes, and seconds between them."""


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline()).strip():
            if found := re.match(rb"content-length: (\d+)", line, re.IGNORECASE):
                length = int(found[1])
        self.rfile.read(length)
        with contextlib.suppress(OSError):
            for piece in self.server.answer():
                if isinstance(piece, float):
                    time.sleep(piece)
                else:
                    self.wfile.write(piece)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rng = random.Random()
        self.answered = 0
        self.host = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self) -> Answer:
        """What the next client gets, piece by piece."""
        self.answered += 1
        rng = random.Random(self.rng.random())
        return rng.choice(_KINDS)(rng)


@cache
def _servers() -> tuple[_Server, _Server]:
    """The one that is asked, and another to which it would send us."""
    return _Server(), _Server()


def _captions(rng: random.Random) -> dict[str, list[str]]:
    number = rng.randrange(10**6)
    return {"zh": [f"第{number}段安静的钢琴曲", "雨夜里的曲子"], "en": [f"a calm piano, {number}", "a rainy night"]}


def _completion(content: object) -> dict[str, object]:
    message = {"role": "assistant", "content": content if isinstance(content, str) else json.dumps(content)}
    return {"choices": [{"message": message}], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}


def _http(body: bytes, status: int = 200, **headers: object) -> bytes:
    lines = {"content-type": "application/json", "content-length": len(body), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + body


def _json(value: object, status: int = 200, **headers: object) -> bytes:
    return _http(json.dumps(value).encode(), status, **headers)


def _told(rng: random.Random) -> str:
    """The key, as somebody may write it."""
    ways = (str, quote, quote_plus, str.upper, lambda key: quote(key, safe="").lower(), lambda key: f"Bearer {key}")
    return rng.choice(ways)(_KEY)


def _proper(rng: random.Random) -> Answer:
    return [_json(_completion(_captions(rng)))]


def _redirect(rng: random.Random) -> Answer:
    path = rng.choice(("", f"?key={_told(rng)}", "/v1/chat/completions"))
    target = rng.choice((f"http://{_servers()[1].host}{path}", path or "/", "http://[", "file:///etc/passwd"))
    return [_http(b"", rng.choice((301, 302, 303, 307, 308)), location=target)]


def _slowly(rng: random.Random) -> Answer:
    response = _json(_completion(_captions(rng)))
    begin = rng.choice((0, 9, len(response) - 20))
    drops: Answer = [response[:begin]]
    for place in range(begin, len(response)):
        drops += [response[place : place + 1], 0.05]
    return drops


def _never(rng: random.Random) -> Answer:
    return [_json({})[: rng.choice((0, 20, 60))], 4 * _DEADLINE]


def _endlessly(rng: random.Random) -> Answer:
    yield rng.choice((b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b""))
    piece = rng.choice(
        (b" " * 65536, b"x: y\r\n" * 9999, b"HTTP/1.1 100 Continue\r\n\r\n" * 999, b'{"choices":[' * 999)
    )
    while True:
        yield piece


@cache
def _large_ones() -> tuple[bytes, ...]:
    """Too long, too deep, or too many digits; each also where it just fits."""
    return (
        *(_json(_completion({"zh": ["钢琴"] * many, "en": ["calm"] * many})) for many in (10, 10**4, 3 * 10**5)),
        *(_http(deeper * deep) for deeper in (b"[", b'{"a":', b'{"choices":[') for deep in (100, 10**5)),
        *(_http(b'{"choices": ' + b"9" * digits + b"}") for digits in (100, 10**6)),
    )


def _large(rng: random.Random) -> Answer:
    return [rng.choice(_large_ones())]


def _wrong_types(rng: random.Random) -> Answer:
    def spoiled(value):
        if rng.random() < 0.15:
            return rng.choice(_VALUES)
        if isinstance(value, dict):
            return {name: spoiled(inner) for name, inner in value.items()}
        return [spoiled(inner) for inner in value] if isinstance(value, list) else value

    return [_json(spoiled(_completion(spoiled(_captions(rng)))))]


def _control_characters(rng: random.Random) -> Answer:
    captions = _captions(rng)
    for texts in captions.values():
        texts[:] = [
            text[:3] + rng.choice("\x00\x07\x1b\x9b\u202e\u200b\u2028\ufeff\ud800\r\n") + text[3:] for text in texts
        ]
    said = {"error": {"message": f"\x1b]0;{_told(rng)}\x07 no"}}
    return [rng.choice((_json(_completion(captions)), _json(said, rng.choice(_STATUSES))))]


def _echo(rng: random.Random) -> Answer:
    captions = _captions(rng)
    captions[rng.choice(("zh", "en"))][rng.randrange(2)] += rng.choice(("", " ")) + _told(rng)
    status = rng.choice(_STATUSES)
    return [
        rng.choice(
            (
                _json(_completion(captions)),
                _json(_completion(f"no: {_told(rng)}")),
                _json({"error": {"message": f"{_told(rng)} is wrong", "type": _told(rng)}}, status),
                _json({"detail": _told(rng)}, status),
                _json([_told(rng)], status, x_key=_told(rng)),
                f"HTTP/1.1 {status} {_told(rng)}\r\n\r\n".encode(),
                f"{_told(rng)}\r\n\r\n".encode(),
                _json({}, **{_told(rng): _told(rng)}),
                _json({}, content_length=_told(rng)),
            )
        )
    ]


def _hung_up(rng: random.Random) -> Answer:
    response = _json(_completion(_captions(rng)))
    return [response[: rng.randrange(len(response))]]


def _compressed(rng: random.Random) -> Answer:
    body = gzip.compress(json.dumps(_completion(_captions(rng))).encode())
    body = rng.choice((body, body[:20], b"\x1f\x8bno", gzip.compress(b" " * 10**7)))
    return [_http(body, content_encoding=rng.choice(("gzip", "br", "zstd", "deflate", "gzip, gzip", "no")))]


def _later(rng: random.Random) -> Answer:
    return [_json({"error": {"message": "slow down"}}, rng.choice((429, 503, 500)), retry_after=rng.choice(_LATER))]


def _pages(rng: random.Random) -> Answer:
    page = b"<html><script>alert(1)</script>log in</html>" * rng.choice((0, 1, 10**4))
    return [_http(page, rng.choice(_STATUSES), content_type=rng.choice(("text/html", "", "application/json")))]


def _malformed(rng: random.Random) -> Answer:
    return [campaign.mutated(_json(_completion(_captions(rng))), rng, _http(b"<html>", 302, location="/"))]


_KINDS = (
    *(_proper, _redirect, _slowly, _never, _endlessly, _large, _wrong_types, _control_characters, _echo, _hung_up),
    *(_compressed, _later, _pages, _malformed, _proper, _proper, _proper, _proper),
)


@cache
def _data() -> Path:
    """Prepared data, as far as annotation reads it."""
    folder = Path(tempfile.mkdtemp())
    quantiles = (MUSEFORMER / "quantiles.json").read_bytes()
    (folder / "quantiles.json").write_bytes(quantiles)
    row = {"path": "a.mid", "bars": [0, 8], "attributes": {"tempo": 90.0}}
    rows = [{"id": str(number), "title": f"雨{number}", **row} for number in range(_QUESTIONS)]
    (folder / "train.items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder


@contextlib.contextmanager
def _logged() -> Iterator[io.StringIO]:
    """All that anything logs."""
    text = io.StringIO()
    handler, root = logging.StreamHandler(text), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _one_question(url: str) -> tuple[str, str]:
    client = ChatClient(url, _KEY, "small", _DEADLINE, 2, first_wait=0.001)
    try:
        answer = client.ask([{"role": "user", "content": "what is it like?"}], 2)
    except (InputError, EndpointFailure) as failure:
        return "refused in a sentence", f"{client} {failure}"
    finally:
        client.close()
    if not all(len(texts) == 2 and all(text.isprintable() for text in texts) for texts in answer.values()):
        raise AssertionError(f"no captions: {answer}")
    return "captions", json.dumps(answer)


def _command(url: str) -> tuple[str, str]:
    """The command, and all that it prints and writes."""
    told = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        asked = ["--source", "llm", "--data", str(_data()), "--output", f"{folder}/a.jsonl", "--model", "small"]
        bounds = ["--timeout", str(_DEADLINE), "--attempts", "1", "--concurrency", "2"]
        status = cli.main(["caption", *asked, *bounds, "--base-url", url])
        written = {path.name: path.read_text("utf-8") for path in Path(folder).iterdir()}
    said = told.getvalue()
    whole = "".join([said, *written.values()])
    if not (written.get("a.jsonl") if status == 0 else said.strip()):
        raise AssertionError("neither captions nor a word")
    if any(not line.isprintable() for text in written.values() for line in text.split("\n")):
        raise AssertionError("control characters were kept")
    return {0: "captions", 1: "some or no captions, and why", 2: "refused in a sentence"}[status], whole


def case(rng: random.Random) -> str:
    server, other = _servers()
    server.rng, begun = random.Random(rng.random()), time.monotonic()
    addresses = ("http://{host}/v1", "http://{host}/v1?api-key={key}", "http://me:{key}@{host}/v1/")
    url = rng.choice(addresses).format(host=server.host, key=quote(_KEY, safe=""))
    with patch.dict(os.environ, {"OPENAI_API_KEY": _KEY}), _logged() as log:
        end, said = rng.choice((_one_question, _command))(url)
    everything = f"{said}\n{log.getvalue()}"
    if found := _SECRET.search(everything) or _SECRET.search(unquote(everything)):
        raise AssertionError(f"the key was shown: {found.string[max(0, found.start() - 90) : found.end()]!r}")
    if "Traceback" in everything:
        raise AssertionError(f"a traceback: {everything[-150:]}")
    if other.answered:
        raise AssertionError("the question went elsewhere")
    if (seconds := time.monotonic() - begun) > _LONGEST:
        raise AssertionError(f"it took {seconds:.1f} s")
    return end


if __name__ == "__main__":
    campaign.main(case, 100)
