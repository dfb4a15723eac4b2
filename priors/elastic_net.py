r"""Elastic-net edges: ridge and LASSO penalties together, as a density."""

import math
from typing import Any, ClassVar

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

from .edge_prior import EdgePrior


class ElasticNetDistribution(TorchDistribution):
    r""":math:`p(w) = Z^{-1}\exp(-\lambda (w-m)^2 - \eta|w-m|)` with :math:`Z =
    \sqrt{\pi/\lambda}\,\operatorname{erfcx}(\eta/2\sqrt\lambda)` (for λ = 0, the Laplace density, :math:`Z = 2/\eta`).

    Parameters
    ----------
    loc
        m, the mode.
    ridge, lasso
        λ, η ≥ 0, not both zero.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "ridge": constraints.greater_than_eq(0),
        "lasso": constraints.greater_than_eq(0),
    }
    support = constraints.real
    has_rsample = False

    def __init__(
        self, loc: Tensor | float, ridge: Tensor | float, lasso: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.loc, self.ridge, self.lasso = broadcast_all(loc, ridge, lasso)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ElasticNetDistribution":
        size = torch.Size(batch_shape)
        return ElasticNetDistribution(
            self.loc.expand(size), self.ridge.expand(size), self.lasso.expand(size), validate_args=False
        )

    @property
    def log_normalizer(self) -> Tensor:
        """log Z."""
        root = self.ridge.clamp_min(torch.finfo(self.ridge.dtype).tiny).sqrt()
        curved = 0.5 * math.log(math.pi) - root.log() + torch.special.erfcx(self.lasso / (2 * root)).log()
        return torch.where(self.ridge > 0, curved, math.log(2) - self.lasso.log())

    def log_prob(self, value: Tensor) -> Tensor:
        size = (value - self.loc).abs()
        return -self.ridge * size.square() - self.lasso * size - self.log_normalizer

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Exact: sizes by rejection from the best exponential (Robert 1995; at least three quarters are accepted), then
        a random sign."""
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            loc, ridge, lasso = (v.expand(shape) for v in (self.loc, self.ridge, self.lasso))
            rate = 0.5 * (lasso + (lasso.square() + 8 * ridge).sqrt())
            centre = (rate - lasso) / (2 * ridge).clamp_min(torch.finfo(ridge.dtype).tiny)
            size, waiting = torch.zeros_like(rate), torch.ones(shape, dtype=torch.bool, device=rate.device)
            while bool(waiting.any()):
                proposal = torch.empty_like(rate).exponential_() / rate
                accepted = waiting & (torch.rand_like(rate).log() < -ridge * (proposal - centre).square())
                size, waiting = torch.where(accepted, proposal, size), waiting & ~accepted
            return loc + torch.where(torch.rand_like(rate) < 0.5, size, -size)


class ElasticNet(EdgePrior):
    r""":math:`W_{tg} \sim \exp(-\lambda W_{tg}^2 - \eta |W_{tg}|)/Z`; its MAP is the elastic net (Zou & Hastie 2005).

    Prior knowledge widens the density: with :math:`c_{tg} = \exp(\tfrac12\sum_k b_k P^k_{tg})` the weight divided by c
    has this density, so λ becomes λ/c² and η becomes η/c. Signs move its mode by :math:`m_{tg}` of its units, the sd
    without knowledge of the density times c.

    Parameters
    ----------
    ridge
        λ. Default 1: an edge of one standard deviation per standard deviation costs one nat.
    lasso
        η. Default 10: alone a Laplace density of scale 0.1, of the order of typical standardised weights.

    Raises
    ------
    ValueError
        Negative or non-finite penalties, or both zero (no density).
    """

    exact_zeros = True
    constants = ("ridge", "lasso")
    ridge: Tensor
    lasso: Tensor

    def __init__(self, *, ridge: float = 1.0, lasso: float = 10.0) -> None:
        super().__init__()
        if not (0 <= ridge < math.inf and 0 <= lasso < math.inf and ridge + lasso > 0):
            raise ValueError(f"ElasticNet(ridge={ridge}, lasso={lasso}): expected numbers of 0 or more, not both 0")
        self.register_buffer("ridge", torch.tensor(float(ridge)))
        self.register_buffer("lasso", torch.tensor(float(lasso)))

    @property
    def unit(self) -> Tensor:
        """Sd without knowledge: 1/√(2λ + η²/2), between those of the normal and the Laplace density."""
        return (2 * self.ridge + 0.5 * self.lasso.square()) ** -0.5

    def forward(self, tf: Any, target: Any) -> Tensor:
        trust, sign_trust = self.sample_trust()
        wide = (0.5 * self.evidence(trust)).exp()  # (tf, target) or ()
        with tf, target:
            loc = wide * self.unit * self.location(sign_trust)
            W = pyro.sample("W", ElasticNetDistribution(loc, self.ridge / wide**2, self.lasso / wide))  # (tf, target)
        return W * self.allowed
