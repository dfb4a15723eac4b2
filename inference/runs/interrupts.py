"""Interrupts that wait for the end of a step, so that a checkpoint is a state the fit was really in."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Aborted(KeyboardInterrupt):
    """A second interrupt, in the middle of a step: there is no consistent state to write."""


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Hold back Ctrl-C and SIGTERM; the function it yields raises KeyboardInterrupt if one has come. A second one
    raises `Aborted` at once.

    Outside the main thread, where Python does not deliver signals, nothing is held back.
    """
    pending = False

    def check() -> None:
        if pending:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return

    def note(number: int, frame: object) -> None:
        nonlocal pending
        if pending:
            raise Aborted
        pending = True

    previous = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
