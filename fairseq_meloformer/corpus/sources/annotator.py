"""Captions by a language model: several questions at once, every answer kept, none paid for twice.

Answers go to a cache, one line each under a hash of the question, as soon as they come; a run that is stopped goes on
from there, and so does another with the same questions. Ctrl-C waits for the answers that are under way. Questions that
failed are asked again by the next run.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from fairseq_meloformer import jobs
from fairseq_meloformer.corpus.sources.endpoint import ChatClient, EndpointFailure
from fairseq_meloformer.corpus.sources.rows import CaptionRow
from fairseq_meloformer.errors import InputError
from fairseq_meloformer.jobs import JsonlLog
from fairseq_meloformer.words.scenes import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fairseq_meloformer.corpus.sources.prepared import PreparedPassage
    from fairseq_meloformer.corpus.sources.questions import Answer, Prompter
    from fairseq_meloformer.jobs import Counts, Row

_IN_A_ROW: Final = 5
"""So many failed questions, one after the other, are the server's or the model's fault."""


class _Ahead:
    """Asks the next questions in threads, while answers are taken in order; at most two a thread wait to be taken."""

    def __init__(
        self, endpoint: ChatClient, prompter: Prompter, passages: Sequence[PreparedPassage], threads: int
    ) -> None:
        self._endpoint = endpoint
        self._prompter = prompter
        self._pool = ThreadPoolExecutor(threads)
        self._room = 2 * threads
        self._next = iter(passages)
        self._asked: dict[str, Future[Answer]] = {}
        self._failures = 0

    def row(self, passage: PreparedPassage) -> Row:
        """The answer for a passage, which must be the next of those not yet taken.

        Raises:
            InputError: this question failed.
            EndpointFailure: no other would do better.
        """
        while len(self._asked) < self._room and (following := next(self._next, None)):
            messages = self._prompter.messages(following)
            asked = self._pool.submit(self._endpoint.ask, messages, self._prompter.count)
            self._asked[self._prompter.key(following)] = asked
        key = self._prompter.key(passage)
        wait([self._asked[key]])  # taken out only when it is there: Ctrl-C comes while we wait
        try:
            answer = self._asked.pop(key).result()
        except InputError as error:
            self._failures += 1
            if self._failures >= _IN_A_ROW:
                raise EndpointFailure(f"{_IN_A_ROW} questions in a row failed, the last one: {error}") from None
            raise
        self._failures = 0
        return self._row(answer)

    def close(self) -> Iterator[Row]:
        """Ask nothing more, wait for what is under way, and give the answers that were not taken: they are paid for."""
        self._endpoint.stop()
        self._pool.shutdown(cancel_futures=True)
        for key, asked in self._asked.items():
            if not asked.cancelled() and asked.exception() is None:
                yield {"id": key, **self._row(asked.result())}
        self._endpoint.close()

    def _row(self, answer: Answer) -> Row:
        return {"model": self._endpoint.model, **answer}


def unanswered(prompter: Prompter, passages: Sequence[PreparedPassage], cache: JsonlLog) -> list[PreparedPassage]:
    """Passages to ask about: those whose answer is not in the cache, of the same questions one."""
    keys = {prompter.key(passage): passage for passage in reversed(passages)}
    return [passage for key, passage in reversed(keys.items()) if key not in cache.done]


def annotate(
    endpoint: ChatClient,
    prompter: Prompter,
    passages: Sequence[PreparedPassage],
    cache: JsonlLog,
    failed: Path,
    threads: int,
) -> Counts:
    """Put answers for all passages into `cache`; one line for every question that failed goes to the file `failed`.

    Raises:
        InputError: the server gives no answers; what was answered before is in the cache.
    """
    failed.unlink(missing_ok=True)
    todo = unanswered(prompter, passages, cache)
    ahead = _Ahead(endpoint, prompter, todo, threads)
    try:
        return jobs.run("annotate", todo, ahead.row, key=prompter.key, log=cache, rejected=JsonlLog(failed), workers=1)
    except EndpointFailure as failure:
        raise InputError(f"{failure}. The {len(cache)} answers in {cache.path} stay: run this again to go on") from None
    finally:
        with cache:
            for row in ahead.close():
                cache.append(row)


def captions(
    prompter: Prompter, passages: Sequence[PreparedPassage], cache: JsonlLog, licence: str
) -> Iterator[CaptionRow]:
    """Captions of all passages that have an answer."""
    for passage in passages:
        key = prompter.key(passage)
        if key in cache.done:
            answer = cache[key]
            for lang in LANGUAGES:
                for text in answer[lang]:
                    yield CaptionRow(
                        passage.path, passage.bars, text, lang, f"llm:{prompter.model}", licence, passage.attributes
                    )
