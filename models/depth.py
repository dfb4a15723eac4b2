r"""The depth of cells as an offset of count likelihoods.

.. math:: \log s_{cv} = \log \frac{\sum_{g} y_{cg}}{\sum_{g} \bar y_g}

over the genes g of view v that cell c has a value of, with :math:`\bar y_g` the mean over the cells of the fit: the
total over the mean total, which a gene that a new cell lacks changes above and below alike.
"""

import torch
from torch import Tensor

from .data.cell_labels import name_of
from .data.expression import ExpressionData
from .likelihoods import LIKELIHOODS, NEGATIVE_BINOMIAL
from .state import State

TOTALS, NO_DEPTH = "totals", "none"
DEPTHS = (TOTALS, NO_DEPTH)
LEAST = 0.5  # counts of a cell: one without any has a depth that is small and not zero


def check_depth(depth: str) -> None:
    """Refuse a name that is none of `DEPTHS`."""
    if depth not in DEPTHS:
        raise ValueError(f"depth={depth!r}: expected one of {', '.join(DEPTHS)}")


def log_size_factors(Y: Tensor, typical: Tensor, view: Tensor, counts: Tensor) -> Tensor:
    """``(cell, gene)`` log depth of each cell in the view of each gene; 0 for genes that are no counts, and for views
    of which a cell has no value.

    Parameters
    ----------
    Y
        ``(cell, gene)`` counts, NaN where missing.
    typical
        ``(gene,)`` mean counts in the fit.
    view, counts
        ``(gene,)`` codes of the views, and which genes are counts.
    """
    offset = torch.zeros_like(Y)
    for code in view[counts].unique().tolist():
        genes = torch.nonzero(counts & (view == code)).flatten()
        part = Y[:, genes]
        seen = ~part.isnan()
        expected = (seen.to(Y) * typical[genes]).sum(1)
        log_depth = part.nan_to_num().sum(1).clamp_min(LEAST).log() - expected.clamp_min(1e-12).log()
        offset[:, genes] = torch.where(seen.any(1), log_depth, 0.0)[:, None]
    return offset


def depth_notes(data: ExpressionData, offset: Tensor, kinds: Tensor, depth: str) -> tuple[str, ...]:
    """What is taken as depth of the counts, in one line."""
    counts = kinds.to(offset.device) == LIKELIHOODS.index(NEGATIVE_BINOMIAL)
    used = (offset if offset.shape[1] == 1 else offset[:, counts]).exp()
    span = f"from {float(used.min()):.2g} to {float(used.max()):.2g}"
    if data.size_factor is not None:
        return (f"counts: the size factors of the data ({span}) are the offset of the cells' depth",)
    if depth != TOTALS:
        return ("counts: no offset for the depth of cells: a program of all genes may stand for it",)
    return (
        f"counts: each cell's total over the mean total ({span}) is the offset of its depth; `depth=none` leaves it "
        "out",
    )


# -- cells by name, as a model keeps and stores them ----------------------------------------
def cell_names(data: ExpressionData) -> tuple[str, ...]:
    """The names of the cells, or their numbers."""
    return tuple(name_of(data.labels, cell) for cell in range(data.num_cells))


def stored_cell_names(state: State) -> tuple[str, ...]:
    """Of a stored model; those of before names were kept have the number of cells."""
    if "cells" in state.entries:
        return state.names("cells")
    return tuple(str(cell) for cell in range(state.integer("num_cells")))


def stored_depth(state: State) -> str:
    """Of a stored model; those of before depth was an offset had none."""
    return state.name("depth") if "depth" in state.entries else NO_DEPTH
