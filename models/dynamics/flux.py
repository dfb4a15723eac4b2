r"""Variance flux analysis: which gene's noise makes which gene vary, at a stable steady state."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...priors.shapes import broadcast_shapes
from .dynamics import Dynamics

MAX_NODES = 1024  # reached where an oscillation lasts about a hundred periods before it has died away
RULE_ERROR = 1e-9  # of every eigenvalue's integral; products of modes and defective modes then stay far below 1e-6


class Unstable(ValueError):
    """No stationary variance: unstable, or too near an oscillation to integrate."""


class _Rule(NamedTuple):
    """Times and weights on [0, start] and on [start, 2 start]; ``doublings`` intervals of the second kind."""

    start: float
    nodes: np.ndarray
    weights: np.ndarray
    doublings: int


def variance_flux(
    dynamics: Dynamics,
    x: Tensor,
    diffusion: Tensor,
    *,
    inputs: Tensor | None = None,
    clamped: Tensor | None = None,
) -> Tensor:
    r"""Split each gene's stationary variance by the gene whose noise causes it.

    .. math:: J\Sigma + \Sigma J^\top + 2D = 0, \qquad \Sigma_{ii} = \sum_j V_{ji}, \qquad
        V_{ji} = 2 D_{jj} \int_0^\infty \big(e^{Jt}\big)_{ij}^2\,dt

    with J the Jacobian at the steady state and D diagonal. The integral is needed for all pairs at once, and the
    square is element-wise, so that one Lyapunov solve per source (:math:`n^4`) or an eigen-expansion (:math:`n^4`
    again, and lost where J is defective) is too dear. Instead: Gauss-Legendre nodes on [0, t], [t, 2t], [2t, 4t], …;
    the exponentials at the nodes of one interval are the squares of those of the interval before, so each node costs
    one matrix product, in all :math:`O(n^3)` times some 100-200, in :math:`O(n^2)` memory, with no eigenvectors. The
    eigenvalues of J (needed for the stability check anyway) choose the smallest number of nodes for which the rule
    integrates every mode to 1e-9. Not differentiable; float64 throughout.

    Parameters
    ----------
    dynamics
        Parameters with draws.
    x
        ``(*draw, gene)`` stable steady state (see :func:`settle`).
    diffusion
        ``(*draw, gene)``, :math:`D_{jj} \ge 0`: noise of gene j has intensity :math:`\sqrt{2 D_{jj}}`, in the unit
        of x squared per unit of time.
    inputs, clamped
        ``(gene,)`` of the condition that x belongs to; clamped genes do not vary and send nothing.

    Returns
    -------
    Tensor
        ``(*draw, source gene j, affected gene i)``, in the unit of x squared; sums over j are the variances.

    Raises
    ------
    ValueError
        Where shapes disagree, or ``diffusion`` is negative.
    Unstable
        Draws are unstable (how many), or an oscillation is damped so weakly that the integral would take more than
        1,024 nodes.

    Examples
    --------
    >>> one, W = torch.ones(2), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    >>> variance_flux(Dynamics(W, one, one, 0 * one, "tanh"), 0 * one, one).round(decimals=6)
    tensor([[1., 2.],
            [0., 1.]], dtype=torch.float64)
    """
    n = dynamics.num_genes
    for name, value in (("x", x), ("diffusion", diffusion)):
        if value.ndim < 1 or value.shape[-1] != n:
            raise ValueError(f"`{name}` has shape {tuple(value.shape)}: expected (*draw, gene) with {n} genes")
        if bad := int((~torch.isfinite(value)).sum()):
            raise ValueError(f"`{name}` has {bad} values that are not finite: pass settled draws only")
    for name, given in (("inputs", inputs), ("clamped", clamped)):
        if given is not None and given.shape != (n,):
            raise ValueError(f"`{name}` has shape {tuple(given.shape)}: expected (gene,) = ({n},)")
    if (diffusion < 0).any():
        raise ValueError(f"`diffusion` has {int((diffusion < 0).sum())} negative values: expected D_jj of 0 or more")
    draws = broadcast_shapes(dynamics.draw_shape, x.shape[:-1], diffusion.shape[:-1])
    parameters = [p.detach().double() for p in (dynamics.gain, dynamics.decay, dynamics.bias, x, diffusion)]
    gain, decay, bias, x, diffusion = (p.expand(*draws, n).reshape(-1, n) for p in parameters)
    W = dynamics.W.detach().double()
    W = W if W.ndim == 2 else W.expand(*draws, n, n).reshape(-1, n, n)
    free = torch.ones(n, dtype=torch.bool, device=W.device) if clamped is None else ~clamped
    u = None if inputs is None else inputs.detach().double()[None]

    def linearised(d: int) -> Tensor:  # one draw at a time: memory stays at a few n² for any number of draws
        one = Dynamics(W if W.ndim == 2 else W[d], gain[d], decay[d], bias[d], dynamics.envelope)
        return one.jacobian(x[d][None], u)[0][free][:, free]

    modes = [torch.linalg.eigvals(linearised(d)).cpu().numpy() for d in range(len(x))]
    if unstable := sum(bool((m.real >= 0).any()) for m in modes):
        raise Unstable(
            f"{unstable} of {len(modes)} draws are unstable at `x` (an eigenvalue of the Jacobian has real part 0 or "
            f"more), so that the variance is infinite: pass only draws whose outcome is settled"
        )
    flux = torch.zeros(len(x), n, n, dtype=torch.float64, device=W.device)
    for d, mode in enumerate(modes):
        if len(mode):
            V = 2 * diffusion[d][free, None] * _squared_response(linearised(d), _rule(mode)).T
            flux[d, free.nonzero(), free.nonzero().T] = V
    return flux.reshape(*draws, n, n)


def exported(flux: Tensor) -> Tensor:
    r"""``(*draw, gene j)``: the variance that gene j's noise causes in the others, :math:`\sum_{i \ne j} V_{ji}`."""
    return flux.sum(-1) - torch.diagonal(flux, dim1=-2, dim2=-1)


def imported(flux: Tensor) -> Tensor:
    r"""``(*draw, gene i)``: the variance of gene i that comes from the others' noise, :math:`\sum_{j \ne i} V_{ji}`."""
    return flux.sum(-2) - torch.diagonal(flux, dim1=-2, dim2=-1)


def _squared_response(J: Tensor, rule: _Rule) -> Tensor:
    r"""``(affected i, source j)``: :math:`\int_0^\infty (e^{Jt})_{ij}^2 dt`."""
    total, over_start = torch.zeros_like(J), torch.matrix_exp(J * rule.start)
    for node, weight in zip(rule.nodes, rule.weights, strict=True):
        E = torch.matrix_exp(J * (rule.start * node))
        total.addcmul_(E, E, value=rule.start * weight)
        E = E @ over_start
        width = rule.start
        for doubling in range(rule.doublings):
            total.addcmul_(E, E, value=width * weight)
            width *= 2
            if doubling + 1 < rule.doublings:
                E = E @ E
    return total


def _rule(modes: np.ndarray) -> _Rule:
    """The smallest rule that integrates exp(2 Re(l) t) and exp(2 l t) for every eigenvalue l."""
    start = 2.0 / np.abs(modes).max()
    slowest = -modes.real.max()
    # 18 lifetimes leave exp(-36); the factor t^k of a defective mode and the hump of a non-normal J need the rest
    doublings = max(1, math.ceil(math.log2(18.0 / (slowest * start))) + 1)
    exponents = np.unique(np.concatenate([2 * modes.real + 0j, 2 * modes]))
    starts = np.concatenate([[0.0], start * 2.0 ** np.arange(doublings)])
    widths = np.concatenate([[start], start * 2.0 ** np.arange(doublings)])
    count = 8
    while count <= MAX_NODES:
        points, weights = np.polynomial.legendre.leggauss(count)
        nodes, weights = (points + 1) / 2, weights / 2
        integral = sum(
            width * (np.exp(exponents[:, None] * (begin + width * nodes)) @ weights)
            for begin, width in zip(starts, widths, strict=True)
        )
        if np.all(np.abs(integral + 1 / exponents) * np.abs(exponents.real) < RULE_ERROR):
            return _Rule(start, nodes, weights, doublings)
        count = math.ceil(count * 1.25)
    raise Unstable(
        f"an oscillation of frequency {np.abs(modes.imag).max():.3g} is damped at rate {slowest:.3g} only: the "
        f"variance integral takes more than {MAX_NODES} nodes; drop such draws, they are at the edge of instability"
    )
