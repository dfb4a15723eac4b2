"""Which axis of a table holds the genes, decided by names that are known to be names of genes."""

from collections.abc import Collection
from typing import Literal

Axis = Literal["rows", "columns"]


def is_bare_integer(name: str) -> bool:
    """Whether a name is nothing but digits: an Entrez id, or the number of a row."""
    return name.strip().isdecimal()


def is_counting(names: Collection[str]) -> bool:
    """Whether names only count: 0, 1, 2, ... or 1, 2, 3, ..., in any order."""
    if not names or not all(map(is_bare_integer, names)):
        return False
    numbers = {int(name) for name in names}
    return len(numbers) == len(names) and min(numbers) in (0, 1) and max(numbers) - min(numbers) == len(numbers) - 1


def count_votes(rows: Collection[str], columns: Collection[str], genes: Collection[str]) -> tuple[int, int]:
    """How many of the names in ``genes`` are among the rows and among the columns.

    Bare integers match row numbers by accident. They are counted only where no other name matches, and only on an axis
    whose names do more than count (Entrez ids do).
    """
    wanted = {str(gene) for gene in genes}
    words = {gene for gene in wanted if not is_bare_integer(gene)}
    in_rows, in_columns = words.intersection(map(str, rows)), words.intersection(map(str, columns))
    if not in_rows and not in_columns:
        numbers = wanted - words
        in_rows = set() if is_counting(rows) else numbers.intersection(map(str, rows))
        in_columns = set() if is_counting(columns) else numbers.intersection(map(str, columns))
    return len(in_rows), len(in_columns)


def genes_axis(rows: Collection[str], columns: Collection[str], genes: Collection[str]) -> Axis | None:
    """The axis that has more of the names in ``genes``, columns where both have as many; None where neither has any."""
    in_rows, in_columns = count_votes(rows, columns, genes)
    if in_rows == in_columns == 0:
        return None
    return "rows" if in_rows > in_columns else "columns"
