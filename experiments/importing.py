"""Imports without the search for garbage among what they make."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Around the imports of a command, of half a million objects that all stay: Python would search them for
    unreachable ones some hundred times, a fifth of the time of the imports, and again whenever it searches later.

    Does nothing in a process that has torch already.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
