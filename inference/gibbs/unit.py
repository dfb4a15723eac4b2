"""The noise where the weights are in units of it, of several contexts in units of that of all their cells."""

import torch
from torch import Tensor

from .streams import Source, standard_gamma, uniform

OfWeights = tuple[Tensor, Tensor, Tensor | None]


def update_unit(noise: Tensor, shape: Tensor, rate: Tensor, weights: OfWeights, generator: Source) -> Tensor:
    """The noise variance of one context, in units of which the weights are: an inverse gamma, and a Metropolis step
    where slabs have means. Arguments as of `update_shared_unit`."""
    count, square, pulled = weights
    new = (rate + 0.5 * square) / standard_gamma((shape + 0.5 * count).expand_as(rate), generator, axis=1)
    if pulled is None:
        return new
    change = pulled * (new.rsqrt() - noise.rsqrt())
    return torch.where(uniform(change.shape, generator, change, axis=1).log() < change, new, noise)


def update_shared_unit(
    noise: Tensor, shape: Tensor, rate: Tensor, share: Tensor, weights: OfWeights, generator: Source
) -> Tensor:
    r"""New noise variances ``(context, chain, target)``, context after context.

    With :math:`\nu = \sum_k f_k \sigma_k^2` the weights of a target have the density :math:`\nu^{-N/2}
    \exp(-S/2\nu + B/\sqrt\nu)`: the inverse gamma of what the cells of a context say is proposed, and the ratio of
    this density decides.

    Parameters
    ----------
    shape, rate
        Of the inverse gammas, as ``noise``.
    share
        ``(context, chain or 1, target)`` f.
    weights
        N the number of weights, S the sum of squares of weights over scales, B that of present ones over scales times
        means (None without means), each ``(chain or 1, target)``.
    """
    count, square, pulled = weights
    proposed = rate / standard_gamma(shape.expand_as(rate), generator, axis=1)
    noise = noise.clone()
    for k in range(len(noise)):
        old = (share * noise).sum(0)
        new = old + share[k] * (proposed[k] - noise[k])
        change = -0.5 * count * (new / old).log() - 0.5 * square * (1 / new - 1 / old)
        if pulled is not None:
            change = change + pulled * (new.rsqrt() - old.rsqrt())
        u = uniform(change.shape, generator, change)
        noise[k] = torch.where(u.log() < change, proposed[k], noise[k])
    return noise
