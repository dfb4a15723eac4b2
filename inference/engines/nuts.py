"""NUTS: the reference for small problems."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from pyro.infer.mcmc import MCMC
from pyro.infer.mcmc import NUTS as PyroNUTS
from torch import Tensor

from ...models import ExpressionData, Model
from ..draws.moments import Collector, add_draw
from ..runs.callbacks import FitState
from ..runs.history import History
from ..runs.run import Run
from ..runs.sampler import Sampler
from ..variational.elbo import log_joint
from ..variational.sites import constrain, latent_sites, random_starts

NUTS_LIMIT = 30  # genes: beyond it the reference takes hours


@dataclass(frozen=True)
class NUTS(Sampler):
    """Pyro's No-U-Turn sampler: the reference for small problems (Hoffman & Gelman 2014).

    On all continuous sites at once, in unconstrained space; inclusion variables are summed out exactly (`log_joint`;
    Pyro's own enumeration would give W a value for each state of its inclusion variable). Chains run one after the
    other.

    Parameters
    ----------
    num_chains, num_warmup, num_samples
        As usual; warm-up adapts step size and a diagonal mass matrix.
    spread
        Sd of the random starts in unconstrained space.
    """

    num_chains: int = 2
    num_warmup: int = 300
    num_samples: int = 300
    spread: float = 0.3
    name = "nuts"

    def sized(self, *, num_chains: int, num_warmup: int, num_samples: int) -> Self:
        return replace(self, num_chains=num_chains, num_warmup=num_warmup, num_samples=num_samples)

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        if len(model.coords[model.axes[1]]) > NUTS_LIMIT:
            raise ValueError(
                f"NUTS is the reference for at most {NUTS_LIMIT} genes, this model has "
                f"{len(model.coords[model.axes[1]])}: use Gibbs or a variational guide"
            )
        if run.resume is not None:
            raise ValueError("NUTS cannot be resumed: run it again (it is meant for problems of minutes)")
        started = time.monotonic()
        has_inclusion = "inclusion" in model.dims
        collector = Collector(model, self.num_chains, self.num_samples, has_inclusion=has_inclusion)
        sites = latent_sites(model, data)
        start = random_starts(model, sites, self.num_chains, self.spread)

        def potential(flat: Tensor) -> Tensor:
            values, jacobian = constrain(flat[None], sites)
            if not model.traceable and not all(bool(value.isfinite().all()) for value in values.values()):
                return torch.nan * flat.sum()  # a trajectory that left the numbers, which NUTS ends and rejects
            return -(log_joint(model, values, data, 1)[0] + jacobian).sum()

        energy = self._compiled(potential, start[0]) if model.traceable else potential
        chains = []
        for chain in range(self.num_chains):
            torch.manual_seed(run.seed * 1009 + chain)
            kernel = PyroNUTS(potential_fn=lambda z: energy(z["z"]))
            mcmc = MCMC(
                kernel,
                num_samples=self.num_samples,
                warmup_steps=self.num_warmup,
                initial_params={"z": start[chain]},
                disable_progbar=True,
            )
            mcmc.run()
            chains.append(mcmc.get_samples()["z"])  # (draw, dimension)
            for callback in run.callbacks:
                callback(FitState(chain + 1, self.num_chains, f"chain {chain + 1} of {self.num_chains}", dict))
        for flat in torch.stack(chains, dim=1):
            add_draw(model, collector, constrain(flat, sites)[0], run.threshold)
        return collector, History.every_step("budget", np.zeros((self.num_chains, 0)), time.monotonic() - started)

    @staticmethod
    def _compiled(potential: Callable[[Tensor], Tensor], start: Tensor) -> Callable[[Tensor], Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracer warnings about Python branches on shapes, which are constant here
            return torch.jit.trace(potential, (start,), check_trace=False)
