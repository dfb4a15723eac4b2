"""Rows of one results file, found by what their columns say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .figure import Figure

ENDED = "whole part"  # `benchmarks.results.WHOLE`, whose import takes seconds


class Rows:
    """Rows ``task, method, seed, score, value, se`` of a section of the benchmarks, of which some columns are settled.

    Called with the other columns it gives the one figure of that row:
    ``rows.where(task="sergio_ds1:clean")(method="linear", score="ece")``.
    """

    def __init__(self, table: pd.DataFrame, name: str = "rows") -> None:
        self.table, self.name = table, name

    @classmethod
    def read(cls, file: Path) -> Rows:
        """Of a csv file that the benchmarks wrote, without the rows that say which parts have ended; seeds stay text
        (``0-2`` is the mean of three)."""
        table = pd.read_csv(file, dtype=dict.fromkeys(("task", "method", "seed", "score", "commit"), str))
        return cls(table[table["method"] != ENDED], file.name)

    def where(self, **more: str) -> Rows:
        """With further columns settled."""
        return Rows(self.all(**more), self.name + "".join(f", {column} {text!r}" for column, text in more.items()))

    def __call__(self, **more: str) -> Figure:
        """The one figure of these columns.

        Raises
        ------
        ValueError
            No row, or rows that differ.
        """
        found = self.all(**more).drop_duplicates(["value", "se"])
        if len(found) != 1:
            raise ValueError(f"{self.name} has {len(found)} different rows for {more}, not one")
        return first(found)

    def maybe(self, **more: str) -> Figure:
        """The figure, or an absent one where the run was not made."""
        return self(**more) if len(self.all(**more)) else Figure(float("nan"))

    def with_sd(self, *, score: str, **more: str) -> Figure:
        """The figure with the standard deviation that stands in a row of its own, ``NAME_sd`` or ``NAME: sd``."""
        figure = self.maybe(**more | {"score": score})
        spread = [self.maybe(**more | {"score": score + ending}).value for ending in ("_sd", ": sd")]
        return Figure(figure.value, next((sd for sd in spread if sd == sd), float("nan")))

    def all(self, **more: str) -> pd.DataFrame:
        """All rows of these columns, in the order of the file."""
        table = self.table
        for column, text in more.items():
            table = table[table[column] == text]
        return table

    def values(self, column: str, **more: str) -> list[str]:
        """What a column says in these rows, each once."""
        return list(dict.fromkeys(self.all(**more)[column]))

    def least(self, **more: str) -> Figure:
        """The row with the smallest value."""
        return first(self.all(**more).sort_values("value"))

    def most(self, **more: str) -> Figure:
        """The row with the largest value."""
        return first(self.all(**more).sort_values("value", ascending=False))

    def above(self, other: Rows, tasks: list[str]) -> str:
        """On how many of the tasks that both have the value is larger: ``5 of 9``."""
        pairs = [(self.maybe(task=task).value, other.maybe(task=task).value) for task in tasks]
        both = [(first, second) for first, second in pairs if first == first and second == second]
        return f"{sum(first > second for first, second in both)} of {len(both)}"


def first(table: pd.DataFrame) -> Figure:
    """The figure of the first row."""
    value, error = table[["value", "se"]].to_numpy(dtype=float)[0]
    return Figure(float(value), float(error))
