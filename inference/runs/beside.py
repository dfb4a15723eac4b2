"""Work that goes on beside that of this process, in a copy of it: Python runs one thread at a time."""

import ctypes
import gc
import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import torch

T = TypeVar("T")
Receive = Callable[[], Any]
Work = Callable[[Receive], T]
"""What is done: it is handed a function that waits for what `Beside.send` sends."""
DIE_WITH_PARENT = 1  # of prctl(2)
PATIENCE = 5.0  # seconds that a copy has to clean up
LOOK, STILL = 1.0, 60.0  # seconds between two looks at a copy that is waited for, and without work until it is given up
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOGGER = logging.getLogger(__name__)


def can_fork() -> bool:
    """Whether this process can be copied and the copy go on: elsewhere than on Linux libraries do not stand it."""
    return sys.platform.startswith("linux") and threading.current_thread() is threading.main_thread()


class Beside(Generic[T]):
    """Work in a copy of this process, by one thread."""

    def __init__(self, work: Work[T]) -> None:
        self._work, self._sent = work, list[Any]()
        self._pipe, theirs = Pipe()
        parent = os.getpid()
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # none comes before the copy knows what it is
        try:
            with warnings.catch_warnings():  # of threads of libraries, which wait and hold nothing
                warnings.simplefilter("ignore", DeprecationWarning)
                self._pid = os.fork()
                if self._pid == 0:
                    _be_the_copy(work, theirs, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        theirs.close()

    def send(self, value: Any) -> None:
        """To the work, which waits for it; lost where that has failed, as `result` will tell."""
        self._sent.append(value)
        with suppress(OSError):
            self._pipe.send(value)

    def result(self) -> T:
        """What the work has returned, once it has; raises what it has raised. If the copy stands still (a library that
        does not stand to be copied), the work is done here.

        Raises
        ------
        MemoryError
            The copy was killed, as a system does where memory runs out.
        """
        used, since = -1, time.monotonic()
        try:
            while not self._pipe.poll(LOOK):
                before, used = used, _ticks(self._pid)
                if used != before:
                    since = time.monotonic()
                elif time.monotonic() - since > STILL:
                    LOGGER.warning("a process beside this one stands still: its work is done again here")
                    self.stop()
                    return self._work(lambda: self._sent.pop(0))
            done, found = self._pipe.recv()
        except (EOFError, OSError):
            raise MemoryError("a process beside this one was killed") from None
        if not done:
            raise found
        return found

    def stop(self) -> None:
        """End the copy, if it has not ended."""
        if self._pipe.closed:
            return
        self._pipe.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        alarm = threading.Timer(PATIENCE, os.kill, (self._pid, signal.SIGKILL))
        alarm.start()
        try:
            os.waitpid(self._pid, 0)
        finally:
            alarm.cancel()


class Later(Generic[T]):
    """The same work in this process, when its result is asked for."""

    def __init__(self, work: Work[T]) -> None:
        self._work, self._sent = work, list[Any]()

    def send(self, value: Any) -> None:
        """To the work."""
        self._sent.append(value)

    def result(self) -> T:
        """What the work returns."""
        return self._work(lambda: self._sent.pop(0))


@contextmanager
def beside(work: Work[T], *, apart: bool) -> Iterator[Beside[T] | Later[T]]:
    """``work`` goes on while the block does, in a copy of this process which ends with the block; unless ``apart``, in
    this process when `result` is asked for. Numbers are the same."""
    if not apart:
        yield Later(work)
        return
    copy = Beside(work)
    try:
        yield copy
    finally:
        copy.stop()


def _ticks(pid: int) -> int:
    """Processor time that a process has had."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(stat[11]) + int(stat[12])


def _be_the_copy(work: Work[T], pipe: Connection, parent: int) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, to both: this process is told by the other
        signal.signal(signal.SIGTERM, _leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # which has ended meanwhile
            os._exit(status)
        gc.freeze()  # what was there stays: a search of it would write to all of it, and shared memory become two
        torch.set_num_threads(1)
        pipe.send(_outcome(work, pipe.recv))
        status = 0
    finally:
        os._exit(status)


def _outcome(work: Work[T], receive: Receive) -> tuple[bool, Any]:
    try:
        return True, work(receive)
    except Exception as error:
        told = "".join(traceback.format_exception(error))  # which is lost on the way
        error.add_note(told)
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return False, RuntimeError(told)
        return False, error


def _leave(*_: object) -> NoReturn:
    raise SystemExit
