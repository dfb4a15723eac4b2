"""Files and folders that are written whole or not at all: made under another name beside their place, then moved there.

Whatever the disk refuses (full, read-only, no permission, too large) ends in one ``ValueError`` that names the place.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .scratch import remove, remove_abandoned, scratch_of

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of renameat2(2)


@contextmanager
def refused(place: Path, option: str = "--out") -> Iterator[None]:
    """Turn what a disk refuses into one line; h5py and zipfile report it as RuntimeError or a bare OSError too."""
    try:
        yield
    except (BlockingIOError, InterruptedError):
        raise
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"cannot write to {place}: {reason}. Choose another place with {option}, or make room"
        ) from error


def check_place(path: Path, option: str = "--out") -> None:
    """Refuse a place in which nothing can be made, before any work is done for it.

    Raises
    ------
    ValueError
        No permission, or a file where a folder is needed.
    """
    parent = path.absolute()
    while not parent.exists():
        parent = parent.parent
    if parent != path.absolute() and not parent.is_dir():
        raise ValueError(f"cannot write to {path}: {parent} is a file. Choose another place with {option}")
    if not os.access(parent, os.W_OK):
        raise ValueError(f"cannot write to {path}: no permission in {parent}. Choose another place with {option}")


@contextmanager
def whole_file(path: Path, option: str = "--out") -> Iterator[Path]:
    """A place to write to, moved to ``path`` when all is written; removed when it is not. Its name has the same
    endings."""
    scratch = scratch_of(path)
    try:
        with refused(path, option):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(path)
            yield scratch
            os.replace(scratch, path)
    finally:
        remove(scratch)


@contextmanager
def whole_folder(folder: Path, option: str = "--out") -> Iterator[Path]:
    """A folder to fill, of which all files are moved to ``folder`` when they are written; removed when they are not.

    Files that ``folder`` has and the new ones do not replace stay.
    """
    scratch = scratch_of(folder.absolute())
    try:
        with refused(folder, option):
            remove(scratch)
            remove_abandoned(folder.absolute())
            scratch.mkdir(parents=True)
            yield scratch
            if folder.exists():
                pour(scratch, folder)
            else:
                os.replace(scratch, folder)
    finally:
        remove(scratch)


def pour(source: Path, target: Path) -> None:
    """Move what ``source`` holds into ``target``, replacing files of the same name."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and place.is_dir():
            pour(path, place)
        else:
            os.replace(path, place)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step, so that neither name is ever without one; ``False`` where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # a libc before 2.28
        return False
    done = rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    return bool(done == 0)
