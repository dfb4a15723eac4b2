"""The folder of an ablation while it is being filled: one process at a time, and nothing promised that is not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files.lock import FolderLock
from ..files.scratch import remove
from ..files.whole import refused
from .terminal import say_interrupted


@contextmanager
def filling(out: Path) -> Iterator[None]:
    """Hold the folder's lock; an interrupt is followed by what there is to go on with.

    A folder that this made, and in which no run was finished, does not stay.

    Raises
    ------
    ValueError
        Another process is filling it, or it cannot be written.
    """
    made = not out.exists()
    lock = FolderLock(out.absolute())
    with refused(out):
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    except KeyboardInterrupt:
        runs = finished_runs(out)
        if runs:
            say_interrupted(f"interrupted; {runs} finished runs are in {out / 'runs'}, continue with --resume")
        elif made:
            say_interrupted("interrupted before a run was finished: run again")
        raise
    finally:
        if made and not any((out / "runs").glob("*.json")):  # errors of runs are kept, too
            remove(out)
        lock.release()


def finished_runs(out: Path) -> int:
    """Runs that need not be done again."""
    return sum(not path.name.endswith(".error.json") for path in (out / "runs").glob("*.json"))
