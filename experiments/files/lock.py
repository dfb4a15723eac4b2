"""One process at a time: a lock beside a folder, which goes with the process, however that ends."""

import os
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows, where two runs into one folder are not noticed
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """Holds ``NAME.lock`` beside the folder ``place``.

    Parameters
    ----------
    place
        The folder, which need not exist; its parent must.
    shown
        How messages call it. Default ``place``.
    """

    def __init__(self, place: Path, shown: Path | None = None) -> None:
        self.path = place.with_name(place.name + ".lock")
        self.shown = place if shown is None else shown
        self._handle: Any = None

    def acquire(self) -> None:
        """Take it; ``ValueError`` where another process has it."""
        if fcntl is None:
            return
        while True:
            handle = self.path.open("a")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.close()
                raise ValueError(
                    f"another run is writing {self.shown}: wait for it, or choose another folder with --out"
                ) from None
            except OSError:  # a file system without locks: two runs are not noticed there
                self.path.unlink(missing_ok=True)
                handle.close()
                return
            if self.path.exists() and os.fstat(handle.fileno()).st_ino == self.path.stat().st_ino:
                break
            handle.close()  # the run before removed it between our opening and our locking
        self._handle = handle

    def release(self) -> None:
        """Give it back, if it is held."""
        if self._handle is not None:
            self.path.unlink(missing_ok=True)
            self._handle.close()
            self._handle = None
