"""Starting worker processes: out of reach of Ctrl-C, and with one line where the system has nothing for them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def startable(remedy: str) -> Iterator[None]:
    """One line where the system refuses what worker processes need: locks in shared memory, a temporary folder, memory.

    Ctrl-C, which a terminal sends to all processes, waits meanwhile; the workers inherit that and never get it (one
    that is still importing would print a traceback): the process that started them ends them.

    Parameters
    ----------
    remedy
        How the caller does without them.

    Raises
    ------
    ValueError
        The system refused; a full or missing ``/dev/shm`` comes as an ``OSError`` without a reason.
    """
    mask = getattr(signal, "pthread_sigmask", None)  # not on Windows
    before = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else set()
    try:
        if mask:
            # Python before 3.12 lets Ctrl-C through again whenever it starts this process: now, not before a worker
            resource_tracker.ensure_running()
            mask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    except OSError as error:
        reason = error.strerror if error.errno else "no room for their locks in shared memory"
        raise ValueError(f"worker processes cannot be started ({reason}): make room, or {remedy}") from error
    finally:
        if mask:
            mask(signal.SIG_SETMASK, before)
