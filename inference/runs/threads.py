"""Threads of numerical libraries, where the program shares work out itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_torch_thread() -> Iterator[int]:
    """Inside, torch takes one thread, so that its sums do not depend on how many the machine has; yields how many it
    had."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield number
    finally:
        torch.set_num_threads(number)


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Inside, torch and BLAS take one thread for each that calls them; yields how many torch had.

    Whoever has several tasks gains nothing from threads inside each, and loses much where they wait for each other on
    cores that others use; and sums do not depend on the number of threads.
    """
    with one_torch_thread() as number, threadpool_limits(1):
        yield number
