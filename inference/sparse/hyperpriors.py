"""Log densities of hyperpriors of a few chains at many points: numpy has less to do around a number than torch."""

import math
from collections.abc import Callable

import numpy as np
import pyro.distributions as dist
import torch

from ...priors import Hyper
from ..gibbs.log_densities import log_density_of_logarithm

Density = Callable[[np.ndarray], np.ndarray]


def density_of_logarithm(hyper: Hyper) -> Density:
    """log p(x) + log x of positive x, any shape, float64; −∞ outside the support, zero of one that is fixed.

    Families other than log-normal and beta are asked through torch.
    """
    if hyper.is_fixed:
        return np.zeros_like
    own = FAMILIES.get(hyper.family) if hyper.family is not None else None
    if own is not None:
        return own(*(float(value) for value in hyper.constants))
    asked = log_density_of_logarithm(hyper)
    return lambda x: asked(torch.from_numpy(x)).numpy()


def _log_normal(loc: float, scale: float) -> Density:
    constant = -math.log(scale) - 0.5 * math.log(2 * math.pi)
    return lambda x: constant - 0.5 * np.square((np.log(x) - loc) / scale)


def _beta(a: float, b: float) -> Density:
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)

    def density(x: np.ndarray) -> np.ndarray:
        inside = x < 1
        left = np.where(inside, 1 - x, 1.0)
        found = constant + a * np.log(x) + (b - 1) * np.log(left)
        return np.where(inside, found, -math.inf)

    return density


FAMILIES: dict[type, Callable[..., Density]] = {dist.LogNormal: _log_normal, dist.Beta: _beta}
