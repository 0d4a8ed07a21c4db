"""One question to a server that speaks OpenAI's protocol: asked until it is answered, or until it is hopeless.

The key is read from the environment, handed to the client and never shown: what servers say of it is blotted out.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from fairseq_meloformer.corpus.sources.questions import Answer, Messages, read_answer
from fairseq_meloformer.errors import InputError

if TYPE_CHECKING:
    import openai

_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
_LONGEST_RETRY_AFTER: Final = 600.0
_HOPELESS: Final = {401: "the key is refused", 403: "the key may not do this", 404: "there is no such model or address"}
_SECRET: Final = 8  # characters; where no key is needed, any word stands for one
_BUSY: Final = {408, 409, 425, 429}


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

    def add(self, usage: Any) -> None:  # noqa: ANN401  what servers send, or None
        """Count one answer."""
        prompt, completion = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
        with self._lock:
            self.requests += 1
            self.uncounted += usage is None
            self.prompt += prompt or 0
            self.completion += completion or 0


@dataclass
class ChatClient:
    """A server.

    Attributes:
        base_url: up to and including the version, "https://api.openai.com/v1".
        key: what it knows us by.
        model: the language model's name.
        timeout: seconds to wait for an answer.
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
        if not self.base_url.startswith(("http://", "https://")):
            where = self._blotted(self.base_url)
            raise InputError(f"--base-url must begin with http:// or https://, received {where!r}")
        self._client = _client(self.base_url, self.key, self.timeout)
        self._stopped = threading.Event()
        self._random = Random()

    def stop(self) -> None:
        """Let questions that are under way have no further attempt."""
        self._stopped.set()

    def close(self) -> None:
        """Hang up."""
        self.stop()
        self._client.close()

    def ask(self, messages: Messages, count: int) -> Answer:
        """Captions in both languages.

        Raises:
            InputError: the server does not accept this question, or no attempt gave a proper answer.
            EndpointFailure: it would accept no question.
        """
        for attempt in range(1, self.attempts + 1):
            retry_after = None
            try:
                return self._answer(messages, count)
            except InputError as error:
                reason = str(error)
            except _errors() as error:
                reason, retry_after = self._judge(error)
            if attempt == self.attempts or self._stopped.wait(self._wait(attempt, retry_after)):
                break
        raise InputError(f"{reason} (attempts: {attempt})")

    def _answer(self, messages: Messages, count: int) -> Answer:
        try:
            response: Any = self._client.chat.completions.create(model=self.model, messages=messages)  # type: ignore[arg-type]
            self.usage.add(getattr(response, "usage", None))
            text = response.choices[0].message.content
        except (AttributeError, IndexError, TypeError, ValueError):
            raise InputError("the server must answer with a chat completion; it sent something else") from None
        answer = read_answer(text, count)
        if len(self.key) >= _SECRET and any(self.key in text for texts in answer.values() for text in texts):
            raise InputError("a caption must be about music; one repeats the key")
        return answer

    def _judge(self, error: openai.APIError) -> tuple[str, float | None]:
        """Why an attempt failed, and how long the server wants us to wait, where another attempt makes sense.

        Raises:
            InputError: it makes none for this question.
            EndpointFailure: it makes none for any.
        """
        status: int | None = getattr(error, "status_code", None)
        said = " ".join(self._blotted(str(error)).split())[:300]
        if status in _HOPELESS:
            raise EndpointFailure(f"{self._blotted(self.base_url)}: {_HOPELESS[status]}: {said}") from None
        if status is not None and 400 <= status < 500 and status not in _BUSY:
            raise InputError(f"the server refuses the question: {said}") from None
        return f"{type(error).__name__}: {said}", _retry_after(error)

    def _blotted(self, text: str) -> str:
        """Text without the key, written as it is or as addresses have it."""
        return text.replace(self.key, "***").replace(quote(self.key, safe=""), "***")

    def _wait(self, attempt: int, retry_after: float | None) -> float:
        """Seconds until the next attempt: what the server asks for, else growing, and not the same for all threads."""
        if retry_after is not None:
            return min(retry_after, _LONGEST_RETRY_AFTER)
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


def _client(base_url: str, key: str, timeout: float) -> openai.OpenAI:
    try:
        import openai  # noqa: PLC0415  not needed for composing, and not installed with it
    except ImportError as error:
        raise InputError("annotation needs the package openai: install what is in requirements/train.txt") from error
    # Its own retries know nothing of malformed answers.
    return openai.OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=0)


def _errors() -> type[openai.APIError]:
    import openai  # noqa: PLC0415

    return openai.APIError


def _retry_after(error: openai.APIError) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):  # a date is allowed, too, but then the growing wait will do
        return None
