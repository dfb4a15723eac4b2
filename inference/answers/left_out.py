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

    exact for a regression with known noise and a normal posterior, where h is the leverage; sampled noise keeps what
    this value told of it (60 cells, 40 regulators, flat prior: intervals of 90% hold 91.5%, where those of exact
    leave-one-out hold 90%). Here the draws of the mean are moved and stretched to these moments, which needs no
    importance weights: those of fifty draws are useless from h = 0.5 on (Vehtari et al. 2017). Of few draws h is rough,
    and where it is near 0.9 those that are kept are too well predicted: `checked_cells` says when too few are.

    Parameters
    ----------
    cells
        Of `predict_cells`, of the data that were fitted: new cells have not been seen, and are not to be left out. The
        variance is that of a value given the mean: not of models whose ``sd`` has the leverage in it (`panel_cells`).

    Returns
    -------
    CellPredictions
        Of the values of which h is at most 0.9 (``MOST_OWN``); it may have none. Values with a draw that is not finite,
        as of trajectories that blow up, are in it as they are: it is a fault of the fit that no check should miss.
    """
    finite = np.isfinite(cells.mean).all((0, 1)) & np.isfinite(cells.sd).all((0, 1))  # (observation,)
    own = np.zeros(len(finite))
    own[finite] = _own_share(cells.mean[..., finite], cells.sd[..., finite])
    kept = np.flatnonzero(own <= MOST_OWN)
    moved, known = cells.mean[..., kept], finite[kept]
    moved[..., known] = _without_own(moved[..., known], cells.observed[kept][known], own[kept][known])
    labels = [cells.labels[i] for i in kept.tolist()]
    return CellPredictions(cells.observed[kept], moved, cells.sd[..., kept], labels, cells.cell[kept])


def _own_share(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """``(observation,)`` h; infinite without noise."""
    noise = np.square(sd).mean((0, 1))
    return np.divide(mean.var((0, 1)), noise, out=np.full(noise.shape, np.inf), where=noise > 0)


def _without_own(draws: np.ndarray, observed: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Draws of the mean, moved and stretched to the moments of `left_out`."""
    mean, free = draws.mean((0, 1)), 1 - own
    centre = mean - (own / free) * (observed - mean)
    return np.asarray(centre + (draws - mean) / np.sqrt(free))
