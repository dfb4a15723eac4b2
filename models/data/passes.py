"""Passes over the cells, told to whoever wants to know how far they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Tell = Callable[[str, int, int], None]
"""What is done, of how many the first so many."""
LISTENER: ContextVar[Tell | None] = ContextVar("LISTENER", default=None)


@contextmanager
def listening(tell: Tell) -> Iterator[None]:
    """``tell(what, done, total)`` is called after each block of a pass within."""
    token = LISTENER.set(tell)
    try:
        yield
    finally:
        LISTENER.reset(token)


def told(what: str, done: int, total: int) -> None:
    """A block of a pass is done."""
    tell = LISTENER.get()
    if tell is not None:
        tell(what, done, total)
