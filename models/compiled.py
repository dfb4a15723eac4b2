"""`compiled`: functions that numba compiles, without the interpreter's lock, once for all runs on a machine."""

from collections.abc import Callable
from typing import Any

import numba

# sums may be taken in another order and products fused; values that are not finite stay what they are
RELAXED = {"reassoc", "contract", "arcp", "nsz"}


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``function``, compiled at its first call; kept on disk where there is a folder that can be written to, for the
    time and size of the file it is in (those of functions it calls should be in the same).

    Parameters
    ----------
    function
        What to compile.
    options
        Of `numba.njit`, beside these; default sums in any order (``fastmath``).
    """
    options = {"nogil": True, "fastmath": RELAXED, **options}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder for its cache: an installation that is read only, without a home
        return numba.njit(**options)(function)
