"""The folder of a run: absent, or complete in its results; with a checkpoint beside it while the fit goes on."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ...inference import Checkpoint, load_checkpoint
from ..files.lock import FolderLock
from ..files.scratch import remove
from ..files.whole import exchange, pour, refused

UNFINISHED = "unfinished.txt"  # in a folder whose results are there, and whose report is not
CHECKPOINT = "checkpoint.pt"
LONGEST_NAME = 255  # bytes of a file's name that systems allow


class RunFolder:
    """``out`` appears in one step with the results of the fit; until then they are in ``out.partial``, which holds the
    checkpoint. The report is written into it afterwards, so that a failure there costs no fit.

    A symbolic link is followed and stays. A mount point or the working folder, which cannot be replaced, is filled.

    Parameters
    ----------
    out
        The folder to make.
    overwrite
        Replace an earlier run there, which stays until the new one takes its place. Anything that is not a run is never
        replaced.
    resume
        Continue from the checkpoint of an interrupted run, or write what is missing of a fit that is finished.

    Raises
    ------
    ValueError
        The folder exists, cannot be written, another run is writing it, or there is nothing to resume.
    """

    def __init__(self, out: Path, *, overwrite: bool = False, resume: bool = False) -> None:
        self.out = out
        self.place = Path(os.path.realpath(out))  # through a link, which stays
        if len(os.fsencode(self.place.name)) + len(".partial") > LONGEST_NAME:
            raise ValueError(f"--out: the name of the folder has {len(self.place.name)} letters, shorten it")
        self.partial = self.place.with_name(self.place.name + ".partial")
        if self.place.exists() and not self.place.is_dir():
            raise ValueError(f"{out} is a file: choose another folder with --out")
        self.finished = resume and (self.place / UNFINISHED).exists()
        self.overwrite = overwrite
        self._check_free()
        parent = self.place.parent
        while not parent.exists():
            parent = parent.parent
        fills = self.place.exists() and not os.access(self.place, os.W_OK)
        if not os.access(parent, os.W_OK) or not parent.is_dir() or fills:
            raise ValueError(f"cannot write to {out}: no permission in {parent}. Choose another folder with --out")
        self.checkpoint_path = self.partial / CHECKPOINT
        if resume and not self.finished and not self.checkpoint_path.exists():
            raise ValueError(f"nothing to resume: {self.checkpoint_path} does not exist. Run without --resume")
        self.resumed = load_checkpoint(self.checkpoint_path) if resume and not self.finished else None
        self._lock = FolderLock(self.place, out)

    def _check_free(self) -> None:
        """Refuse what is not to be replaced."""
        if self.place.exists() and any(self.place.iterdir()) and not self.finished:
            if not (self.place / "config.json").exists():
                raise ValueError(f"{self.out} exists and is not an earlier run: choose another folder with --out")
            if not self.overwrite:
                raise ValueError(self._earlier())

    def _earlier(self) -> str:
        if (self.place / UNFINISHED).exists():
            return f"{self.out} holds a run without its report: pass --resume to finish it, or --overwrite"
        return f"{self.out} holds an earlier run: pass --overwrite to replace it, or choose another folder"

    def open(self) -> Checkpoint:
        """Make the partial folder (removing leftovers unless resuming) and return the checkpoint that goes there."""
        with refused(self.out):
            self.place.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            try:
                self._check_free()  # again: a run that had the lock until now may have put its results there
            except ValueError:
                self._lock.release()
                raise
            kept = self.checkpoint_path if self.resumed is not None else None
            if self.partial.exists():  # what a killed run had begun to write is not part of this one
                for path in self.partial.iterdir():
                    if path != kept:
                        remove(path)
                if self.finished:
                    self.partial.rmdir()
            if not self.finished:
                self.partial.mkdir(exist_ok=True)
        return Checkpoint(self.checkpoint_path)

    def publish(self, missing: Iterable[str] = ()) -> None:
        """The results are written: move them into place in one step. ``missing`` files are still to be made there."""
        with refused(self.out):
            names = list(missing)
            if names:
                (self.partial / UNFINISHED).write_text("\n".join(names) + "\n", encoding="utf-8")
            else:
                self.checkpoint_path.unlink(missing_ok=True)
            # the checkpoint goes last: killed before the move, the run resumes from it, afterwards nothing is missing
            if not self.place.exists():
                os.replace(self.partial, self.place)
                (self.place / CHECKPOINT).unlink(missing_ok=True)
                return
            if exchange(self.partial, self.place):  # the earlier run is now the partial one
                (self.place / CHECKPOINT).unlink(missing_ok=True)
                shutil.rmtree(self.partial)
                self._enter()
                return
            for path in self.place.iterdir():  # a mount point, or the working folder: only what is in it can go
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            pour(self.partial, self.place)
            (self.place / CHECKPOINT).unlink(missing_ok=True)
            shutil.rmtree(self.partial)

    def _enter(self) -> None:
        """Where the working folder was the one that went: libraries that are imported later ask where they are."""
        try:
            os.getcwd()
        except FileNotFoundError:
            os.chdir(self.place)

    def close(self) -> None:
        """Nothing is missing any more."""
        (self.place / UNFINISHED).unlink(missing_ok=True)
        (self.place / CHECKPOINT).unlink(missing_ok=True)
        self._lock.release()

    def discard(self) -> None:
        """Leave nothing behind, except a checkpoint to resume from."""
        if self.partial.exists() and not self.checkpoint_path.exists():
            shutil.rmtree(self.partial, ignore_errors=True)
        self._lock.release()

    @property
    def after_interrupt(self) -> str:
        """What there is to go on with, in words."""
        if (self.place / UNFINISHED).exists():
            return f"interrupted; the results are in {self.out}, --resume writes the report"
        if self.checkpoint_path.exists():
            return f"interrupted; the state is in {self.partial}, continue with --resume"
        return "interrupted before there was a state to keep: run again"
