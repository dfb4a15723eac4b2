"""`compiled`: a function that numba compiles, without the interpreter's lock, once for all runs on a machine."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any

import numba

from ...models.compiled import RELAXED
from ...models.compiled import compiled as kept


def digest_of(folder: Path) -> str:
    """SHA-256 of the sources in a folder, in hex."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


HERE = Path(__file__).resolve().parent
STAMP = digest_of(HERE)


def stamp_of(function: Callable[..., Any]) -> str:
    """Of the sources here, and of the folder of a ``function`` that is somewhere else."""
    folder = Path(function.__code__.co_filename).resolve().parent
    return STAMP if folder == HERE else f"{STAMP} {digest_of(folder)}"


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, compiled at its first call; kept on disk where there is a folder that can be written to.

    What is kept is for these sources. numba looks at the time and size of the file that ``function`` is in, and not at
    those of the functions it calls: after an update that left the first as it was, the old ones would run.
    """
    made: Any = kept(function)
    with suppress(AttributeError):  # there is no public way; tests/test_compiled.py sees whether this one goes on
        made._cache._cache_file._source_stamp = stamp_of(function)
    return made


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A small function that only compiled ones call."""
    return numba.njit(nogil=True, fastmath=RELAXED)(function)


def pasted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, put in place of each call: handing on a tuple of arrays takes longer than what such a function does."""
    return numba.njit(nogil=True, fastmath=RELAXED, inline="always")(function)


def calling(function: Callable[..., Any], name: str, **others: Callable[..., Any]) -> Callable[..., Any]:
    """What a compiled ``function`` is made of, under another ``name``, with ``others`` in place of the functions of
    these names that it calls: to be compiled in its turn.

    For a kind of data that few have: one more loop in the innermost step of a sweep, over nothing, would make that of
    all others take half as long again.
    """
    plain = getattr(function, "py_func", function)
    made = FunctionType(plain.__code__, {**plain.__globals__, **others}, name, plain.__defaults__)
    made.__qualname__, made.__doc__ = name, plain.__doc__  # what is kept on disk is found by this name
    return made
