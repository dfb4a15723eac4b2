"""A figure: a value with its standard error, and how it is printed."""

from __future__ import annotations

import math
from typing import NamedTuple

ABSENT = "–"


class Figure(NamedTuple):
    """A value and its standard error, ``nan`` where there is none."""

    value: float
    se: float = float("nan")

    def __format__(self, how: str) -> str:
        """By a format of numbers; with ``±`` behind it the standard error follows, where there is one.

        >>> f"{Figure(0.9398, 0.0061):.3f±}"
        '0.940 ± 0.006'
        >>> f"{Figure(0.9398):+.1%}"
        '+94.0%'
        """
        if math.isnan(self.value):
            return ABSENT
        number = how.removesuffix("±")
        text = format(self.value, number)
        if number == how or math.isnan(self.se):
            return text
        return f"{text} ± {format(self.se, number.lstrip('+'))}"

    def __sub__(self, other: Figure) -> Figure:
        """The difference of values; its error is not known."""
        return Figure(self.value - other.value)

    def __truediv__(self, other: Figure) -> Figure:
        """The ratio of values; its error is not known."""
        return Figure(self.value / other.value)
