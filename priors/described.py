"""`Described`: what an object says of itself in a console and in a notebook, in one line or a small table."""

from abc import abstractmethod
from collections.abc import Mapping
from html import escape

MOST = 160  # letters of a line in a table


class Described:
    """Gives a class ``repr`` and ``_repr_html_`` from its `facts`; of a dataclass, pass ``repr=False`` to it.

    Examples
    --------
    >>> class Pair(Described):
    ...     def facts(self):
    ...         return {"cells": "2"}
    >>> Pair()
    Pair(cells: 2)
    """

    @abstractmethod
    def facts(self) -> Mapping[str, str]:
        """What there is to know of it at a glance, by what it is; no larger for larger data."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}: {value}' for name, value in self.facts().items())})"

    def _repr_html_(self) -> str:
        row = "<tr><th style='text-align:left'>{}</th><td style='text-align:left'>{}</td></tr>"
        rows = "".join(row.format(escape(name), escape(value[:MOST])) for name, value in self.facts().items())
        return f"<table><caption><b>{type(self).__name__}</b></caption><tbody>{rows}</tbody></table>"
