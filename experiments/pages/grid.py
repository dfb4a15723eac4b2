"""A table of figures, declared by what its lines and columns stand for."""

from collections.abc import Mapping
from itertools import product

from .figure import Figure
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
        in a cell. Beside columns of the file, ``how`` sets the format there, ``over="seeds"`` takes the mean of
        the single seeds and ``over="sd"`` puts the standard deviation in place of the error.
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
    how, over = str(settled.pop("how")), str(settled.pop("over", ""))
    several = [value if isinstance(value, list) else [value] for value in settled.values()]
    wanted = [dict(zip(settled, values, strict=True)) for values in product(*several)]
    look_up = {"seeds": of.mean, "sd": of.with_sd, "": of.maybe}[over]
    figures: list[Figure] = [look_up(**w) for w in wanted]
    return " / ".join(format(figure, how) for figure in figures)
