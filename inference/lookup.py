"""Looking up by class: what answers for a kind of model, what carries out an engine on it."""

from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


def along_bases(table: Mapping[type, Entry], cls: type) -> Entry | None:
    """The entry of ``cls``, or of the first of its bases (in method resolution order) that has one.

    A row for a new class is added from outside: ``TABLE[MyModel] = entry``.
    """
    return next((table[base] for base in cls.__mro__ if base in table), None)
