"""A campaign: many hostile cases, each with its seed, which must end well or in one sentence; and their ends."""

import argparse
import atexit
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fairseq_meloformer.errors import InputError

Case = Callable[[random.Random], str]
"""Makes one case and says how it ended; raises InputError for a refusal, and anything else for a fault."""
_LONGEST = 20  # seconds of the processor for a case; none takes a tenth of one where nothing is wrong
_STUCK = 900  # seconds by the clock: something waits for what will not come
_MOST_SHOWN = 20


@cache
def folder() -> Path:
    """A folder for this process's files, which goes with it."""
    path = Path(tempfile.mkdtemp(prefix="meloformer-campaign-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@dataclass
class Ends:
    """How cases ended.

    Attributes:
        ends: how many in each way.
        faults: number of the case and what came instead of a result or a sentence.
        seconds: all of it took.
    """

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return sum(self.ends.values())


def run(case: Case, cases: int, first: int = 0) -> Ends:
    """Cases by their numbers, each with its own random numbers; Ctrl-C and SIGTERM end it and give what there is."""
    found, begun = Ends(), time.monotonic()
    handlers = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGPROF, _too_long),
            (signal.SIGALRM, _stuck),
            (signal.SIGTERM, signal.default_int_handler),
        )
    }
    try:
        for number in range(first, first + cases):
            # The first imports what it needs. A busy machine takes long by the clock.
            signal.setitimer(signal.ITIMER_PROF, _LONGEST if found.ends else 10 * _LONGEST)
            signal.alarm(_STUCK)
            try:
                end = case(random.Random(number))
            except InputError as error:
                end = "refused in a sentence"
                if not str(error).strip():
                    found.faults.append(f"{number}: refused without a word")
            except Exception as error:  # noqa: BLE001  anything else is what is looked for
                end = "fault"
                found.faults.append(f"{number}: {type(error).__name__}: {str(error)[:200]}")
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.alarm(0)
            found.ends[end] += 1
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    found.seconds = time.monotonic() - begun
    return found


def main(case: Case, cases: int) -> None:
    """The command of a campaign; ends with 1 if there were faults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument("--first", type=int, default=0, help="number of the first case, which is its seed")
    args = parser.parse_args()
    found = run(case, args.cases, args.first)
    table = json.dumps({"cases": found.cases, **found.ends, "seconds": round(found.seconds)})
    sys.stdout.write("\n".join([table, *found.faults[:_MOST_SHOWN], ""]))
    raise SystemExit(bool(found.faults))


def mutated(content: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Bytes with some changed, gone, doubled, put in from elsewhere or cut off."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(made) + 1)
        length = rng.choice((1, 1, 2, 4, 32))
        kind = rng.randrange(6)
        if kind == 0:
            made[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            made[at : at + length] = rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * length
        elif kind == 2:
            del made[at : at + length]
        elif kind == 3:
            made[at:at] = made[at : at + length]
        elif kind == 4:
            source = other or content
            begin = rng.randrange(len(source))
            made[at:at] = source[begin : begin + length]
        elif rng.random() < 0.2:
            del made[at:]
    return bytes(made)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"a case took more than {_LONGEST} s of the processor")


def _stuck(*_: object) -> None:
    raise TimeoutError(f"a case did not end in {_STUCK} s")
