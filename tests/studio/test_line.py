"""The line before the composer, without a composer."""

import asyncio
import errno
import os
import threading
import time

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.studio.line import MOST_WAITING, FullLineError, Line


def told(line, ask):
    """All events of an ask but for pulses."""

    async def collect():
        return [event async for event in line.events(ask) if event["event"] != "pulse"]

    return collect()


def test_asks_are_served_one_after_the_other_in_their_order():
    served, inside, at_once = [], [], []

    def work(ask, tell):
        inside.append(ask)
        served.append(ask)
        time.sleep(0.05)
        tell({"event": "bar", "ask": ask})
        at_once.append(len(inside))
        inside.remove(ask)

    async def three():
        line = Line(work)
        return await asyncio.gather(*(told(line, ask) for ask in "abc"))

    events = asyncio.run(three())
    assert served == ["a", "b", "c"]
    assert at_once == [1, 1, 1]
    assert [event["place"] for event in events[2] if event["event"] == "queued"] == [2, 1, 0]
    assert all(
        of_one[-2:] == [{"event": "bar", "ask": ask}, {"event": "done"}]
        for ask, of_one in zip("abc", events, strict=True)
    )


def test_no_more_than_a_few_may_wait():
    go = threading.Event()

    async def crowd():
        line = Line(lambda _, __: go.wait())
        waiting = [asyncio.create_task(told(line, number)) for number in range(MOST_WAITING)]
        await asyncio.sleep(0.05)
        with pytest.raises(FullLineError):
            await told(line, "one more")
        go.set()
        await asyncio.gather(*waiting)
        return await told(line, "later")

    assert asyncio.run(crowd())[-1] == {"event": "done"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (lambda ask: InputError(f"no {ask}"), ("no waltz", "no march")),
        (lambda ask: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), ask), ("waltz: the disk is full", "march: ")),
    ],
)
def test_what_fails_is_told_in_one_sentence_and_the_next_is_served(error, said):
    def work(ask, _):
        raise error(ask)

    async def two():
        line = Line(work)
        return await told(line, "waltz"), await told(line, "march")

    for events, begins in zip(asyncio.run(two()), said, strict=True):
        assert events[-1]["event"] == "error"
        assert events[-1]["error"].startswith(begins)


def test_closing_ends_it_for_all_who_wait():
    begun = threading.Event()

    def work(_, tell):
        begun.set()
        while True:
            tell({"event": "bar"})
            time.sleep(0.01)

    async def closed():
        line = Line(work)
        waiting = [asyncio.create_task(told(line, number)) for number in range(2)]
        await asyncio.to_thread(begun.wait)
        line.close()
        return await asyncio.wait_for(asyncio.gather(*waiting), 10)

    assert all(events[-1]["event"] != "done" for events in asyncio.run(closed()))
