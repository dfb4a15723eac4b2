"""Rows of one results file, found by what their columns say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .figure import Figure

ENDED = "whole part"  # `benchmarks.results.WHOLE`, whose import takes seconds

Row = Mapping[Hashable, Any]
Found = tuple[tuple[str, ...], tuple[str, ...]]  # columns, and what they say


class Rows:
    """Rows ``task, method, seed, score, value, se`` of a section of the benchmarks, of which some columns are settled.

    Called with the other columns it gives the one figure of that row:
    ``rows.where(task="sergio_ds1:clean")(method="linear", score="ece")``.

    Pages ask thousands of times for single rows of tables of thousands: what was asked by some columns is kept by what
    these say, so that each file is walked once for each set of columns.
    """

    def __init__(self, rows: Sequence[Row], name: str = "rows") -> None:
        self.rows, self.name = rows, name
        self._by: dict[tuple[str, ...], dict[tuple[str, ...], list[Row]]] = {}
        self._where: dict[Found, Rows] = {}

    @classmethod
    def read(cls, file: Path) -> Rows:
        """Of a csv file that the benchmarks wrote, without the rows that say which parts have ended; seeds stay text
        (``0-2`` is the mean of three)."""
        table = pd.read_csv(file, dtype=dict.fromkeys(("task", "method", "seed", "score", "commit"), str))
        return cls(table[table["method"] != ENDED].to_dict("records"), file.name)

    def where(self, **more: str) -> Rows:
        """With further columns settled."""
        asked: Found = (tuple(more), tuple(more.values()))
        if asked not in self._where:
            name = self.name + "".join(f", {column} {text!r}" for column, text in more.items())
            self._where[asked] = Rows(self.all(**more), name)
        return self._where[asked]

    def __call__(self, **more: str) -> Figure:
        """The one figure of these columns.

        Raises
        ------
        ValueError
            No row, or rows that differ.
        """
        found = {str(figure): figure for figure in map(figure_of, self.all(**more))}  # as text nan equals nan
        if len(found) != 1:
            raise ValueError(f"{self.name} has {len(found)} different rows for {more}, not one")
        return next(iter(found.values()))

    def maybe(self, **more: str) -> Figure:
        """The figure, or an absent one where the run was not made."""
        return self(**more) if self.all(**more) else Figure(float("nan"))

    def with_sd(self, *, score: str, **more: str) -> Figure:
        """The figure with the standard deviation that stands in a row of its own, ``NAME_sd`` or ``NAME: sd``."""
        figure = self.maybe(**more | {"score": score})
        spread = [self.maybe(**more | {"score": score + ending}).value for ending in ("_sd", ": sd")]
        return Figure(figure.value, next((sd for sd in spread if sd == sd), float("nan")))

    def all(self, **more: str) -> Sequence[Row]:
        """All rows of these columns, in the order of the file."""
        if not more:
            return self.rows
        columns = tuple(more)
        if columns not in self._by:
            by = self._by[columns] = defaultdict(list)
            for row in self.rows:
                by[tuple(row[column] for column in columns)].append(row)
        return self._by[columns].get(tuple(more.values()), [])

    def values(self, column: str, **more: str) -> list[str]:
        """What a column says in these rows, each once."""
        return list(dict.fromkeys(row[column] for row in self.all(**more)))

    def least(self, **more: str) -> Figure:
        """The row with the smallest value."""
        return min(self.known(**more), key=lambda figure: figure.value)

    def most(self, **more: str) -> Figure:
        """The row with the largest value."""
        return max(self.known(**more), key=lambda figure: figure.value)

    def known(self, **more: str) -> list[Figure]:
        """The figures of all rows of these columns that have one; ``ValueError`` where none has."""
        found = [figure for figure in map(figure_of, self.all(**more)) if figure.value == figure.value]
        if not found:
            raise ValueError(f"{self.name} has no figure for {more}")
        return found

    def above(self, other: Rows, tasks: list[str]) -> str:
        """On how many of the tasks that both have the value is larger: ``5 of 9``."""
        pairs = [(self.maybe(task=task).value, other.maybe(task=task).value) for task in tasks]
        both = [(first, second) for first, second in pairs if first == first and second == second]
        return f"{sum(first > second for first, second in both)} of {len(both)}"


def figure_of(row: Row) -> Figure:
    """The figure of a row."""
    return Figure(float(row["value"]), float(row["se"]))
