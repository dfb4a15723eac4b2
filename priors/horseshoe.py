r"""The regularised horseshoe: a few large edges among many near zero."""

from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .edge_prior import EdgePrior
from .hyper import Hyper, as_hyper


class Horseshoe(EdgePrior):
    r"""Regularised horseshoe (Piironen & Vehtari 2017, eq. 2.8).

    .. math:: W_{tg} \sim N(s_{tg} m_{tg}, s_{tg}^2), \quad s_{tg} = \tau\tilde\lambda_{tg}\exp(\tfrac12\textstyle\sum_k
              b_k P^k_{tg}), \quad \tilde\lambda^2 = \frac{c^2\lambda^2}{c^2+\tau^2\lambda^2}, \quad \lambda_{tg}\sim
              C^+(1)

    Parameters
    ----------
    tau
        Global scale; fixed, or a `Hyper`. Default HalfCauchy(0.02): about one edge in twenty stands out at a few
        thousand cells (τ₀ of their eq. 3.12 with p₀/(p − p₀) = 1/19 and σ/√n = 1/50, rounded up).
    slab
        c, the largest scale an edge may have. Default LogNormal(log 0.5, 0.5): half a standard deviation of the target.
    """

    conditionally_gaussian = True
    reference = "regularised horseshoe: Piironen & Vehtari 2017, Electron J Stat 11:5018"

    def __init__(self, *, tau: float | Hyper | None = None, slab: float | Hyper | None = None) -> None:
        super().__init__()
        self.tau = as_hyper(tau) if tau is not None else Hyper(dist.HalfCauchy, 0.02)
        self.slab = as_hyper(slab) if slab is not None else Hyper(dist.LogNormal, -0.7, 0.5)
        self.local_prior = Hyper(dist.HalfCauchy, 1.0)

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        named: dict[str, tuple[str, ...]] = {"local_scale": ("tf", "target")}
        return named | {name: () for name, hyper in (("tau", self.tau), ("slab", self.slab)) if not hyper.is_fixed}

    def _scale(self, tau: Tensor, slab: Tensor, local: Tensor, trust: Tensor | None) -> Tensor:
        # τ λ̃ = τ λ / sqrt(1 + (τ λ / c)²), written so that λ → ∞ gives c and nothing overflows
        wide = tau * local
        return wide / torch.hypot(torch.ones_like(wide), wide / slab) * (0.5 * self.evidence(trust)).exp()

    def gaussian(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        tau, slab = values.get("tau", self.tau.constants[0]), values.get("slab", self.slab.constants[0])
        scale = self._scale(tau, slab, values["local_scale"], values.get("trust"))
        return scale * self.location(values.get("sign_trust")), scale

    def forward(self, tf: Any, target: Any) -> Tensor:
        trust, sign_trust = self.sample_trust()
        tau, slab = self.tau("tau"), self.slab("slab")
        with tf, target:
            local = pyro.sample("local_scale", self.local_prior.distribution())  # (tf, target)
            scale = self._scale(tau, slab, local, trust)
            W = pyro.sample("W", dist.Normal(scale * self.location(sign_trust), scale))  # (tf, target)
        return W * self.allowed
