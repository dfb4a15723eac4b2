r"""Laplace edges: the LASSO as a prior."""

from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor

from .edge_prior import EdgePrior
from .hyper import Hyper, as_hyper


class Laplace(EdgePrior):
    r""":math:`W_{tg} \sim \mathrm{Laplace}(s_{tg} m_{tg},\ s_{tg})`; its MAP is the LASSO (Tibshirani 1996) with
    penalty :math:`1/s`.

    Parameters
    ----------
    scale
        s: fixed, or a `Hyper`. Default LogNormal(log 0.05, 1): the Laplace sd is √2 s, a typical edge as for `Normal`.
    """

    reference = "Bayesian lasso: Park & Casella 2008, J Am Stat Assoc 103:681"

    def __init__(self, *, scale: float | Hyper | None = None) -> None:
        super().__init__()
        self.scale = as_hyper(scale) if scale is not None else Hyper(dist.LogNormal, -3.0, 1.0)

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        return {} if self.scale.is_fixed else {"edge_scale": ()}

    @property
    def edge_size(self) -> float | None:
        return self.scale.first if self.scale.is_fixed else None

    def forward(self, tf: Any, target: Any) -> Tensor:
        trust, sign_trust = self.sample_trust()
        scale = self.scale("edge_scale") * (0.5 * self.evidence(trust)).exp()  # (tf, target) or ()
        with tf, target:
            W = pyro.sample("W", dist.Laplace(scale * self.location(sign_trust), scale))  # (tf, target)
        return W * self.allowed
