"""`PanelNormal`: the regressions of a perturbation panel, whose responses are a function of each gene's headroom."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...priors.shapes import broadcast_shapes
from ..data.panel import NODES, chebyshev
from .designs import Design
from .gram_normal import GramNormal


class Curves(NamedTuple):
    """Changes d of the response with log headroom, from the anchor's, as Chebyshev coefficients.

    Their products with the regressors ``shift`` (*batch, coefficient, tf, target), with the residual at the anchor
    ``gap`` (*batch, coefficient, target), with one another ``square`` (*batch, coefficient, coefficient, target); and
    the change of the log Jacobian ``jacobian`` (*batch, coefficient, target).
    """

    shift: Tensor
    gap: Tensor
    square: Tensor
    jacobian: Tensor


class PanelNormal(GramNormal):
    r"""`GramNormal` of the drives of a panel, with the density taken to the levels.

    A value has, after the statistics of the drive at the anchor headroom, :math:`\log|dy/dx|` summed over the free
    conditions of each target; and, where ``log_headroom`` is given, the `Curves` by which all of these change with it,
    so that `log_prob` is the density of the levels at any headroom.

    `sample` draws a panel of *drives*: log Jacobian zero and flat curves, since a drive is given and no level has to be
    turned into one. (Levels need the intercepts, which are integrated out here: call the model with the conditions
    for them.)

    Parameters
    ----------
    weight, noise, design
        As `GramNormal`.
    log_headroom
        ``(*batch, 1, target)`` log h, or ``None`` for the anchor's.
    """

    def __init__(
        self,
        weight: Tensor,
        noise: Tensor,
        design: Design,
        log_headroom: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.log_headroom = log_headroom
        if log_headroom is not None:
            noise = noise.expand(broadcast_shapes(noise.shape, log_headroom.shape))
        super().__init__(weight, noise, design, validate_args=validate_args)

    @property
    def _size(self) -> int:
        own = self.num_tfs + 2
        return own if self.log_headroom is None else own + NODES * (self.num_tfs + 2 + NODES)

    def _like(self, weight: Tensor, noise: Tensor) -> "PanelNormal":
        log_headroom = None if self.log_headroom is None else self.log_headroom.expand_as(noise)
        return type(self)(weight, noise, self.design, log_headroom, validate_args=False)

    def _log_density(self, rows: Tensor) -> Tensor:
        log_jacobian = rows[..., self.num_tfs + 1, None, :]
        if self.log_headroom is not None:
            curves = curves_in(rows, self.num_tfs)
            log_jacobian = log_jacobian + at_headroom(chebyshev(self.log_headroom.squeeze(-2)), curves.jacobian)
        return super()._log_density(rows) + log_jacobian

    def _squared_error(self, rows: Tensor) -> Tensor:
        error = super()._squared_error(rows)
        if self.log_headroom is None:
            return error
        step = self.weight - self.design.anchor
        return moved_error(error, self.log_headroom, curves_in(rows, self.num_tfs), step)


def curves_in(rows: Tensor, num_tfs: int) -> Curves:
    """The curves in the statistics ``(*batch, row, target)`` of all targets."""
    sizes = (NODES * num_tfs, NODES, NODES * NODES, NODES)
    shift, gap, square, jacobian = rows[..., num_tfs + 2 :, :].split(sizes, dim=-2)
    return Curves(shift.unflatten(-2, (NODES, num_tfs)), gap, square.unflatten(-2, (NODES, NODES)), jacobian)


def moved_error(error: Tensor, log_headroom: Tensor, curves: Curves, step: Tensor) -> Tensor:
    """``(*batch, 1, target)`` residual sum of squares at ``log_headroom`` (*batch, 1, target), of ``error`` at the
    anchor's; ``step`` (*batch, tf, target) of the weights."""
    terms = chebyshev(log_headroom.squeeze(-2))  # (*batch, target, coefficient)
    square = torch.einsum("...tn,...tm,...nmt->...t", terms, terms, curves.square).unsqueeze(-2)
    shift = (torch.einsum("...tn,...nst->...st", terms, curves.shift) * step).sum(-2, keepdim=True)
    return error + square + 2 * at_headroom(terms, curves.gap) - 2 * shift


def at_headroom(terms: Tensor, curve: Tensor) -> Tensor:
    """``(*batch, 1, target)`` a curve (*batch, coefficient, target) at Chebyshev ``terms`` (*batch, target,
    coefficient)."""
    return torch.einsum("...tn,...nt->...t", terms, curve).unsqueeze(-2)
