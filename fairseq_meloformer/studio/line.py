"""The line before the composer: one ask at a time, first come first served, and whoever leaves makes room."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Generic, TypeVar

from fairseq_meloformer.errors import InputError, in_words

Row = dict[str, Any]
T = TypeVar("T")
_LOG = logging.getLogger(__name__)
MOST_WAITING: Final = 16
_PULSE: Final = 0.5
"""Seconds after which whoever waits is looked for, if nothing happened."""


class Left(Exception):  # noqa: N818  it is no error: whoever asked has gone
    """Nobody waits for this any more."""


class FullLineError(Exception):
    """Too many are waiting."""


class _Place:
    """Somebody who waits for something."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Row | None] = asyncio.Queue()
        self.left = threading.Event()


class Line(Generic[T]):
    """Runs one piece of work at a time in a thread of its own.

    Args:
        work: does what is asked for and tells of it; it is stopped by `Left`, which its second argument raises.
    """

    def __init__(self, work: Callable[[T, Callable[[Row], None]], None]) -> None:
        self._work = work
        self._places: list[_Place] = []
        self._running: set[asyncio.Task[None]] = set()

    async def events(self, ask: T) -> AsyncGenerator[Row]:
        """What happens to an ask: `{"event": "queued", "place": n}` (n before it), the work's own events, `done`.

        Where nothing happens for a while comes a `pulse`.

        Closing the iterator ends the work at the next thing that it tells, and frees the place at once if it waits.

        Raises:
            FullLineError: too many are waiting.
        """
        if len(self._places) >= MOST_WAITING:
            raise FullLineError
        place = _Place()
        self._places.append(place)
        task: asyncio.Task[None] | None = None
        self._move()
        try:
            while True:
                if task is None and self._places[0] is place:
                    task = asyncio.create_task(self._run(ask, place))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                try:
                    event = await asyncio.wait_for(place.events.get(), _PULSE)
                except TimeoutError:
                    event = {"event": "pulse"}
                if event is None:
                    return
                yield event
        finally:
            place.left.set()
            if task is None:
                self._leave(place)

    async def _run(self, ask: T, place: _Place) -> None:
        loop = asyncio.get_running_loop()

        def tell(event: Row) -> None:
            if place.left.is_set():
                raise Left
            loop.call_soon_threadsafe(place.events.put_nowait, event)

        try:
            await asyncio.to_thread(self._work, ask, tell)
            place.events.put_nowait({"event": "done"})
        except Left:
            pass
        except (InputError, OSError) as error:
            place.events.put_nowait({"event": "error", "error": in_words(error)})
        except Exception:  # noqa: BLE001  whoever waits must be told, and the next be served
            _LOG.exception("while composing")
            place.events.put_nowait({"event": "error", "error": "something went wrong; the server's log says what"})
        finally:
            place.events.put_nowait(None)
            self._leave(place)

    def close(self) -> None:
        """End everything, so that whoever listens is told and the server can stop."""
        for place in self._places:
            place.left.set()
            place.events.put_nowait(None)

    def _leave(self, place: _Place) -> None:
        self._places.remove(place)
        self._move()

    def _move(self) -> None:
        """Tell everybody how many are before them."""
        for number, place in enumerate(self._places):
            place.events.put_nowait({"event": "queued", "place": number})
