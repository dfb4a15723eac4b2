"""Cells one by one: views with their own likelihood, and counts by their log rate."""

from collections.abc import Iterable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ...priors.shapes import broadcast_shapes
from ..likelihoods import BERNOULLI, GAUSSIAN, LIKELIHOODS, NEGATIVE_BINOMIAL
from .observable import Observable


class LogPoisson(Observable):
    """Counts with a given logarithm of their rate, which may be far below what a rate can be told from zero."""

    arg_constraints = {"log_rate": constraints.real}  # noqa: RUF012 as every distribution of torch
    support = constraints.nonnegative_integer

    def __init__(self, log_rate: Tensor, validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.shape, validate_args=validate_args)

    def expanded(self, batch_shape: torch.Size) -> TorchDistribution | None:
        """Of expanded rates."""
        return LogPoisson(self.log_rate.expand(batch_shape), validate_args=False)

    def density(self, value: Tensor) -> Tensor:
        return value * self.log_rate - self.log_rate.exp() - torch.lgamma(value + 1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            return torch.poisson(self.log_rate.exp().expand(self._extended_shape(torch.Size(sample_shape))))


class _ByGene(constraints.Constraint):
    """Numbers, 0 or 1, and counts, by the likelihood of each gene."""

    event_dim = 0

    def __init__(self, kinds: Tensor) -> None:
        self.kinds = kinds

    def check(self, value: Tensor) -> Tensor:
        binary = (value == 0) | (value == 1)
        counts = (value >= 0) & (value == value.round())
        good = torch.where(self.kinds == LIKELIHOODS.index(BERNOULLI), binary, counts)
        return torch.where(self.kinds == LIKELIHOODS.index(GAUSSIAN), value == value, good)


class MixedViews(Observable):
    r"""Cells of several views, each gene with the likelihood of its view.

    .. math:: y_{cg} \sim N(\eta_{cg}, \sigma_g^2), \quad \mathrm{Bernoulli}(\operatorname{logit}^{-1}\eta_{cg})
              \quad\text{or}\quad \mathrm{NB}(\text{mean } e^{\eta_{cg} + o_c},\ \text{dispersion } r_g)

    Batch shape ``(*draw, cell, gene)``, no event dimension; missing values are masked out (``.mask(seen)``).

    Parameters
    ----------
    location
        ``(*draw, cell, gene)`` η.
    kinds
        ``(gene,)`` place of each gene's likelihood in `LIKELIHOODS`.
    present
        Likelihoods that some gene has.
    noise, dispersion
        ``(*draw, 1, gene)`` or ``(gene,)`` σ², r, where there are such genes.
    offset
        ``(cell, 1)`` o, the log depth of each cell.
    """

    arg_constraints = {"location": constraints.real}  # noqa: RUF012 as every distribution of torch

    def __init__(
        self,
        location: Tensor,
        kinds: Tensor,
        *,
        present: Iterable[str],
        noise: Tensor | None = None,
        dispersion: Tensor | None = None,
        offset: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.location, self.kinds, self.present = location, kinds, frozenset(present)
        self.noise, self.dispersion, self.offset = noise, dispersion, offset
        others = [part.shape for part in (noise, dispersion) if part is not None]
        super().__init__(broadcast_shapes(location.shape, *others), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """By gene."""
        return _ByGene(self.kinds)

    def expanded(self, batch_shape: torch.Size) -> TorchDistribution | None:
        """With the mean of each cell and gene in place."""
        return MixedViews(
            self.location.expand(batch_shape),
            self.kinds,
            present=self.present,
            noise=self.noise,
            dispersion=self.dispersion,
            offset=self.offset,
            validate_args=False,
        )

    def density(self, value: Tensor) -> Tensor:
        """``(*draw, cell, gene)``."""
        log_prob = torch.zeros_like(self.location)
        for kind, part in self._parts().items():
            log_prob = torch.where(self.kinds == LIKELIHOODS.index(kind), part.log_prob(value), log_prob)
        return log_prob

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            found = self.location.new_zeros(shape)
            for kind, part in self._parts().items():
                drawn = part.expand(self.batch_shape).sample(torch.Size(sample_shape))
                found = torch.where(self.kinds == LIKELIHOODS.index(kind), drawn, found)
        return found

    def _parts(self) -> dict[str, TorchDistribution]:
        """The likelihoods that some gene has, each as if all genes had it."""
        mean, parts = self.location, {}
        if self.noise is not None:
            parts[GAUSSIAN] = dist.Normal(mean, self.noise.sqrt(), validate_args=False)
        if BERNOULLI in self.present:
            parts[BERNOULLI] = dist.Bernoulli(logits=mean, validate_args=False)
        if self.dispersion is not None:
            offset = mean.new_zeros(()) if self.offset is None else self.offset
            logits = mean + offset - self.dispersion.log()
            parts[NEGATIVE_BINOMIAL] = dist.NegativeBinomial(self.dispersion, logits=logits, validate_args=False)
        return parts
