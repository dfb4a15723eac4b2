"""Correlations within groups of cells, shares between batches, and how often chance alone gives as much."""

import numpy as np
from scipy.special import fdtrc, stdtr  # `scipy.stats` takes half a second to import


def centred(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """``values`` ``(cell, ...)`` less their mean in each group of ``codes`` ``(cell,)``."""
    values = np.asarray(values, dtype=float)
    out = values.copy()
    for code in np.unique(codes):
        out[codes == code] -= values[codes == code].mean(0)
    return out


def correlation(score: np.ndarray, values: np.ndarray, lost: int) -> tuple[np.ndarray, np.ndarray]:
    r"""``(program,)`` correlation r, 0 where one of both does not vary, and its probability under independence.

    .. math:: t = r \sqrt{\nu / (1 - r^2)} \sim t_\nu, \qquad \nu = n - \text{lost} - 1

    Parameters
    ----------
    score, values
        Centred, ``(cell, program)`` and ``(cell,)`` or ``(cell, program)``.
    lost
        Degrees of freedom that means and covariates took.
    """
    values = values if values.ndim == 2 else values[:, None]
    size = np.sqrt((score**2).sum(0) * (values**2).sum(0))
    r = np.divide((score * values).sum(0), size, out=np.zeros(score.shape[1]), where=size > 1e-12)
    free = len(score) - lost - 1
    if free < 1:
        return r, np.ones_like(r)
    t = np.abs(r) * np.sqrt(free / (1 - r**2).clip(1e-15))
    return r, 2 * stdtr(free, -t)


def between(score: np.ndarray, batch: np.ndarray, codes: np.ndarray, lost: int) -> tuple[np.ndarray, np.ndarray]:
    """``(program,)`` share of the scores' variance within groups that is between batches, less what chance gives, and
    the probability of so large a share under independence (F test).

    Parameters
    ----------
    score
        ``(cell, program)``.
    batch, codes
        ``(cell,)`` codes of the batches and of the groups.
    lost
        Degrees of freedom that means of groups and covariates took.
    """
    within = centred(score, codes)
    total = (within**2).sum(0)
    cells = np.unique(np.stack([codes, batch]), axis=1, return_inverse=True)[1].reshape(-1)
    rest = (centred(within, cells) ** 2).sum(0)
    groups = len(np.unique(cells)) - len(np.unique(codes))
    left = len(score) - groups - lost
    if groups < 1 or left < 1:
        return np.zeros(score.shape[1]), np.ones(score.shape[1])
    share = 1 - rest / left / (total / (left + groups)).clip(1e-12)
    ratio = (total - rest) / groups / (rest / left).clip(1e-300)
    chance = np.where(total > 1e-12, fdtrc(groups, left, ratio), 1.0)
    return share.clip(0, 1), chance
