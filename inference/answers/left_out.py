r"""What a fit would have predicted of a value without having seen it."""

import numpy as np

from .results import CellPredictions

MOST_OWN = 0.9  # beyond it draws of the mean follow the value itself, and tell little of what the others say


def left_out(cells: CellPredictions) -> CellPredictions:
    r"""Predictions of values of the fit, each by the others alone; values that nothing else predicts are left out.

    A fit has seen the values that it is checked on. With nearly as many regulators as cells its means follow them, and
    intervals around these means hold nearly all of them however right the noise is. Where the mean of a value has
    posterior :math:`N(\hat m, v)` and the value is :math:`N(m, \sigma^2)`, leaving it out divides its likelihood out:

    .. math:: m \mid y_{-i} \sim N\!\Big(\hat m - \frac{h}{1-h}(y_i-\hat m),\ \frac{v}{1-h}\Big),
        \qquad h = v/\sigma^2,

    exact for regressions, where h is the leverage. Here the draws of the mean are moved and stretched to these moments,
    which needs no importance weights: those of fifty draws are useless from h = 0.5 on (Vehtari et al. 2017).

    Parameters
    ----------
    cells
        Of `predict_cells`, of the data that were fitted: new cells have not been seen, and are not to be left out.

    Returns
    -------
    CellPredictions
        Of the values of which h is at most 0.9 (``MOST_OWN``); it may have none.
    """
    mean = cells.mean.mean((0, 1))  # (observation,)
    noise = np.square(cells.sd).mean((0, 1))
    own = np.divide(cells.mean.var((0, 1)), noise, out=np.full(noise.shape, np.inf), where=noise > 0)
    kept = np.flatnonzero(own <= MOST_OWN)
    free = 1 - own[kept]
    observed = cells.observed[kept]
    centre = mean[kept] - (own[kept] / free) * (observed - mean[kept])
    moved = centre + (cells.mean[..., kept] - mean[kept]) / np.sqrt(free)
    labels = [cells.labels[i] for i in kept.tolist()]
    return CellPredictions(observed, moved, cells.sd[..., kept], labels, cells.cell[kept])
