"""Worker processes that end when the process that started them is gone, also when that was killed."""

import os
import sys
import threading
import time

INTERVAL = 1.0  # seconds between looks; the wait for a killed sweep's workers to go


def watch_parent(parent: int) -> None:
    """Initializer of a worker: a thread ends this process once process ``parent`` is gone.

    Whoever starts workers passes its own ``os.getpid()``. The system's death signal (``PR_SET_PDEATHSIG``) would come
    with the end of the *thread* that started the worker, of which joblib has several in a run.
    """
    threading.Thread(target=_watch, args=(parent,), name="watch parent", daemon=True).start()


def _watch(parent: int) -> None:
    if sys.platform == "win32":
        _wait_windows(parent)
    else:
        while os.getppid() == parent:
            time.sleep(INTERVAL)
    os._exit(1)  # what it was computing has nobody to go to


def _wait_windows(parent: int) -> None:
    """Windows keeps the number of a parent that is gone: wait for its handle instead."""
    import ctypes

    synchronize, forever = 0x00100000, 0xFFFFFFFF
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(synchronize, False, parent)
    if handle:
        kernel.WaitForSingleObject(handle, forever)
