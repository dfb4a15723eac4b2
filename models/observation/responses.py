"""`ResponseNormal`: responses of all genes to knock-downs, observed through outer products."""

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class ResponseNormal(TorchDistribution):
    r"""Responses :math:`y_g \sim N(a\,s_g, LL^\top)` over knock-downs, independent between genes g, given copies s.

    A value has the outer products by power of a, :math:`yy^\top,\ -ys^\top - sy^\top,\ ss^\top`, each divided by the
    number of genes, of which the density of y is a function: event shape ``(3, knockdown, knockdown)``.

    Parameters
    ----------
    factor
        ``(knockdown, knockdown)`` L, lower triangular.
    carry
        a, one number.
    copied
        ``(knockdown, gene)`` s, given.
    """

    arg_constraints = {  # noqa: RUF012 as every distribution of torch
        "factor": constraints.lower_triangular,
        "carry": constraints.real,
    }
    support = constraints.independent(constraints.real, 3)

    def __init__(self, factor: Tensor, carry: Tensor, copied: Tensor, validate_args: bool | None = None) -> None:
        self.factor, self.carry, self.copied = factor, carry, copied
        n = factor.shape[-1]
        super().__init__(torch.Size(), torch.Size([3, n, n]), validate_args=validate_args)

    @staticmethod
    def value_of(y: Tensor, copied: Tensor) -> Tensor:
        """The outer products of responses ``y`` (*batch, knockdown, gene)."""
        s = copied.expand_as(y)
        outer = [y @ y.mT, -y @ s.mT - s @ y.mT, s @ s.mT]
        return torch.stack(outer, dim=-3) / y.shape[-1]

    def log_prob(self, value: Tensor) -> Tensor:
        """One number: of the responses of all genes."""
        size, n = self.copied.shape[-1], self.factor.shape[-1]
        own, both, copies = value.unbind(-3)
        outer = own + self.carry * both + self.carry.square() * copies
        fit = torch.cholesky_solve(outer, self.factor).diagonal(dim1=-2, dim2=-1).sum(-1)
        constant = 0.5 * n * math.log(2 * math.pi)
        return -size * (self.factor.diagonal().log().sum() + 0.5 * fit + constant)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            noise = torch.randn(*sample_shape, *self.copied.shape, dtype=self.factor.dtype, device=self.factor.device)
            return self.value_of(self.carry * self.copied + self.factor @ noise, self.copied)
