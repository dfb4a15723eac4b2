r"""Levels as they are behind their measurement: what a regression on noisy regressors is to be given."""

import math

import torch
from torch import Tensor

ROUNDS = 50  # of the mixture's two numbers; they stand at the third digit after twenty
MAD_TO_SD = 1.4826  # of a normal distribution
LEAST_SHARE, LEAST_SPREAD = 1e-3, 1e-2  # of levels that moved, and the sd (in logs) by which


CONTROLS = "controls"  # where the noise of a measurement is taken from
FEWEST, SHRINK = 3, 5.0  # controls that tell a variance; controls' worth that genes share of it


def measured_sd(logs: Tensor, clamped: Tensor, measurement: float | str) -> Tensor:
    r"""``(gene,)`` τ: the number given, or from the control conditions of a context.

    :math:`\tau_i^2 = ((n - 1) s_i^2 + 5 \bar s^2) / (n + 4)` of n controls: a gene's own variance, shrunk towards the
    mean of all genes. What the cells do by themselves counts as noise of measurement then.

    Parameters
    ----------
    logs, clamped
        ``(condition, gene)`` log levels, and which are held.
    measurement
        A number, or ``"controls"``.

    Raises
    ------
    ValueError
        Another word, a number below 0, fewer than three controls.
    """
    if measurement != CONTROLS:
        if isinstance(measurement, str) or not 0 <= measurement < math.inf:
            raise ValueError(f"measurement={measurement}: expected an sd of log levels, 0 or more, or {CONTROLS!r}")
        return logs.new_full((logs.shape[1],), float(measurement))
    controls = logs[~clamped.any(1)]
    if len(controls) < FEWEST:
        raise ValueError(
            f"measurement={CONTROLS!r}: {len(controls)} conditions without a knock-down tell no noise of a "
            f"measurement, expected {FEWEST} or more. Give it as a number"
        )
    own, number = controls.var(0), len(controls) - 1
    return ((number * own + SHRINK * own.mean()) / (number + SHRINK)).sqrt()


def levels_behind(logs: Tensor, clamped: Tensor, measured: Tensor) -> Tensor:
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
    measured
        ``(gene,)`` τ, the sd of the log of a level between two measurements of the same condition.
    """
    free = torch.where(clamped, torch.nan, logs)
    centre = free.nanmedian(0).values
    z = logs - centre
    robust = (MAD_TO_SD * (free - centre).abs().nanmedian(0).values).square()
    noise = measured.square()
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
