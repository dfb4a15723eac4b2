"""`compiled`: a function of the samplers that numba compiles, and functions that only compiled ones call."""

from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba

from ...models.compiled import RELAXED
from ...models.compiled import compiled as compiled_with

HERE = Path(__file__).resolve().parent


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, which may call those of this folder."""
    return compiled_with(function, folders=(HERE,))


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
