r"""Networks among regulators that one covariance allows: what observations alone say of who acts on whom.

At steady state :math:`x = A^\top x + e` with independent disturbances e, so that :math:`x = C e` for a square root C of
the covariance, :math:`\Sigma = C C^\top`, and :math:`I - A^\top` is :math:`C^{-1}` with rows divided by their diagonal.
Every square root is a network that explains the same cells: the triangular ones, one for each order of the regulators,
are those without feedback (a regulator is regulated by those before it; Verma & Pearl 1990), rotations of them have
loops. Knock-outs differ between them, the cells do not.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .steady_state import spectral_radius

FEEDBACK = 0.5  # sd of a rotation, in units of the one that would turn the edge between two regulators around
ORDER_STEPS = 20  # exchanges of neighbours for each regulator
TRIES = 6


class Structures(NamedTuple):
    """``weights`` (draw, tf, tf) from regulator to regulator, and whether each has a stable steady state,
    ``settled`` (draw,)."""

    weights: Tensor
    settled: Tensor


def draw_structures(
    scatter: Tensor, dof: float, preference: Tensor, num_draws: int, generator: torch.Generator
) -> Structures:
    r"""Networks at random: covariance from its posterior, order, feedback.

    The precision is :math:`\mathrm{Wishart}(\nu, S^{-1})`; the order is uniform but for the preferences,
    :math:`p(\text{order}) \propto \exp \sum_{i\text{ before }j} \theta_{ij}`; then the noise of every two regulators is
    rotated by an angle :math:`N(0, (\kappa \arcsin \rho_{ij})^2)`, ρ their partial correlation: :math:`\arcsin\rho` is
    the angle between :math:`i \to j` and :math:`j \to i` of a pair, and regulators that are not linked stay so.
    Networks without a stable steady state are drawn again, up to six times.

    Parameters
    ----------
    scatter, dof
        ``(tf, tf)`` centred sums of squares S, and ν cells less one; more than regulators.
    preference
        ``(tf, tf)`` antisymmetric, θ: log-odds that the row comes before the column.
    num_draws, generator
        Draws, and where their randomness comes from.

    Raises
    ------
    ValueError
        Fewer cells than regulators.
    """
    size = len(scatter)
    if dof < size + 2:
        raise ValueError(f"{dof:g} cells do not tell the covariance of {size} regulators")
    found = _draw(scatter, dof, preference, num_draws, generator)
    for _ in range(TRIES):
        again = ~found.settled
        if not bool(again.any()):
            break
        new = _draw(scatter, dof, preference, int(again.sum()), generator)
        found.weights[again], found.settled[again] = new.weights, new.settled
    return found


def _draw(scatter: Tensor, dof: float, preference: Tensor, number: int, generator: torch.Generator) -> Structures:
    size = len(scatter)
    precision = _wishart(scatter, dof, number, generator)
    order = draw_orders(preference, number, generator)  # (draw, place)
    rows = torch.arange(number)[:, None]
    # e = M x with M lower triangular in the order: M M^T is not needed, M^T M = P, so M is an upper factor turned round
    turned = order.flip(1)
    permuted = precision[rows[:, :, None], turned[:, :, None], turned[:, None, :]]
    factor = torch.linalg.cholesky(permuted).mT.flip(1, 2)  # U^T U = P permuted; turned round it is lower triangular
    root = torch.zeros_like(precision)
    root[rows[:, :, None], order[:, :, None], order[:, None, :]] = factor
    scale = precision.diagonal(dim1=1, dim2=2).rsqrt()
    partial = (-precision * scale[:, :, None] * scale[:, None, :]).clamp(-1, 1)
    pairs = torch.combinations(torch.arange(size))
    for i, j in pairs[torch.randperm(len(pairs), generator=generator)].tolist():
        angle = torch.randn(number, generator=generator, dtype=scatter.dtype)
        angle = FEEDBACK * partial[:, i, j].asin() * angle
        c, s = angle.cos()[:, None], angle.sin()[:, None]
        root[:, i], root[:, j] = c * root[:, i] - s * root[:, j], s * root[:, i] + c * root[:, j]
    own = root.diagonal(dim1=1, dim2=2)
    weights = (torch.eye(size, dtype=scatter.dtype) - root / own[..., None]).mT
    return Structures(weights, (own != 0).all(1) & (spectral_radius(weights.nan_to_num(posinf=0, neginf=0)) < 1))


def _wishart(scatter: Tensor, dof: float, number: int, generator: torch.Generator) -> Tensor:
    """``(draw, tf, tf)`` precisions, by Bartlett's decomposition."""
    size = len(scatter)
    root = torch.linalg.cholesky(torch.linalg.inv(scatter))
    shape = 0.5 * (dof - torch.arange(size, dtype=scatter.dtype)).expand(number, -1)
    square = 2 * torch._standard_gamma(shape.contiguous(), generator=generator)
    normal = torch.randn(number, size, size, generator=generator, dtype=scatter.dtype)
    factor = root @ (normal.tril(-1) + torch.diag_embed(square.sqrt()))
    return factor @ factor.mT


def draw_orders(preference: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """``(draw, place)`` regulators in an order, by exchanges of neighbours from random ones."""
    size = len(preference)
    order = torch.rand(number, size, generator=generator).argsort(1)
    if not bool((preference != 0).any()) or size < 2:
        return order
    for _ in range(ORDER_STEPS * size):
        place = int(torch.randint(size - 1, (1,), generator=generator))
        first, second = order[:, place], order[:, place + 1]
        turn = torch.rand(number, generator=generator).log() < -preference[first, second]
        order[:, place], order[:, place + 1] = torch.where(turn, second, first), torch.where(turn, first, second)
    return order
