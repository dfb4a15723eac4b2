"""The inverse gamma of variances, as Pyro's, without the seconds that Pyro's takes to begin."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import PowerTransform


class Reciprocal(PowerTransform):
    """1 / x, of any shape: `PowerTransform` has the shape broadcast against its exponent's, for which torch imports
    sympy."""

    def __init__(self, exponent: Tensor, cache_size: int = 0) -> None:
        super().__init__(exponent, cache_size=cache_size)

    def with_cache(self, cache_size: int = 1) -> "Reciprocal":
        return self if self._cache_size == cache_size else Reciprocal(self.exponent, cache_size=cache_size)

    def forward_shape(self, shape: Any) -> torch.Size:
        return torch.Size(shape)

    def inverse_shape(self, shape: Any) -> torch.Size:
        return torch.Size(shape)


class InverseGamma(dist.InverseGamma):
    r""":math:`1/X` of :math:`X \sim \mathrm{Gamma}(\alpha, \beta)`; densities and draws are those of
    `pyro.distributions.InverseGamma`, bit for bit.

    Parameters
    ----------
    concentration, rate
        α and β, tensors that broadcast against each other.
    validate_args
        As torch.
    """

    def __init__(self, concentration: Tensor, rate: Tensor, validate_args: bool | None = None) -> None:
        base: Any = dist.Gamma(concentration, rate, validate_args=validate_args)
        minus_one = -base.rate.new_ones(())
        dist.TransformedDistribution.__init__(self, base, Reciprocal(minus_one), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(InverseGamma, _instance)
        return super().expand(batch_shape, _instance=new)
