"""`Running`: sums over cells that are added to in place, block by block."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

MOSTLY_ZEROS = 0.15  # share of a block that is not zero, up to which its zeros are passed over
FEWEST = 1 << 20  # entries of a block below which that is not worth compiling for
PANELS = 8  # of columns, of a symmetric product: 9/16 of its multiplications
FEW_GENES = 256  # up to which it is made in one piece


class Running:
    """Counts, means, cross-products and squares of `GramStatistics`, (context, …) float64.

    Sums of a block are taken around its own means and moved to the means of all (Chan, Golub & LeVeque 1983), so that
    neither the number of cells nor a large mean costs digits. One table of the size of ``cross`` is all that is held.

    Parameters
    ----------
    contexts, genes
        Their numbers.
    tf_index
        ``(tf,)`` places of the regulators among the genes.
    """

    def __init__(self, contexts: int, genes: int, tf_index: Tensor) -> None:
        self.tf = tf_index
        zeros = lambda *shape: torch.zeros(shape, dtype=torch.float64, device=tf_index.device)
        self.count, self.mean = zeros(contexts), zeros(contexts, genes)
        self.cross, self.square = zeros(contexts, len(tf_index), genes), zeros(contexts, genes)
        self.minimum = zeros(genes) + torch.inf
        every = len(tf_index) == genes > FEW_GENES and torch.equal(tf_index.cpu(), torch.arange(genes))
        self.panels = [slice(genes * i // PANELS, genes * (i + 1) // PANELS) for i in range(PANELS)] if every else []

    def add(self, block: Tensor, context: Tensor | None) -> None:
        """Cells more: ``(cell, gene)`` of any float type, and their contexts."""
        self.minimum = torch.minimum(self.minimum, block.min(0).values.double())
        for k in range(len(self.count)):
            rows = block if context is None else block[context == k]
            if len(rows):
                self._add(k, rows)

    def _add(self, k: int, rows: Tensor) -> None:
        number, before = float(len(rows)), float(self.count[k])
        mean, square = self._products(k, rows)
        shift = mean - self.mean[k]
        share = number / (before + number)
        self.cross[k].addmm_((before * share * shift[self.tf])[:, None], shift[None])
        self.square[k] += square + before * share * shift**2
        self.mean[k] += share * shift
        self.count[k] += number

    def mirrored(self) -> Tensor:
        """``cross``, with what lies below its diagonal where all genes are regulators in their order: blocks only add
        to what lies on it and above."""
        for cross in self.cross if self.panels else ():
            for part in self.panels:
                cross[part.stop :, part] = cross[part, part.stop :].T
                above = cross[part, part].triu()
                cross[part, part] = above + above.triu(1).T
        return self.cross

    def _products(self, k: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """``(gene,)`` means of the block and squares around them; its cross-products go to those of context k."""
        entries = _entries(rows)
        if entries is None:
            rows = rows.to(torch.float64, copy=True)
            mean = rows.mean(0)
            rows -= mean
            for part in self.panels:
                self.cross[k, part, part.start :].addmm_(rows[:, part].T, rows[:, part.start :])
            if not self.panels:
                self.cross[k].addmm_(rows[:, self.tf].T, rows)
            return mean, rows.square_().sum(0)
        from .products import add_products, column_moments

        genes = rows.shape[1]
        means, squares = np.empty((2, genes))
        column_moments(*entries, means, squares)
        order = np.full(genes, -1, np.int64)
        order[self.tf.numpy()] = np.arange(len(self.tf))
        add_products(*entries, order, self.cross[k].numpy())
        centre = torch.from_numpy(means)
        self.cross[k].addmm_((-float(len(rows)) * centre[self.tf])[:, None], centre[None])
        return centre, torch.from_numpy(squares)


def _entries(rows: Tensor) -> "tuple[np.ndarray, Any, Any] | None":
    """What of a block is not zero, as of `products.compressed`; None where that is too much."""
    if rows.device.type != "cpu" or rows.numel() < FEWEST:
        return None
    some = rows[:: max(1, len(rows) // 64)]
    if float((some != 0).double().mean()) > MOSTLY_ZEROS:
        return None
    from .products import compressed  # here: numba takes half a second

    room = int(1.2 * MOSTLY_ZEROS * rows.numel())
    start = np.empty(len(rows) + 1, np.int64)
    place, value = np.empty(room, np.int32), np.empty(room, rows.numpy().dtype)
    number = compressed(rows.contiguous().numpy(), start, place, value)
    return None if number < 0 else (start, place[:number], value[:number])
