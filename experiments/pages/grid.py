"""A table of figures, declared by what its lines and columns stand for."""

from collections.abc import Mapping
from itertools import product

from .rows import Rows

Columns = Mapping[str, str | list[str]]


def grid(
    of: Rows, lines: Mapping[str, Columns], columns: Mapping[str, Columns], *, corner: str = "", how: str = ".3f±"
) -> str:
    """A Markdown table.

    Parameters
    ----------
    of
        Where the figures come from.
    lines, columns
        Heading and what it settles, ``{"no prior": {"method": "no prior"}}``. A list of texts gives several figures
        in a cell. Beside columns of the file, ``how`` sets the format there.
    corner
        Heading of the lines.
    how
        Format of the figures (`Figure`).
    """
    head = [corner, *columns]
    table = [head, ["---"] * len(head)]
    for title, line in lines.items():
        table.append([title, *(cell(of, {"how": how, **line, **column}) for column in columns.values())])
    return "\n".join("| " + " | ".join(row) + " |" for row in table)


def cell(of: Rows, settled: dict[str, str | list[str]]) -> str:
    """The figures of one cell, absent where a run was not made."""
    how = str(settled.pop("how"))
    several = [value if isinstance(value, list) else [value] for value in settled.values()]
    wanted = [dict(zip(settled, values, strict=True)) for values in product(*several)]
    return " / ".join(format(of.maybe(**w), how) for w in wanted)
