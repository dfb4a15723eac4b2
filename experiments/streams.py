"""Standard streams and interrupts of the command line, where there is no terminal or it goes away."""

import _thread
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn

AGAIN = 0.02  # seconds until an interrupt that Python would drop is raised again
CLOSED_PIPE = "nobody reads standard output any more (a closed pipe): the rest of the results was not written"


class Signals:
    """Whether an interrupt has come: what fails after one (an import that was cut short) is no error of its own."""

    interrupted = False


def guard_streams() -> None:
    """Put the null device where standard streams are missing.

    Otherwise the first files that are opened take their numbers, and what a library prints goes into them.
    """
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:
            os.close(number)
            return


def interrupt(*_: object) -> None:
    """Handler of SIGINT and SIGTERM (what a cluster sends when time is up)."""
    Signals.interrupted = True
    raise KeyboardInterrupt


def catch_signals() -> None:
    """From now on both signals end in ``KeyboardInterrupt``, also where Python would drop it."""
    Signals.interrupted = False
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a shell's background
            signal.signal(number, interrupt)
    sys.unraisablehook, sys.excepthook = _raise_again, _print


def _raise_again(unraisable: Any) -> None:
    """An interrupt that arrived in a destructor or a callback from C comes again, instead of being printed.

    It comes a moment later: at once, it would be raised in this hook, where Python drops it.
    """
    if unraisable.exc_type is not None and issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = threading.Timer(AGAIN, _interrupt_main)
        again.daemon = True
        with suppress(RuntimeError):  # the interpreter ends: no thread can be started, and none is needed
            again.start()
    elif not _told_already(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def _in_hook() -> bool:
    """Whether the main thread is in `_raise_again`."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code is _raise_again.__code__:
            return True
        frame = frame.f_back
    return False


def _interrupt_main() -> None:
    """As Ctrl-C does: a signal also ends a wait in C, which `_thread.interrupt_main` does not. Not before the hook that
    asked for it is over, which may take longer than `AGAIN` on a busy machine."""
    while _in_hook():
        time.sleep(AGAIN)
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _print(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not _told_already(error):
        sys.__excepthook__(kind, error, trace)


def _told_already(error: BaseException | None) -> bool:
    """What h5py prints, twice, of every object of a file that a full disk did not take, besides the error it raises."""
    return isinstance(error, RuntimeError) and "decrement id ref count" in str(error)


def leave_quietly() -> None:
    """The command is over: an interrupt while Python cleans up ends the process at once, without a word."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is interrupt:
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(130)


def drop_output() -> None:
    """What stdout did not take is lost: Python's own attempt when it ends would print a traceback."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
        except (OSError, ValueError, AttributeError):
            sys.stdout = None
