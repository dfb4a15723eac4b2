"""Cells of a regression network one by one: intercepts that the sufficient statistics integrate out are sites here."""

from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

INTERCEPT_SCALE = 10.0  # in standard deviations of the target: flat where the data are


class CellRegression(NamedTuple):
    """``mean`` and ``sd``, each broadcastable to ``(*draw, [1,] cell, target)``."""

    mean: Tensor
    sd: Tensor


def by_cell(value: Tensor, context: Tensor) -> Tensor:
    """``(*batch, context, 1, target)`` → ``(*batch, 1, cell, target)``: whatever is left of the context plate stays
    left of it."""
    return value.squeeze(-2)[..., context, :].unsqueeze(-3)


def regress_cells(
    x: Tensor,
    W: Tensor,
    noise: Tensor,
    *,
    context: Tensor,
    levels: int,
    target: pyro.plate,
    shift: Tensor | None = None,
) -> CellRegression:
    """Sample the intercepts, and regress cells on regulators.

    Parameters
    ----------
    x
        ``(cell, tf)``.
    W, noise
        ``(*draw, [context,] tf, target)`` and ``(*draw, [context, 1,] target)``.
    context, levels
        ``(cell,)`` context of each cell, and the number of contexts.
    target
        The plate.
    shift
        ``(*draw, [context,] 1, target)`` what is known of the intercepts.
    """
    one = x.new_tensor(INTERCEPT_SCALE)
    if levels == 1:
        with target:
            offset = pyro.sample("intercept", dist.Normal(x.new_zeros(1, 1), one))  # (1, target)
        offset = offset if shift is None else offset + shift
        return CellRegression(offset + x @ W, noise.sqrt().expand(*noise.shape[:-1], W.shape[-1]))
    with pyro.plate("context_intercept", levels, dim=-3), target:
        offset = pyro.sample("intercept", dist.Normal(x.new_zeros(()), one))  # (context, 1, target)
    offset = by_cell(offset if shift is None else offset + shift, context)
    mean = offset + torch.einsum("ct,...ctg->...cg", x, W[..., context, :, :]).unsqueeze(-3)
    return CellRegression(mean, by_cell(noise.sqrt(), context))
