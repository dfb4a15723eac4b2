r"""Log densities of hyperpriors as plain functions of a value, with what does not depend on it computed once.

A sweep asks for them some eighty times for a few chains at a time, where the classes of `torch.distributions` spend
more on shapes and stacks of constants than on the density. The operations and their order are those of torch, so that
a chain draws the same numbers, bit for bit.
"""

import math
from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor

from ...priors import Hyper

LogDensity = Callable[[Tensor], Tensor]


def log_density_of_logarithm(hyper: Hyper) -> LogDensity:
    """log p(x) + log x, the density of log x, as a function of x; −∞ outside the support.

    Parameters
    ----------
    hyper
        A hyperparameter that is sampled, not fixed. Log-normal and beta have their own functions; any other family is
        asked through its distribution, which is built once.
    """
    own = FAMILIES.get(hyper.family) if hyper.family is not None else None
    return _of_distribution(hyper) if own is None else own(hyper)


def _of_distribution(hyper: Hyper) -> LogDensity:
    density = hyper.distribution(False)

    def log_density(x: Tensor) -> Tensor:
        inside = density.support.check(x)  # not every family says −∞ by itself
        return torch.where(inside, density.log_prob(x) + x.log(), -math.inf)

    return log_density


def _log_normal(hyper: Hyper) -> LogDensity:
    r""":math:`-\log x - (\log x - \mu)^2 / 2\sigma^2 - \log\sigma - \tfrac12\log 2\pi + \log x`."""
    loc, scale = hyper.constants.unbind()
    twice_variance, log_scale = 2 * scale**2, scale.log()
    constant = math.log(math.sqrt(2 * math.pi))

    def log_density(x: Tensor) -> Tensor:
        log = x.log()
        normal = (log - loc).pow(2).neg() / twice_variance - log_scale - constant
        return torch.where(x > 0, normal - log + log, -math.inf)

    return log_density


def _beta(hyper: Hyper) -> LogDensity:
    r""":math:`(a-1)\log x + (b-1)\log(1-x) - \log B(a, b) + \log x`."""
    concentration = hyper.constants
    power = concentration - 1.0
    log_normaliser = (torch.lgamma(concentration.sum(-1)), torch.lgamma(concentration).sum(-1))

    def log_density(x: Tensor) -> Tensor:
        both = torch.stack([x, 1.0 - x], -1)
        density = torch.xlogy(power, both).sum(-1) + log_normaliser[0] - log_normaliser[1]
        return torch.where((x >= 0) & (x <= 1), density + x.log(), -math.inf)

    return log_density


FAMILIES: dict[type, Callable[[Hyper], LogDensity]] = {dist.LogNormal: _log_normal, dist.Beta: _beta}
"""Of the families that `SpikeSlab` and the spread of contexts take by default."""
