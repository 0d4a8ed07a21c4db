"""One question to a server that speaks OpenAI's protocol: asked until it is answered, or until it is hopeless.

The server is not trusted: an answer has one deadline and a size, and comes from the address that was given. The key is
read from the environment, sent there and never shown: what servers say of it is blotted out.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import threading
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final
from urllib.parse import quote, quote_plus

import httpx2

from fairseq_meloformer.corpus.sources.questions import Answer, Messages, plain, read_answer
from fairseq_meloformer.errors import InputError

_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
_LONGEST_RETRY_AFTER: Final = 600.0
_LARGEST_ANSWER: Final = 4 * 2**20
"""Bytes; captions have some hundreds, the thoughts that some models send along some ten thousands."""
_MOST_TOKENS: Final = 10**9
"""Of one answer; a larger count is none."""
_HOPELESS: Final = {401: "the key is refused", 403: "the key may not do this", 404: "there is no such model or address"}
_BUSY: Final = {408, 409, 425, 429}
_SAID: Final = 300  # characters of what a server says
_SECRET: Final = 8  # characters; where no key is needed, any word stands for one
_LOGGERS: Final = ("httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.proxy")


class EndpointFailure(BaseException):
    """Nothing can be had from this server now, whatever is asked.

    No Exception, since those are one item's fault for `jobs.run`, which then goes on with the next.
    """


@dataclass
class Usage:
    """Requests sent and tokens counted by the server, failed attempts included."""

    requests: int = 0
    uncounted: int = 0
    prompt: int = 0
    completion: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, usage: object) -> None:
        """Count one answer."""
        found = usage if isinstance(usage, dict) else {}
        counts = [found.get(name) for name in ("prompt_tokens", "completion_tokens")]
        prompt, completion = (
            count if isinstance(count, int) and 0 <= count <= _MOST_TOKENS else None for count in counts
        )
        with self._lock:
            self.requests += 1
            self.uncounted += prompt is None or completion is None
            self.prompt += prompt or 0
            self.completion += completion or 0


@dataclass
class ChatClient:
    """A server.

    Attributes:
        base_url: up to and including the version, "https://api.openai.com/v1".
        key: what it knows us by.
        model: the language model's name.
        timeout: seconds to wait for a whole answer, however slowly it comes.
        attempts: how often a question is asked at most.
        first_wait: seconds before the second attempt; doubled before every further one.
    """

    base_url: str = field(repr=False)
    key: str = field(repr=False)
    model: str
    timeout: float
    attempts: int
    first_wait: float = _FIRST_WAIT
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        """Refuse what is no address.

        Raises:
            InputError: so it is.
        """
        try:
            url = httpx2.URL(self.base_url)
        except httpx2.InvalidURL:
            url = httpx2.URL("")
        if url.scheme not in {"http", "https"} or not url.host:  # may hold a key, so that it is not shown
            raise InputError("--base-url must be an address that begins with http:// or https://; it is none")
        self._url = url.copy_with(path=url.path.rstrip("/") + "/chat/completions")
        also = [secret for secret in (url.password, *url.params.values()) if len(secret) >= _SECRET]
        self._secrets = _spellings([self.key, *also])
        self._shown = self._blotted(str(url.copy_with(userinfo=b"", query=None, fragment=None)))
        self._tls = httpx2.create_ssl_context()
        self._stopped = threading.Event()
        self._random = Random()
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._blot)

    def stop(self) -> None:
        """Let questions that are under way have no further attempt."""
        self._stopped.set()

    def close(self) -> None:
        """Ask nothing more."""
        self.stop()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._blot)

    def ask(self, messages: Messages, count: int) -> Answer:
        """Captions in both languages.

        Raises:
            InputError: the server does not accept this question, or no attempt gave a proper answer.
            EndpointFailure: it would accept no question.
        """
        for attempt in range(1, self.attempts + 1):
            retry_after = None
            try:
                response, body = asyncio.run(self._post(messages))
                if response.status_code == httpx2.codes.OK:
                    return self._answer(body, count)
            except InputError as error:
                reason = str(error)
            except TimeoutError:
                reason = f"a whole answer must be there in {self.timeout:g} s; it was not"
            except (httpx2.HTTPError, OSError) as error:
                reason = self._blotted(plain(f"{type(error).__name__}: {error}"))[:_SAID]
            else:
                reason, retry_after = self._judge(response, body)
            if attempt == self.attempts or self._stopped.wait(self._wait(attempt, retry_after)):
                break
        raise InputError(f"{reason} (attempts: {attempt})")

    async def _post(self, messages: Messages) -> tuple[httpx2.Response, bytes]:
        """The server's response and its body as it came: compressed, it could be a thousand times as large as it looks.

        Raises:
            InputError: it is too large.
            TimeoutError: it takes too long.
        """
        headers = {
            "authorization": f"Bearer {self.key}",
            "content-type": "application/json",
            "accept-encoding": "identity",
        }
        content = json.dumps({"model": self.model, "messages": messages})
        body = bytearray()
        async with (
            asyncio.timeout(self.timeout),
            httpx2.AsyncClient(verify=self._tls, timeout=None) as client,
            client.stream("POST", self._url, headers=headers, content=content) as response,
        ):
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > _LARGEST_ANSWER:
                    raise InputError(f"an answer must have at most {_LARGEST_ANSWER} bytes; it has more")
        return response, bytes(body)

    def _answer(self, body: bytes, count: int) -> Answer:
        try:
            completion = json.loads(body)
            self.usage.add(completion.get("usage"))
            text = completion["choices"][0]["message"]["content"]
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
            raise InputError("the server must answer with a chat completion; it sent something else") from None
        answer = read_answer(text, count)
        captions = "\n".join(text for texts in answer.values() for text in texts)
        if any(len(match[0]) >= _SECRET for match in self._secrets.finditer(captions)):
            raise InputError("a caption must be about music; one repeats the key")
        return answer

    def _judge(self, response: httpx2.Response, body: bytes) -> tuple[str, float | None]:
        """Why an attempt failed, and how long the server wants us to wait, where another attempt makes sense.

        Raises:
            InputError: it makes none for this question.
            EndpointFailure: it makes none for any.
        """
        status, retry_after = response.status_code, _retry_after(response)
        said = f"status {status}: {self._said(body)}"
        if status in _HOPELESS:
            raise EndpointFailure(f"{self._shown}: {_HOPELESS[status]}: {said}")
        if response.is_redirect:
            raise EndpointFailure(
                f"{self._shown} sends us elsewhere, where the key must not go: give the right address"
            )
        if response.is_client_error and status not in _BUSY:
            raise InputError(f"the server refuses the question: {said}")
        if retry_after is not None and retry_after > _LONGEST_RETRY_AFTER:
            raise EndpointFailure(f"{self._shown} wants us to come back in {retry_after:g} s: {said}")
        return said, retry_after

    def _said(self, body: bytes) -> str:
        """What the server says of an error, in one line."""
        try:
            text = str(json.loads(body)["error"]["message"])
        except (LookupError, TypeError, ValueError, RecursionError):
            text = body.decode(errors="replace")
        return self._blotted(plain(text))[:_SAID]

    def _blotted(self, text: str) -> str:
        return self._secrets.sub("***", text)

    def _blot(self, record: logging.LogRecord) -> bool:
        """Blot out what is written to a log elsewhere."""
        record.msg, record.args = self._blotted(record.getMessage()), None
        return True

    def _wait(self, attempt: int, retry_after: float | None) -> float:
        """Seconds until the next attempt: what the server asks for, else growing, and not the same for all threads."""
        if retry_after is not None:
            return retry_after
        return min(_LONGEST_WAIT, self.first_wait * 2.0 ** (attempt - 1)) * self._random.uniform(0.5, 1.0)


def key_from(variable: str) -> str:
    """The key in an environment variable.

    Raises:
        InputError: if there is none, or it cannot be one.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(
            f"the environment variable {variable} must hold the endpoint's key; it is empty "
            "(for a server that asks for none, any text will do)"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(f"the key in {variable} must be printable ASCII without spaces; it is not")
    return key


def _spellings(secrets: list[str]) -> re.Pattern[str]:
    """Secrets in every way in which servers may write them."""
    ways = (str, quote, partial(quote, safe=""), quote_plus, lambda secret: json.dumps(secret)[1:-1])
    forms = {way(secret) for secret in secrets for way in ways}
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))), re.IGNORECASE)


def _retry_after(response: httpx2.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):  # a date is allowed, too, but then the growing wait will do
        return None
