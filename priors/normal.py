r"""Gaussian edges: ridge regression as a prior."""

from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor

from .edge_prior import EdgePrior
from .hyper import Hyper, as_hyper


class Normal(EdgePrior):
    r""":math:`W_{tg} \sim N(s_{tg} m_{tg},\ s_{tg}^2)`; its MAP is ridge regression (Hoerl & Kennard 1970).

    Parameters
    ----------
    scale
        s: fixed, or a `Hyper`. Default LogNormal(log 0.1, 1): an edge explains about 1% of its target's variance, give
        or take a factor of seven in sd.
    """

    conditionally_gaussian = True
    one_scale = True

    def __init__(self, *, scale: float | Hyper | None = None) -> None:
        super().__init__()
        self.scale = as_hyper(scale) if scale is not None else Hyper(dist.LogNormal, -2.3, 1.0)

    def family_dims(self) -> dict[str, tuple[str, ...]]:
        return {} if self.scale.is_fixed else {"edge_scale": ()}

    @property
    def ridge_penalty(self) -> float | None:
        """1/s², of a fixed scale that no prior network changes."""
        return float(self.scale.constants[0]) ** -2 if self.scale.is_fixed and not self.sources else None

    def gaussian(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        scale = values.get("edge_scale", self.scale.constants[0]) * (0.5 * self.evidence(values.get("trust"))).exp()
        return scale * self.location(values.get("sign_trust")), scale

    @property
    def edge_size(self) -> float | None:
        return self.scale.first if self.scale.is_fixed else None

    def forward(self, tf: Any, target: Any) -> Tensor:
        trust, sign_trust = self.sample_trust()
        scale = self.scale("edge_scale") * (0.5 * self.evidence(trust)).exp()  # (tf, target) or ()
        with tf, target:
            W = pyro.sample("W", dist.Normal(scale * self.location(sign_trust), scale))  # (tf, target)
        return W * self.allowed
