"""``--scheduler`` of ``pyrogrn infer``: the workers that take a part of the targets each."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ...inference.engines.base import Engine
from ..sweep import dask_client
from .terminal import say

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "local"
PATIENCE = 5  # seconds for the scheduler to answer
WORKERS = 30  # seconds for its first worker to be there


@contextmanager
def workers_of(scheduler: str | None, *, threads: int) -> Iterator["Client | None"]:
    """A client of the scheduler at an address, or of worker processes of this machine (``local``): as many as
    ``--threads``, or as there are processors; None without ``scheduler``.

    Raises
    ------
    ValueError
        No Dask; a scheduler that does not answer, has no workers, or workers of several threads or without pyrogrn.
    """
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ValueError("--scheduler needs Dask: install pyrogrn[cluster], or leave it out") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is said here, in one line
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler == LOCAL:
            number = threads if threads > 1 else _processors()
            with _deaf_children():
                address = stack.enter_context(
                    LocalCluster(
                        n_workers=number,
                        threads_per_worker=1,
                        dashboard_address=None,
                        host="127.0.0.1",
                        silence_logs=logging.CRITICAL,
                    )
                )
        try:
            client = stack.enter_context(Client(address, timeout=PATIENCE))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no Dask scheduler answers at {scheduler}: start one (dask scheduler), or pass --scheduler {LOCAL}, "
                "or leave it out"
            ) from error
        try:
            client.wait_for_workers(1, timeout=WORKERS)
        except TimeoutError as error:
            raise ValueError(
                f"the Dask scheduler at {scheduler} has no workers: start some (dask worker {scheduler} --nthreads 1)"
            ) from error
        yield dask_client(client)


def check_scheduler(engine: Engine, scheduler: str | None) -> None:
    """Refuse ``--scheduler`` with an engine that takes no client."""
    if scheduler is not None and not engine.takes_client:
        raise ValueError(f"--scheduler is for the guide sparse, this is {engine.name}: leave it out")


def say_workers(client: "Client") -> None:
    """How many there are."""
    say(f"targets are divided over {len(client.nthreads())} Dask worker(s); numbers are those of one machine")


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started here do not hear Ctrl-C, which a terminal sends to all of a command: they are needed
    for the checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
