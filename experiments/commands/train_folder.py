"""``OUT.work``, where a training keeps what it has done: for one process, removed when the weights are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files.lock import FolderLock
from ..files.scratch import remove
from ..files.whole import refused, whole_file
from .terminal import say_interrupted

SETTINGS = "settings.txt"


@contextmanager
def training_folder(out: Path, settings: str) -> Iterator[Path]:
    """The folder, with the state of an earlier training of the same ``settings`` in it or empty.

    Without state it does not stay; an interrupt is followed by what there is to go on with.

    Raises
    ------
    ValueError
        It belongs to a training with other settings, another process is training there, or it cannot be written.
    """
    work = out.absolute().with_name(out.name + ".work")
    lock = FolderLock(work, out)
    with refused(work):
        work.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        with refused(work):
            work.mkdir(exist_ok=True)
            note = work / SETTINGS
            if note.is_file() and note.read_text(encoding="utf-8") != settings:
                raise ValueError(
                    f"{work} belongs to a training with other settings: remove it, or choose another --out"
                )
            if not note.is_file():
                with whole_file(note) as place:
                    place.write_text(settings, encoding="utf-8")
        yield work
        remove(work)
    except KeyboardInterrupt:
        if has_state(work):
            say_interrupted(f"interrupted; give the same command again to resume from {work}")
        else:
            say_interrupted("interrupted before there was a state to keep: run again")
        raise
    finally:
        if not has_state(work) and {path.name for path in work.glob("*")} <= {SETTINGS}:
            remove(work)
        lock.release()


def has_state(work: Path) -> bool:
    """Whether anything of a training is in the folder."""
    return any(work.glob("*.pt"))
