"""A Metropolis step whose proposal is the normal that one step of Fisher scoring leads to."""

from collections.abc import Callable

import torch
from torch import Tensor

from .streams import Source, normal, uniform

LONGEST = 2.0  # of a scoring step, on the log-odds scale: far from the mode a full one overshoots

Evaluation = tuple[Tensor, Tensor, Tensor]


def scoring_step(
    value: Tensor,
    evaluate: Callable[[Tensor], Evaluation],
    generator: Source,
    *,
    inside: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""Propose :math:`N(\theta + I^{-1}(\theta)\,g(\theta),\ I^{-1}(\theta))`, accept by Metropolis–Hastings.

    Any positive definite I leaves the target exact; the closer it is to the curvature, the more is accepted.

    Parameters
    ----------
    value
        θ ``(*batch, term)``; every batch element decides for itself.
    evaluate
        θ to its log density ``(*batch)``, gradient g ``(*batch, term)`` and information I ``(*batch, term, term)``.
    inside
        Whether a proposal lies in the support, ``(*batch)``; others are refused.

    Returns
    -------
    Tensor
        The next θ.
    """

    def propose(gradient: Tensor, information: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        factor = torch.linalg.cholesky(information.double())
        move = torch.cholesky_solve(gradient.double()[..., None], factor)[..., 0].to(at)
        return at + move.clamp(-LONGEST, LONGEST), factor.to(at)

    def log_proposal(to: Tensor, centre: Tensor, factor: Tensor) -> Tensor:
        z = (factor.transpose(-1, -2) @ (to - centre)[..., None])[..., 0]
        return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * z.square().sum(-1)

    density, gradient, information = evaluate(value)
    centre, factor = propose(gradient, information, value)
    noise = normal(value.shape, generator, value)
    new = centre + torch.linalg.solve_triangular(factor.transpose(-1, -2), noise[..., None], upper=True)[..., 0]
    allowed = torch.ones_like(density, dtype=torch.bool) if inside is None else inside(new)
    new = torch.where(allowed[..., None], new, value)
    new_density, gradient, information = evaluate(new)
    back, back_factor = propose(gradient, information, new)
    ratio = (new_density - density).to(value)
    ratio = ratio + log_proposal(value, back, back_factor) - log_proposal(new, centre, factor)
    u = uniform(ratio.shape, generator, ratio)
    return torch.where((allowed & (u.log() < ratio))[..., None], new, value)
