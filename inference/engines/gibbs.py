"""`Gibbs`: the exact sampler, by the kernel that goes with a model and its prior."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch

from ...models import ExpressionData, FactorModel, Model, RegressionNetwork, Symphony
from ...priors import Collaborative, EdgePrior
from ..draws.moments import Collector
from ..factors import gibbs as factor_gibbs
from ..gibbs.evidence import EvidenceKernel
from ..gibbs.filter import FilterKernel
from ..gibbs.gains import GainKernel
from ..gibbs.kernel import GibbsKernel
from ..gibbs.sites import sites_of
from ..lookup import along_bases
from ..runs.chains import Chains
from ..runs.history import History
from ..runs.run import Run
from ..runs.sampler import Sampler
from ..runs.saving import restoring
from ..sparse.settling import Traces, not_reached, slow

# arrays (chain, tf, target) at the peak of a sweep, measured with 300 regulators and 2,000 targets; with several
# contexts, of each
SWEEP_ARRAYS, CONTEXT_ARRAYS = 16, 21
OWN_EDGE_ARRAYS = 32  # where contexts have edges of their own: counted, not measured


@dataclass(frozen=True)
class Gibbs(Sampler):
    """The exact sampler: `GibbsKernel` of spike-and-slab networks, `FilterKernel` where edges recommend each other,
    `EvidenceKernel` where they are observed too, `factors.gibbs.sample` of factor models.

    Parameters
    ----------
    num_chains
        Chains, all in one tensor program. Default 4, the least for a telling R-hat.
    num_warmup, num_samples
        Sweeps before and after adaptation stops, by chain. Defaults 300 and 400: the edge
        probabilities of two such runs on real data differ by 0.002 on average (`make bench`, section stability).
    thin
        Sweeps between kept draws. Default 1; moments use only the kept ones.
    longest
        Draws by chain at the most, in multiples of ``num_samples``: of networks, half as many again are taken as long
        as R-hat of a hyperparameter is above 1.1, or one has fewer than 40 effective draws, which the checks of a
        report ask for (not for R-hat of the log-likelihood: chains that stay apart in a few targets do not meet in
        twice as many); what is not reached, ``history.reason`` says. Default 1: no more than were asked for.
    """

    num_chains: int = 4
    num_warmup: int = 300
    num_samples: int = 400
    thin: int = 1
    longest: int = 1
    name = "gibbs"
    quick_start = True

    def __post_init__(self) -> None:
        if min(self.num_chains, self.num_samples, self.thin) < 1 or self.num_warmup < 0:
            raise ValueError(f"{self}: expected at least one chain, one sample, thin >= 1 and no negative warm-up")
        if self.longest < 1:
            raise ValueError(f"longest={self.longest}: expected at least 1, the samples asked for")

    @classmethod
    def asked(cls, chains: int | None, draws: int | None) -> dict[str, Any]:
        return super().asked(chains, draws) | ({} if draws is None else {"longest": 1})

    @property
    def most_draws(self) -> int:
        return self.num_samples * self.longest

    @property
    def identity(self) -> str:
        """Without `longest` where it is 1: checkpoints of versions that did not have it go on."""
        return repr(self).replace(", longest=1)", ")")

    def sized(self, *, num_chains: int, num_warmup: int, num_samples: int) -> Self:
        return replace(self, num_chains=num_chains, num_warmup=num_warmup, num_samples=num_samples)

    @property
    def chains(self) -> Chains:
        """Number and lengths of the chains."""
        return Chains(self.num_chains, self.num_warmup, self.num_samples, self.thin, self.longest)

    def num_bytes(self, model: Model, run: Run) -> float:
        collector = Collector(model, self.num_chains, self.num_samples, has_inclusion=True)
        edges = math.prod(len(model.coords[axis]) for axis in model.axes)
        contexts = len(model.coords.get("context", ("all",)))
        each = OWN_EDGE_ARRAYS if "difference_rate" in model.dims else CONTEXT_ARRAYS
        arrays = SWEEP_ARRAYS if contexts == 1 else each * contexts
        return collector.num_bytes + arrays * 4 * self.num_chains * edges

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
    return sample_kernel(kernel_of(model)(model, num_chains=chains.number, seed=run.seed), run, chains)


def sample_kernel(kernel: GibbsKernel, run: Run, chains: Chains) -> tuple[Collector, History]:
    """Draws of a kernel of ``chains.number`` chains that has not been set up."""
    started, model = time.monotonic(), kernel.model
    kernel.setup(chains.num_warmup)
    collector = Collector(model, chains.number, chains.num_samples, has_inclusion=True)
    record: list[np.ndarray] = []
    if run.resume is None:
        state, first = kernel.initial_params, 0
    else:
        with restoring():
            state, first = kernel.restore(run.resume["kernel"]), run.resume["step"]
            collector.restore(run.resume["collector"], model.constant.device)
            record = list(run.resume["elbo"].numpy())
    total, reason = chains.total if run.resume is None else run.resume.get("total", chains.total), ""

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": run.fingerprint,
            "kind": "gibbs",
            "step": len(record),
            "total": total,
            "kernel": kernel.snapshot(state),
            "collector": collector.snapshot(),
            "elbo": torch.tensor(np.stack(record)),
        }

    while not reason:
        with run.steps(first, total) as steps:
            for step in steps:
                state = kernel.sample(state)
                record.append(kernel.log_likelihood(state).cpu().numpy().astype(np.float64))
                if chains.keeps(step):
                    collector.add(sites_of(model, state), kernel.probability, kernel.context_edge(state))
                steps.tell(step + 1, kernel.logging()["mean inclusion"] if (step + 1) % 10 == 0 else "", snapshot)
                if not np.isfinite(record[-1]).all():
                    reason = f"diverged at sweep {step + 1}: log-likelihood is not finite"
                    break
        if not reason:
            more, reason = _ended(collector, record, chains)
            first, total = total, total + more
    return collector, History.every_step(reason, np.stack(record, axis=1), time.monotonic() - started)


def _ended(collector: Collector, record: Sequence[np.ndarray], chains: Chains) -> tuple[int, str]:
    """Sweeps more that are needed and allowed, or none and why the run is to end."""
    if chains.longest == 1:
        return 0, "budget"
    hypers = {name: torch.stack(values, 1).numpy() for name, values in collector.draws.items() if values[0].dim() == 1}
    more = min(max(1, chains.num_samples // 2), chains.longest * chains.num_samples - collector.count)
    if more > 0 and slow(hypers):
        return more * chains.thin, ""
    likelihood = np.stack([value for step, value in enumerate(record) if chains.keeps(step)], axis=1)
    return 0, "; ".join(["budget", *not_reached(hypers, likelihood, Traces())])


Kernels = dict[type, type[GibbsKernel]]
KERNELS: dict[type, Kernels] = {
    RegressionNetwork: {EdgePrior: GibbsKernel, Collaborative: FilterKernel},
    Symphony: {EdgePrior: EvidenceKernel},
}
WITH_GAINS: Kernels = {EdgePrior: GainKernel}
"""The moves on a network: by its class, then by the family of its edge prior; of one whose gains are sites, the second
table. A kernel refuses priors it is not for."""


def kernel_of(model: RegressionNetwork) -> type[GibbsKernel]:
    """The sampler of a network: with observed edges, with features of a `Collaborative` prior, gains that
    move, or plain."""
    kernels = WITH_GAINS if "headroom" in model.dims else along_bases(KERNELS, type(model))
    assert kernels is not None, "regressions have a row"
    kernel = along_bases(kernels, type(model.edge_prior.family))
    assert kernel is not None, "every row is for any edge prior"
    return kernel


Sample = Callable[[Any, ExpressionData | None, Run, Chains], tuple[Collector, History]]
CHAINS: dict[type, Sample] = {RegressionNetwork: sample_network, FactorModel: factor_gibbs.sample}
"""What draws the chains of `Gibbs`, by class of model; a row for another model makes `Gibbs` an engine of it."""
