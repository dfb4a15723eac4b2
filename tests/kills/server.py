"""A process that has everything imported, and forks one for each command: kills fall into the work, not into imports.

Requests come as lines of JSON on standard input: ``{"start": {...}}`` answers with the number of the process,
``{"wait": number, "seconds": s}`` with its exit code (negative for a signal), or null where it still runs, and
``{"here": words}`` with the exit code of a command that this process does itself, so that what is imported or compiled
for it the first time is there for all that are forked later.
"""

import atexit
import contextlib
import ctypes
import io
import json
import logging
import os
import resource
import signal
import sys
import threading
import time

import pyrogrn.experiments.ablation
import pyrogrn.experiments.report.run  # noqa: F401
import torch
from pyrogrn.experiments import cli
from pyrogrn.experiments.commands import infer_run, run_folder  # noqa: F401
from pyrogrn.inference import Checkpoint

from kills.jobs import run_sweep

FAST = 0.1  # seconds between checkpoints, where users have 30
CLOSED, PIPE = "closed", "pipe"  # standard streams that are not files
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # capabilities(7): what lets root write where permissions say no
CAPABILITY_VERSION = 0x20080522


def start(job: dict) -> int:
    number = os.fork()
    if number:
        return number
    os.setsid()  # no terminal; the workers it starts share its group: Ctrl-C goes to all of them
    for stream, name in ((0, os.devnull), (1, job["stdout"]), (2, job["stderr"])):
        connect(stream, name)
    for line in ("stdout", "stderr"):  # what Python does when it starts with a stream closed
        if job[line] == CLOSED:
            setattr(sys, line, None)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    os.chdir(job["folder"])
    limit(job)
    os.environ["TMPDIR"] = job["temporary"]
    run_folder.Checkpoint = lambda path: Checkpoint(path, seconds=FAST)
    torch.manual_seed(int(time.time()))  # no run may depend on the state it begins with
    sys.argv = ["pyrogrn", *job["words"]]
    code = 0
    try:
        run_sweep(job["words"]) if job["words"][0] == "sweep" else cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    except KeyboardInterrupt:
        code = 130
    except ValueError as error:  # of the sweep, which is no command
        code = 2
        print(f"error: {error}", file=sys.stderr)
    finally:
        if sys.exc_info()[0] is not None:
            code = 1
            sys.excepthook(*sys.exc_info())
        raise_ends(code)
    return 0


def connect(stream: int, name: str) -> None:
    """A file under the number of a standard stream; or a pipe that nobody reads, or nothing."""
    if name == CLOSED:
        os.close(stream)
        return
    if name == PIPE:
        reading, handle = os.pipe()
        os.close(reading)
    else:
        handle = os.open(name, os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, stream)
    if handle > 2:
        os.close(handle)


def limit(job: dict) -> None:
    """Sizes of files and of memory (beyond what the process has), and permissions that hold for root too, where the
    job has them."""
    if "file size" in job:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file size"], job["file size"]))
    if "memory" in job:
        pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115
        most = pages * resource.getpagesize() + job["memory"]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if job.get("permissions hold") and os.getuid() == 0:
        obey_permissions()


def obey_permissions() -> None:
    """Give up root's right to pass over permissions; another user might not even read the interpreter's own files."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice
    if libc.capget(header, held):
        raise OSError(ctypes.get_errno(), "capget")
    for place in (0, 1):
        held[place] &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    if libc.capset(header, held):
        raise OSError(ctypes.get_errno(), "capset")


def raise_ends(code: int) -> None:
    """End as the command line does: exit handlers run, here with the flushes that a forked process would skip, and an
    interrupt meanwhile ends the process without a word."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(130))
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except AttributeError:
            pass  # closed from the start
        except OSError:
            code = 120  # as Python ends then, after printing that an exception was ignored
    os._exit(code)


def wait(number: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.01)


def here(words: list[str]) -> int:
    """A command in this process; of what it leaves, only what the interpreter has loaded stays."""
    sys.argv = ["pyrogrn", *words]
    silent = io.StringIO()
    try:
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            cli.main()
    except SystemExit as stop:
        if stop.code:
            print(silent.getvalue(), file=sys.stderr)
        return stop.code or 0
    finally:
        logging.getLogger().handlers.clear()  # they hold the stream of this command
    return 0


def serve() -> None:
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "here" in request:
            answer = here(request["here"])
        else:
            answer = start(request["start"]) if "start" in request else wait(request["wait"], request["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
