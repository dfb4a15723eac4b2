"""Cross-products of blocks that are mostly zeros, from what is not zero."""

from functools import partial

import numpy as np

from ..compiled import compiled

in_order = partial(compiled, fastmath=False)  # sums as they are written


@in_order
def compressed(block: np.ndarray, start: np.ndarray, place: np.ndarray, value: np.ndarray) -> int:
    """The entries of ``block`` (row, column) that are not zero: ``start`` (row + 1,), and the ``place`` and ``value``
    of each; their number, or −1 where there is no room for all."""
    count = 0
    start[0] = 0
    for row in range(block.shape[0]):
        for column in range(block.shape[1]):
            entry = block[row, column]
            if entry != 0:
                if count == len(place):
                    return -1
                place[count] = column
                value[count] = entry
                count += 1
        start[row + 1] = count
    return count


@compiled  # as of a product of dense matrices: sums in any order
def add_products(start: np.ndarray, place: np.ndarray, value: np.ndarray, order: np.ndarray, cross: np.ndarray) -> None:
    """``cross`` (chosen, column) gains Σ_row x_row,t x_row of each chosen column t; ``order`` (column,) is the place of
    a column among those chosen, or −1. One chosen column at a time: its sums stay in cache."""
    first = np.zeros(len(cross) + 1, np.int64)  # of the entries of each chosen column
    for entry in range(start[-1]):
        chosen = order[place[entry]]
        if chosen >= 0:
            first[chosen + 1] += 1
    for chosen in range(len(cross)):
        first[chosen + 1] += first[chosen]
    rows = np.empty(first[-1], np.int64)
    levels = np.empty(first[-1], value.dtype)
    filled = first[:-1].copy()
    for row in range(len(start) - 1):
        for entry in range(start[row], start[row + 1]):
            chosen = order[place[entry]]
            if chosen >= 0:
                rows[filled[chosen]] = row
                levels[filled[chosen]] = value[entry]
                filled[chosen] += 1
    for chosen in range(len(cross)):
        sums = cross[chosen]
        for at in range(first[chosen], first[chosen + 1]):
            level = np.float64(levels[at])
            for entry in range(start[rows[at]], start[rows[at] + 1]):
                sums[place[entry]] += level * np.float64(value[entry])


@in_order
def column_moments(
    start: np.ndarray, place: np.ndarray, value: np.ndarray, mean: np.ndarray, square: np.ndarray
) -> None:
    """Means of the columns, and sums of squares around them, zeros included."""
    rows = len(start) - 1
    number = np.zeros(len(mean), np.int64)
    mean[:] = 0.0
    for entry in range(start[-1]):
        mean[place[entry]] += np.float64(value[entry])
        number[place[entry]] += 1
    for column in range(len(mean)):
        mean[column] /= rows
        square[column] = (rows - number[column]) * mean[column] ** 2
    for entry in range(start[-1]):
        square[place[entry]] += (np.float64(value[entry]) - mean[place[entry]]) ** 2
