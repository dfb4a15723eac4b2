"""`compiled`: a function that numba compiles, without the interpreter's lock, once for all runs on a machine."""

from collections.abc import Callable
from typing import Any

import numba

# sums may be taken in another order and products fused; values that are not finite stay what they are
RELAXED = {"reassoc", "contract", "arcp", "nsz"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, compiled at its first call; kept on disk where there is a folder that can be written to."""
    try:
        return numba.njit(nogil=True, fastmath=RELAXED, cache=True)(function)
    except RuntimeError:  # numba finds no folder for its cache: an installation that is read only, without a home
        return numba.njit(nogil=True, fastmath=RELAXED)(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A small function that only compiled ones call."""
    return numba.njit(nogil=True, fastmath=RELAXED)(function)


def pasted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, put in place of each call: handing on a tuple of arrays takes longer than what such a function does."""
    return numba.njit(nogil=True, fastmath=RELAXED, inline="always")(function)
