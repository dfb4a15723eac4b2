"""Row-sliceable expression matrices: dense tensors, scipy sparse matrices, and backed files are read in the same
way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .memory import require_memory

RowTransform = Callable[[Tensor], Tensor]

MOST_ROWS = 8192  # of a block
BLOCK_BYTES = 1 << 27  # of a block in float64


def rows_at_once(columns: int) -> int:
    """Rows of a block: 8,192, fewer from 2,048 columns on, so that a block in float64 stays within 134 MB."""
    return max(min(MOST_ROWS, BLOCK_BYTES // (8 * columns)), 1)


def read_rows(matrix: Any, rows: slice | np.ndarray, dtype: torch.dtype) -> Tensor:
    """Return the rows of ``matrix`` as one dense CPU or device tensor.

    Parameters
    ----------
    matrix
        A ``torch.Tensor``, a scipy sparse matrix, or anything on disk that slices by rows (h5py, zarr, a backed
        AnnData's ``.X``).
    rows
        A slice, or integer positions in any order; files are read in increasing order, as h5py demands, and put back.
    dtype
        Floating type of the result.

    Returns
    -------
    Tensor
        ``(row, column)``.

    Raises
    ------
    ValueError
        They need more memory than there is.
    """
    number = len(range(*rows.indices(matrix.shape[0]))) if isinstance(rows, slice) else len(rows)
    if not isinstance(matrix, Tensor):
        require_memory(
            number * matrix.shape[1] * dtype.itemsize,
            f"a dense matrix of {number} x {matrix.shape[1]} numbers",
            "use fewer cells or genes, or a method that streams (linear, muvi)",
        )
    if isinstance(matrix, Tensor):
        index = rows if isinstance(rows, slice) else torch.as_tensor(rows, device=matrix.device)
        return matrix[index].to(dtype)
    if isinstance(rows, slice) or sp.issparse(matrix):
        block = matrix[rows]
    else:
        order = np.argsort(rows, kind="stable")
        block = matrix[rows[order]]
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        block = block[inverse]
    if sp.issparse(block):
        block = block.toarray()
    return torch.as_tensor(np.ascontiguousarray(block)).to(dtype)
