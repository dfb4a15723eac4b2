r"""Levels as they are behind their measurement: what a regression on noisy regressors is to be given."""

import math

import torch
from torch import Tensor

ROUNDS = 50  # of the mixture's two numbers; they stand at the third digit after twenty
MAD_TO_SD = 1.4826  # of a normal distribution
LEAST_SHARE, LEAST_SPREAD = 1e-3, 1e-2  # of levels that moved, and the sd (in logs) by which


def levels_behind(logs: Tensor, clamped: Tensor, measurement: float) -> Tensor:
    r"""``(condition, gene)`` expectation of the true log levels given the measured ones (regression calibration).

    .. math:: \log x_{ci} = m_i + s_{ci} + \tau e_{ci}, \qquad
              s_{ci} \sim (1 - \pi)\,N(0, d_i^2) + \pi\,N(0, d_i^2 + r^2)

    A condition moves few genes far (π, r) and all of them a little: :math:`d_i^2`, what is left of the gene's robust
    variance when :math:`\tau^2` is taken off. A regression on :math:`E[s \mid z]` has no attenuation (Carroll et al.
    2006, ch. 4), where one on z shares out the effect of a regulator among all whose noise looks like it. m is a
    median; π and r² are found by expectation maximisation over all genes of the context. Clamped levels stay: they are
    held, and what is measured of them is far from the rest.

    Parameters
    ----------
    logs
        ``(condition, gene)`` measured log levels.
    clamped
        ``(condition, gene)`` True where a gene is held.
    measurement
        τ, the sd of the log of a level between two measurements of the same condition.
    """
    free = torch.where(clamped, torch.nan, logs)
    centre = free.nanmedian(0).values
    z = logs - centre
    robust = (MAD_TO_SD * (free - centre).abs().nanmedian(0).values).square()
    noise = measurement**2
    small = (robust - noise).clamp_min(0.0)  # d² (gene,)
    values = torch.where(clamped, torch.nan, z)
    seen = ~values.isnan()
    square = torch.where(seen, values, 0.0).square()
    share, wide = 0.05, float(square.sum() / seen.sum()) + LEAST_SPREAD**2
    weight = square
    for _ in range(ROUNDS):
        odds = _log_odds(square, small + noise, wide) + math.log(share / (1 - share))
        weight = torch.where(seen, torch.sigmoid(odds), 0.0)
        total = weight.sum().clamp_min(1e-12)
        share = float((total / seen.sum()).clamp(LEAST_SHARE, 0.5))
        # second moment of s beyond d²: its posterior given that it moved
        kept = (small + wide) / (small + wide + noise)
        moment = kept.square() * square + kept * noise - small
        wide = max(float((weight * moment).sum() / total), LEAST_SPREAD**2)
    kept = weight * (small + wide) / (small + wide + noise) + (1 - weight) * small / (small + noise)
    return torch.where(clamped, logs, centre + kept * z)


def _log_odds(square: Tensor, variance: Tensor, wide: float) -> Tensor:
    """Log density of a square under the wide component over the narrow one."""
    both = variance + wide
    return 0.5 * ((variance / both).log() + square * (1 / variance - 1 / both))
