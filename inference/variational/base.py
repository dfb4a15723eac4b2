"""`Guide`: a fitted family q(z) as a module."""

from abc import ABC, abstractmethod

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ...models import ExpressionData, Model
from .sites import Site


class Guide(nn.Module, ABC):
    """q(z) over the sites of a model; parameters have a leading ``restart`` dimension, and restarts are independent
    fits.

    ``draw`` returns one reparameterised sample and its log density; called as a Pyro guide it samples the same sites.
    """

    calibrated: bool = False

    def __init__(self, model: Model, sites: tuple[Site, ...], num_restarts: int) -> None:
        super().__init__()
        self.model_dims = model.max_plate_nesting
        self.sites, self.num_restarts = sites, num_restarts

    @abstractmethod
    def draw(self) -> tuple[dict[str, Tensor], Tensor]:
        """Values by site ``(restart, *plates, *event)``, and log q ``(restart,)``."""

    def forward(self, batch: ExpressionData | None = None) -> dict[str, Tensor]:
        """As a Pyro guide: every site a Delta at the draw, the log density on the first (sites of all restarts at
        once)."""
        values, log_q = self.draw()
        pyro.factor("guide_log_density", log_q.sum(), has_rsample=True)
        for site in self.sites:
            pyro.sample(site.name, dist.Delta(values[site.name], event_dim=site.event_dim))
        return values
