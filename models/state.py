"""The state of a model as files hold it, lists of text by name; numbers and ``None`` are written and read here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def as_text(value: float | None) -> list[str]:
    """A number, or ``None``, as an entry of one text from which `State` reads the same value."""
    return [str(value)]


@dataclass(frozen=True)
class State:
    """What `Model.to_state` wrote, read back.

    Parameters
    ----------
    entries
        Lists of text by name.
    """

    entries: Mapping[str, Sequence[str]]

    def names(self, key: str) -> tuple[str, ...]:
        """All of an entry: genes, groups, flags."""
        return tuple(self.entries[key])

    def name(self, key: str) -> str:
        """The one text of an entry."""
        return self.entries[key][0]

    def integer(self, key: str) -> int:
        """A whole number."""
        return int(self.name(key))

    def number(self, key: str) -> float:
        """A number; `optional` where there may be none."""
        return float(self.name(key))

    def optional(self, key: str) -> float | None:
        """A number or ``None``."""
        text = self.name(key)
        return None if text == str(None) else float(text)
