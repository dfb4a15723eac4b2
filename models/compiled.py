"""`compiled`: functions that numba compiles, without the interpreter's lock, once for all runs on a machine."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba

# sums may be taken in another order and products fused; values that are not finite stay what they are
RELAXED = {"reassoc", "contract", "arcp", "nsz"}


@cache
def digest_of(folder: Path) -> str:
    """SHA-256 of the sources in a folder, in hex."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def stamp_of(function: Callable[..., Any], folders: Sequence[Path], options: dict[str, Any]) -> str:
    """Of the folder of a ``function``, of other ``folders``, and of the options it is compiled with."""
    own = Path(function.__code__.co_filename).resolve().parent
    digests = [digest_of(folder) for folder in dict.fromkeys((own, *folders))]
    return " ".join([*digests, *(f"{name}={value!r}" for name, value in sorted(options.items()))])


def compiled(function: Callable[..., Any], *, folders: Sequence[Path] = (), **options: Any) -> Callable[..., Any]:
    """``function``, compiled at its first call; kept on disk where there is a folder that can be written to.

    What is kept is for these sources and options. numba looks at the time and size of the file that ``function`` is in,
    and not at those of the functions it calls, nor at the options: after an update that left the first as it was, the
    old ones would run.

    Parameters
    ----------
    function
        What to compile.
    folders
        Of the functions it calls, where they are not in its own.
    options
        Of `numba.njit`, beside these; default sums in any order (``fastmath``).
    """
    options = {"nogil": True, "fastmath": RELAXED, **options}
    try:
        made: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder for its cache: an installation that is read only, without a home
        return numba.njit(**options)(function)
    shown = {name: sorted(value) if isinstance(value, set) else value for name, value in options.items()}
    with suppress(AttributeError):  # there is no public way; tests/test_compiled.py sees whether this one goes on
        made._cache._cache_file._source_stamp = stamp_of(function, folders, shown)
    return made
