"""The command line as tests call it."""

import contextlib
import io
import signal
import sys

import pyrogrn.inference  # noqa: F401 commands import it late, and a package behind it draws a random number then
from pyrogrn.experiments.cli import main


def call(*arguments) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    out, err = io.StringIO(), io.StringIO()
    keep, hooks = sys.argv, (sys.unraisablehook, sys.excepthook)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    sys.argv = ["pyrogrn", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = keep
        sys.unraisablehook, sys.excepthook = hooks
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code, out.getvalue(), err.getvalue()
