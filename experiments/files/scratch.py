"""Names of files that are being written, beside their place, and the removal of those whose process was killed.

Two processes that write one file do not share a scratch file, and one that is killed leaves nothing for ever: the next
that writes there removes what no living process of this machine owns.
"""

import os
import re
import shutil
import socket
import sys
import zlib
from contextlib import suppress
from pathlib import Path

LONGEST_ENDING = 150  # of the name that is kept, so that no name becomes longer than a system allows
OWNED = re.compile(r"\.partial-([0-9a-f]{8})-(\d+)-")


def scratch_of(path: Path) -> Path:
    """Where this process writes what becomes ``path``; the name ends as that of ``path`` does."""
    return path.with_name(f".partial-{_machine()}-{os.getpid()}-{_ending(path.name)}")


def remove_abandoned(path: Path) -> None:
    """Remove what killed processes of this machine have left of ``path``."""
    folder, ending = path.parent, _ending(path.name)
    with suppress(OSError):  # a folder that cannot be listed or changed: writing there says why
        for entry in list(os.scandir(folder)):
            found = OWNED.match(entry.name)
            if found is None or entry.name[found.end() :] != ending:
                continue
            if found[1] == _machine() and not alive(int(found[2])):
                remove(Path(entry.path))


def remove(path: Path) -> None:
    """A file or folder that may be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def alive(process: int) -> bool:
    """Whether a process of this machine runs; on Windows, where asking would end it, always."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _machine() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _ending(name: str) -> str:
    raw = os.fsencode(name)
    return name if len(raw) <= LONGEST_ENDING else os.fsdecode(raw[-LONGEST_ENDING:])
