"""The edges of a block of regulators, one regulator after the other, compiled: what `sweep.sweep` does between two
matrix products, with every value in cache."""

import numpy as np

from ..sparse.compiled import compiled

TILE = 256  # columns at a time: their residuals of a block of 32 regulators take 32 KB


@compiled
def draw_block(
    start: int,
    gram: np.ndarray,
    current: np.ndarray,
    precision: np.ndarray,
    odds: np.ndarray,
    slab: np.ndarray,
    spike: np.ndarray,
    pull: np.ndarray,
    noise: tuple[np.ndarray, np.ndarray, np.ndarray],
    allowed: np.ndarray,
    state: tuple[np.ndarray, np.ndarray, np.ndarray],
    step: np.ndarray,
) -> None:
    """Draw γ and W of each regulator of a block given the others; in place.

    Parameters
    ----------
    start
        Place of the first of the block's rows among the regulators.
    gram
        ``(block, tf, tf)``, of one context.
    current
        ``(block, row, column)`` residuals b − G w, kept current.
    precision
        ``(block, column)`` 1/σ².
    odds
        ``(block, row, column)`` log-odds of an edge before the data speak; afterwards with them.
    slab, spike
        ``(block, row, column)`` variances of W given everything else where the edge exists, and where it does not.
    pull
        ``(block, row, column)`` mean over variance of the slab; ``(block, row, 0)`` where that is zero.
    noise
        ``(block, row, column)`` each: the log-odds below which an edge exists, and deviations of W from its mean, of a
        slab and of a spike.
    allowed
        ``(block, tf, column)`` 0/1.
    state
        ``(block, tf, column)`` each: weights; whether edges exist; log-odds, as ``odds``.
    step
        ``(block, row, column)`` receives by how much the weights change.
    """
    threshold, wide, narrow = noise
    weight, gate, logit = state
    fits, rows, columns = current.shape
    shifted = pull.shape[2] > 0
    for fit in range(fits):
        for first in range(0, columns, TILE):
            last = min(first + TILE, columns)
            for row in range(rows):
                place = start + row
                diagonal = gram[fit, place, place]
                for column in range(first, last):
                    old = weight[fit, place, column]
                    m = (current[fit, row, column] + diagonal * old) * precision[fit, column]
                    raised = m
                    if shifted:
                        raised = m + pull[fit, row, column]
                    i1, i0 = slab[fit, row, column], spike[fit, row, column]
                    found = odds[fit, row, column] + np.float32(0.5) * (raised * raised * i1 - m * m * i0)
                    exists = found > threshold[fit, row, column]
                    present, absent = raised * i1 + wide[fit, row, column], m * i0 + narrow[fit, row, column]
                    new = (present if exists else absent) * allowed[fit, place, column]
                    logit[fit, place, column] = found
                    gate[fit, place, column] = 1.0 if exists else 0.0
                    weight[fit, place, column] = new
                    step[fit, row, column] = new - old
                for below in range(row + 1, rows):
                    product = gram[fit, start + below, place]
                    for column in range(first, last):
                        current[fit, below, column] -= product * step[fit, row, column]
