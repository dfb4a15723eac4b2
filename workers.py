"""Starting worker processes where the system has nothing to start them with."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def startable(remedy: str) -> Iterator[None]:
    """One line where the system refuses what worker processes need: locks in shared memory, a temporary folder, memory.

    Parameters
    ----------
    remedy
        How the caller does without them.

    Raises
    ------
    ValueError
        The system refused; a full or missing ``/dev/shm`` comes as an ``OSError`` without a reason.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror if error.errno else "no room for their locks in shared memory"
        raise ValueError(f"worker processes cannot be started ({reason}): make room, or {remedy}") from error
