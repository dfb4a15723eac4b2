"""Values of cells that are read block by block."""

import numpy as np
import torch
from torch import Tensor

from .cells import Cells
from .matrix import rows_at_once
from .memory import require_memory


def gathered(data: Cells, cells: np.ndarray | None = None) -> Tensor:
    """``(cell, gene)`` values of the cells at ``cells``, by default all: what is held beside them is one block of the
    matrix, which may have many more columns than there are genes.

    Raises
    ------
    ValueError
        They need more memory than there is.
    """
    number = data.num_cells if cells is None else len(cells)
    size, step = f"{number} x {data.num_genes}", rows_at_once(data.num_columns)
    remedy = "use fewer cells or genes, or a method that streams (linear, muvi)"
    require_memory(4 * number * data.num_genes, f"a dense matrix of {size} numbers", remedy)
    found: Tensor | None = None
    for start in range(0, max(number, 1), step):
        rows = slice(start, min(start + step, number))
        block = data.rows(rows if cells is None else cells[rows])
        if found is None:
            if number <= step:
                return block
            found = torch.empty(number, data.num_genes, dtype=block.dtype, device=block.device)
        found[rows] = block
    assert found is not None, "one block is read"
    return found
