"""What holds while a model is called: known to the caller's thread or task alone, and never a property of the model.

A server calls one model from many threads, each with its own plan. So whatever changes what a call does lies in context
variables: contexts may be entered at once, nested, and left in any order, and none is seen by another caller.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import nn

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Entry(Generic[T]):
    module: nn.Module
    value: T


class CallState(Generic[T]):
    """Values of one kind that hold for modules; one instance a kind, since context variables live for ever."""

    def __init__(self, name: str) -> None:
        self._entries: ContextVar[tuple[_Entry[T], ...]] = ContextVar(name, default=())

    def of(self, module: nn.Module) -> list[T]:
        """Values that hold for a module now, in the order in which they were set."""
        return [entry.value for entry in self._entries.get() if entry.module is module]

    def last(self, module: nn.Module) -> T | None:
        """The value that was set last of those that hold; None if there is none."""
        return next(iter(self.of(module)[::-1]), None)

    @contextmanager
    def holding(self, module: nn.Module, value: T) -> Iterator[None]:
        """Let a value hold for a module meanwhile."""
        entry = _Entry(module, value)
        self._entries.set((*self._entries.get(), entry))
        try:
            yield
        finally:  # this one goes, wherever it stands: resetting the variable would bring back what has ended meanwhile
            self._entries.set(tuple(other for other in self._entries.get() if other is not entry))
