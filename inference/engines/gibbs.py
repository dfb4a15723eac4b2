"""Samplers: guides that draw from the exact posterior instead of fitting a family."""

import time
import warnings
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from pyro.infer.mcmc import MCMC
from pyro.infer.mcmc import NUTS as PyroNUTS
from torch import Tensor

from ...models import ExpressionData, FactorModel, Model, RegressionNetwork, Symphony
from ...priors import Collaborative, EdgePrior
from ..draws.moments import Collector, add_draw
from ..factors import gibbs as factor_gibbs
from ..gibbs.evidence import EvidenceKernel
from ..gibbs.filter import FilterKernel
from ..gibbs.hyper import State
from ..gibbs.kernel import GibbsKernel
from ..runs.callbacks import FitState
from ..runs.chains import Chains
from ..runs.history import History
from ..runs.machinery import along_bases
from ..runs.run import Run
from ..variational.elbo import log_joint
from ..variational.sites import constrain, latent_sites, random_starts
from .base import Engine

NUTS_LIMIT = 30  # genes: beyond it the reference takes hours


@dataclass(frozen=True)
class Sampler(Engine, ABC):
    """Draws from the posterior of a model; asymptotically exact, so it carries the calibration badge."""

    calibrated = True
    draws_chains = True
    length_options = ("num_chains", "num_samples")
    minibatches = False


@dataclass(frozen=True)
class Gibbs(Sampler):
    """The exact sampler: `GibbsKernel` of spike-and-slab networks, `FilterKernel` where edges recommend each other,
    `EvidenceKernel` where they are observed too, `factor_gibbs.sample` of factor models.

    Parameters
    ----------
    num_chains
        Chains, all in one tensor program. Default 4, the least for a telling R-hat.
    num_warmup, num_samples
        Sweeps before and after adaptation stops, by chain. Defaults 300 and 400: the edge
        probabilities of two such runs on real data differ by 0.002 on average (`make bench`, section stability).
    thin
        Sweeps between kept draws. Default 1; moments use only the kept ones.
    """

    num_chains: int = 4
    num_warmup: int = 300
    num_samples: int = 400
    thin: int = 1
    name = "gibbs"

    def __post_init__(self) -> None:
        if min(self.num_chains, self.num_samples, self.thin) < 1 or self.num_warmup < 0:
            raise ValueError(f"{self}: expected at least one chain, one sample, thin >= 1 and no negative warm-up")

    def sized(self, *, num_chains: int, num_warmup: int, num_samples: int) -> Self:
        return replace(self, num_chains=num_chains, num_warmup=num_warmup, num_samples=num_samples)

    @property
    def chains(self) -> Chains:
        """Number and lengths of the chains."""
        return Chains(self.num_chains, self.num_warmup, self.num_samples, self.thin)

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        sample = along_bases(CHAINS, type(model))
        if sample is None:
            raise ValueError(
                "the Gibbs sampler is for linear networks, FactorBox and factor models, not for "
                f"{type(model).__name__}: use a variational guide"
            )
        return sample(model, data, run, self.chains)


def sample_network(
    model: RegressionNetwork, data: ExpressionData | None, run: Run, chains: Chains
) -> tuple[Collector, History]:
    """Chains of the network's kernel (`kernel_of`), which conditions on its sufficient statistics."""
    started = time.monotonic()
    kernel = kernel_of(model)(model, num_chains=chains.number, seed=run.seed)
    kernel.setup(chains.num_warmup)
    collector = Collector(model, chains.number, chains.num_samples, has_inclusion=True)
    record: list[np.ndarray] = []
    if run.resume is None:
        state, first = kernel.initial_params, 0
    else:
        state, first = kernel.restore(run.resume["kernel"]), run.resume["step"]
        collector.restore(run.resume["collector"], model.constant.device)
        record = list(run.resume["elbo"].numpy())
    reason = "budget"

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": run.fingerprint,
            "kind": "gibbs",
            "step": len(record),
            "kernel": kernel.snapshot(state),
            "collector": collector.snapshot(),
            "elbo": torch.tensor(np.stack(record)),
        }

    with run.steps(first, chains.total) as steps:
        for step in steps:
            state = kernel.sample(state)
            record.append(kernel.log_likelihood(state).cpu().numpy().astype(np.float64))
            if chains.keeps(step):
                collector.add(sites_of(model, state), kernel.probability)
            steps.tell(step + 1, kernel.logging()["mean inclusion"] if (step + 1) % 10 == 0 else "", snapshot)
            if not np.isfinite(record[-1]).all():
                reason = f"diverged at sweep {step + 1}: log-likelihood is not finite"
                break
    return collector, History.every_step(reason, np.stack(record, axis=1), time.monotonic() - started)


Kernels = dict[type, type[GibbsKernel]]
KERNELS: dict[type, Kernels] = {
    RegressionNetwork: {EdgePrior: GibbsKernel, Collaborative: FilterKernel},
    Symphony: {EdgePrior: EvidenceKernel},
}
"""The moves on a network: by its class, then by the family of its edge prior. A kernel refuses priors it is not for."""


def kernel_of(model: RegressionNetwork) -> type[GibbsKernel]:
    """The sampler of a network: with observed edges, with features of a `Collaborative` prior, or plain."""
    kernels = along_bases(KERNELS, type(model))
    assert kernels is not None, "regressions have a row"
    kernel = along_bases(kernels, type(model.edge_prior.family))
    assert kernel is not None, "every row is for any edge prior"
    return kernel


Sample = Callable[[Any, ExpressionData | None, Run, Chains], tuple[Collector, History]]
CHAINS: dict[type, Sample] = {RegressionNetwork: sample_network, FactorModel: factor_gibbs.sample}
"""What draws the chains of `Gibbs`, by class of model; a row for another model makes `Gibbs` an engine of it."""


def sites_of(model: RegressionNetwork, state: State) -> dict[str, Tensor]:
    """The kernel's state as the model's sites, ``(chain, *dims)``."""
    sites = {}
    for name in model.dims:
        value = state[name]
        if name == "noise_variance":
            value = value.movedim(0, 1) if model.has_contexts else value[0]
        elif name == "W_context":
            value = value.movedim(0, 1)
        sites[name] = value
    return sites


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
            return -(log_joint(model, values, data, 1)[0] + jacobian).sum()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracer warnings about Python branches on shapes, which are constant here
            compiled = torch.jit.trace(potential, (start[0],), check_trace=False)
        chains = []
        for chain in range(self.num_chains):
            torch.manual_seed(run.seed * 1009 + chain)
            kernel = PyroNUTS(potential_fn=lambda z: compiled(z["z"]))
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
