"""Python's collector of cycles, paused where songs are made of thousands of small objects that all live on.

It looks through everything each time some hundreds of objects are new, finds nothing, and takes a third of the time in
which a MIDI file becomes tokens.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Do not collect meanwhile; also a decorator of functions."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
