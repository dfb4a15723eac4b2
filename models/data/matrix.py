"""Row-sliceable expression matrices: dense tensors, scipy sparse matrices, and backed files are read in the same
way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

RowTransform = Callable[[Tensor], Tensor]


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
    """
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
