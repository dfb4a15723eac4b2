"""Counts behind the values of cells, as far as the data still tell them."""

from dataclasses import replace

import numpy as np

from .expression import ExpressionData
from .scale import COUNTS, LOG_COUNTS, scale_of

LOOKED_AT = 500  # cells by which the scale is told


def counts_behind(data: ExpressionData, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """``(row, gene)`` values of the file before they were normalised here, and whether these are counts.

    Logarithms of counts scaled to a common total are undone: the smallest value of a cell that is not zero is taken for
    one count, and the others are multiples of it.

    Parameters
    ----------
    data
        Cells; a normalisation that is applied as blocks are read is left out.
    rows
        Positions of the cells.
    """
    values = replace(data, transform=None).rows(rows).double().cpu().numpy()
    step = -(-len(values) // LOOKED_AT)
    kind = scale_of(values[::step]).kind
    if kind != LOG_COUNTS:
        return values, kind == COUNTS
    undone = [undo(values) for undo in (np.expm1, lambda x: np.exp2(x) - 1, lambda x: 10.0**x - 1)]
    counts, rest = min(((_in_steps(levels)) for levels in undone), key=lambda found: found[1])
    return (counts, True) if rest < 0.05 else (values, False)


def _in_steps(levels: np.ndarray) -> tuple[np.ndarray, float]:
    """Levels of each cell in units of its smallest, and how far they are from whole numbers, median over cells."""
    positive = np.where(levels > 0, levels, np.inf)
    least = positive.min(1, keepdims=True)
    counts = np.where(np.isfinite(least), levels / least, 0.0)
    small = (counts > 1.5) & (counts < 50)
    off = np.where(small, np.abs(counts - counts.round()), np.nan)
    known = small.any(1)
    return counts.round(), float(np.median(np.nanmean(off[known], axis=1))) if known.any() else np.inf
