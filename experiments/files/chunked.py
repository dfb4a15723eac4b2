"""`chunked_statistics`: Gram statistics of a file larger than memory, by Dask."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...models import ExpressionData, GramStatistics
from ..sweep import dask_client

if TYPE_CHECKING:
    from distributed import Client


def chunked_statistics(
    open_data: Callable[[], ExpressionData], *, client: "Client", rows: int = 65_536
) -> GramStatistics:
    r"""The sufficient statistics of all cells, from workers that each read a part of them.

    Statistics of disjoint sets of cells add up (`GramStatistics`), so each worker opens the file, sums over ``rows``
    cells at a time; these are added in pairs, in an order that does not depend on the workers. The
    result equals ``open_data().statistics()`` up to the rounding of float64. A linear network is then
    ``LinearNetwork(statistics)``.

    Parameters
    ----------
    open_data
        Opens the data without reading them, here and in every worker:
        ``functools.partial(read_expression, "cells.zarr", tfs=tfs, backed=True)``. Workers must see the same path.
    client
        A ``distributed.Client`` whose workers have one thread each.
    rows
        Cells of one task, at least a few times the file's own chunks, which are read whole. Default 65,536. A worker
        holds 8,192 of them at a time in float64 (130 MB for 2,000 genes) and the sums (tf × gene in float64).

    Returns
    -------
    GramStatistics
        With the corrections of cells under intervention.

    Raises
    ------
    ValueError
        ``rows`` below 1, a missing value, workers that cannot import pyrogrn or have several threads.
    """
    from dask import delayed

    if rows < 1:
        raise ValueError(f"rows={rows}: expected at least 1 cell in a task")
    dask = dask_client(client)
    total = open_data().num_cells
    sums = [delayed(part_statistics)(open_data, start, min(start + rows, total)) for start in range(0, total, rows)]
    while len(sums) > 1:
        pairs = [delayed(GramStatistics.__add__)(a, b) for a, b in zip(sums[::2], sums[1::2], strict=False)]
        sums = pairs + sums[2 * len(pairs) :]
    return dask.compute(sums[0]).result()


def part_statistics(open_data: Callable[[], ExpressionData], start: int, stop: int) -> GramStatistics:
    """Statistics of the cells from ``start`` to before ``stop``."""
    return GramStatistics.from_data(open_data(), cells=range(start, stop))
