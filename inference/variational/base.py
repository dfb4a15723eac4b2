"""`Guide`: a fitted family q(z) as a module."""

from abc import ABC, abstractmethod

import torch
from pyro import poutine
from torch import Tensor, nn

from ...models import ExpressionData, Model
from .pyro_sites import Plates, make_plates, register, restart_plate
from .sites import Site, latent_sites, step_units


class Guide(nn.Module, ABC):
    """q(z) over the sites of a model; parameters have a leading ``restart`` dimension, and restarts are independent
    fits.

    Called with the model's arguments it is a Pyro guide, for `pyro.infer.SVI`, `Predictive` and `Importance`: it puts
    its parameters into Pyro's store, and samples every continuous site in the plates that the model samples it in, each
    with its own density. Several restarts are a plate ``restart`` to the left of these, as in `restarted`.

    ``draw`` is the same all at once, which is quicker: one reparameterised draw and its log density, without Pyro.
    """

    family: str
    """What its parameters are called in Pyro's store: ``family$$$location``, …"""
    calibrated: bool = False
    _model: Model
    location: nn.Parameter

    def __init__(self, model: Model, sites: tuple[Site, ...], num_restarts: int) -> None:
        super().__init__()
        self.model_dims = model.max_plate_nesting
        self.__dict__["_model"] = model  # not a submodule: its buffers are not the guide's
        self._called = False
        self.sites, self.num_restarts = sites, num_restarts
        self.units = step_units(model, sites)

    @abstractmethod
    def draw(self) -> tuple[dict[str, Tensor], Tensor]:
        """Values by site ``(restart, *plates, *event)``, and log q ``(restart,)``."""

    def step(self, algorithm: torch.optim.Optimizer) -> None:
        """One step of an optimiser, of the locations in units of their own (`Model.step_units`)."""
        before = None if self.units is None else self.location.detach().clone()
        algorithm.step()
        if before is not None and self.units is not None:
            with torch.no_grad():
                self.location.copy_(torch.lerp(before, self.location, self.units))

    @abstractmethod
    def sample(self, plates: Plates) -> dict[str, Tensor]:
        """The same by `pyro.sample`, site by site, in ``plates``."""

    def forward(self, batch: ExpressionData | None = None) -> dict[str, Tensor]:
        """As a Pyro guide; ``batch`` is the model's argument, on which q does not depend.

        Raises
        ------
        ValueError
            At the first call: the guide was made without a batch and is called with one that brings sites, or the
            other way round.
        """
        if not self._called:
            self._check(batch)
            self._called = True
        register(self.family, self)
        with restart_plate(self.num_restarts, self.model_dims):
            return self.sample(make_plates(self.sites))

    def _check(self, batch: ExpressionData | None) -> None:
        with poutine.block():  # a look at the model, which is not part of the guide's own trace
            own, there = {s.name for s in self.sites}, {s.name for s in latent_sites(self._model, batch)}
        if own == there:
            return
        names = ", ".join(sorted(own ^ there))
        how = "made without a batch of cells and called with one" if there - own else "made for batches of cells"
        remedy = "make it with one: MeanField()(model, batch)" if there - own else "call it with one"
        raise ValueError(f"the guide was {how}: it and the model differ in {names}; {remedy}")
