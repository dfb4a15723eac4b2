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
    """Work in a copy of this process, by one thread, from `start` to `stop`."""

    def __init__(self, work: Work[T]) -> None:
        self._work, self._sent = work, list[Any]()
        self._pipe, self._theirs = Pipe()
        self._pid: int | None = None  # of a copy that has not been taken leave of
        self._outcome: tuple[bool, Any] | None = None
        self._talk = threading.Thread(target=self._talks, daemon=True)

    def start(self) -> None:
        """Begin."""
        parent = os.getpid()
        with _held_back(), warnings.catch_warnings():  # warned of threads of libraries, which hold nothing
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
            if self._pid == 0:
                _be_the_copy(self._work, self._theirs, parent)
            self._theirs.close()

    def send(self, value: Any) -> None:
        """To the work, once that asks and `result` waits for it."""
        self._sent.append(value)

    def result(self) -> T:
        """What the work has returned, once it has; raises what it has raised. If the copy stands still (a library that
        does not stand to be copied) or is killed (memory runs out), that is said and the work is done here."""
        assert self._pid is not None
        self._talk.start()
        used, since, why = -1, time.monotonic(), "was killed, as where memory runs out"
        while self._talk.is_alive():
            self._talk.join(LOOK)
            before, used = used, _ticks(self._pid)
            if used != before:
                since = time.monotonic()
            elif time.monotonic() - since > STILL:
                why = "stands still"
                break
        if self._outcome is None:
            self.stop()
            LOGGER.warning("a process beside this one %s: its work is done again here", why)
            return self._work(iter(self._sent).__next__)
        done, found = self._outcome
        if not done:
            raise found
        return found

    def _talks(self) -> None:
        """With the copy, in a thread: either side may have more to say than a pipe holds while nobody listens."""
        values = iter(self._sent)
        with suppress(EOFError, OSError):
            while (said := self._pipe.recv()) is None:
                self._pipe.send(next(values))
            self._outcome = said

    def stop(self) -> None:
        """End the copy, if it has not ended; no interrupt leaves it half done."""
        if self._pid is None:
            return
        with _held_back():
            _kill(self._pid, signal.SIGTERM)
            alarm = threading.Timer(PATIENCE, _kill, (self._pid, signal.SIGKILL))
            alarm.start()
            with suppress(ChildProcessError):  # where SIGCHLD is ignored nothing is left to be waited for
                os.waitpid(self._pid, 0)
            self._pid = None
            alarm.cancel()
            if self._talk.is_alive():
                self._talk.join(PATIENCE)
            self._pipe.close()


class Later(Generic[T]):
    """The same work in this process, when its result is asked for."""

    def __init__(self, work: Work[T]) -> None:
        self._work, self._sent = work, list[Any]()

    def send(self, value: Any) -> None:
        """To the work."""
        self._sent.append(value)

    def result(self) -> T:
        """What the work returns."""
        return self._work(iter(self._sent).__next__)


@contextmanager
def beside(work: Work[T], *, apart: bool) -> Iterator[Beside[T] | Later[T]]:
    """``work`` goes on while the block does, in a copy of this process which ends with the block; unless ``apart``, in
    this process when `result` is asked for. Numbers are the same."""
    if not apart:
        yield Later(work)
        return
    copy = Beside(work)
    try:
        copy.start()
        yield copy
    finally:
        copy.stop()


@contextmanager
def _held_back() -> Iterator[None]:
    """Interrupts come after the block, to the handlers that were there. To block them is not enough: another
    thread may take one, and Python raises it in this."""
    came: list[int] = []
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in SIGNALS}
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _ticks(pid: int) -> int:
    """Processor time that a process has had; -1 of one that has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return int(stat[11]) + int(stat[12])


def _be_the_copy(work: Work[T], pipe: Connection, parent: int) -> NoReturn:
    status = 1

    def receive() -> Any:
        pipe.send(None)
        return pipe.recv()

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
        pipe.send(_outcome(work, receive))
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
