"""`SparseGibbs`: the exact sampler of large spike-and-slab networks, compiled."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from ...models import ExpressionData, Model
from ..draws.moments import Collector
from ..runs.chains import Chains
from ..runs.history import History
from ..runs.run import Run
from ..runs.sampler import Sampler
from ..runs.saving import restoring

if TYPE_CHECKING:
    from ..sparse.kernel import SparseKernel

OWN_BYTES = 2e9  # of the Gram matrices that perturbed targets need for themselves, in every chain
DENSE = "use the dense sampler, guide gibbs"


@dataclass(frozen=True)
class SparseGibbs(Sampler):
    """The exact sampler of a `LinearNetwork` whose `SpikeSlab` is in units of the noise: `sparse.SparseKernel`,
    compiled (numba), parallel over targets, with the background of small effects integrated out.

    Same posterior as `Gibbs` on the same model. A sweep costs what changes in it, where one of the dense sampler takes
    12 times a (tf × tf) by (tf × target) product. Not for contexts, masks and knowledge on the scale (`refusal`).

    Parameters
    ----------
    num_chains
        Chains. Default 4, the least for a telling R-hat.
    num_warmup, num_samples
        Blocks of sweeps before and after adaptation stops, by chain; each of the latter is a draw. Defaults 60 and 100,
        fewer than `Gibbs` has sweeps, because what is summed up has each edge's own draw averaged out. Enough up to
        some hundreds of regulators; at 1,500 they are too few, `diagnose` says so, and more are to be asked for.
    sweeps
        Sweeps of the edges and the noise to one move of the hyperparameters. Default 3: of hundreds of targets the
        hyperparameters are known well, and a target's part of the Gram matrix stays in cache meanwhile.
    """

    num_chains: int = 4
    num_warmup: int = 60
    num_samples: int = 100
    sweeps: int = 3
    name = "sparse"

    def __post_init__(self) -> None:
        if min(self.num_chains, self.num_samples, self.sweeps) < 1 or self.num_warmup < 0:
            raise ValueError(f"{self}: expected at least one chain, one sample, one sweep and no negative warm-up")

    def sized(self, *, num_chains: int, num_warmup: int, num_samples: int) -> Self:
        return replace(self, num_chains=num_chains, num_warmup=num_warmup, num_samples=num_samples)

    @property
    def chains(self) -> Chains:
        """Number and lengths of the chains, in blocks."""
        return Chains(self.num_chains, self.num_warmup, self.num_samples, 1)

    def num_bytes(self, model: Model, run: Run) -> float:
        """Beside what is kept of the draws: weights and residuals of each chain, scores and rotated scores, and a Gram
        matrix a chain, of perturbed targets one each."""
        collector = Collector(model, self.num_chains, self.num_samples, has_inclusion=True)
        num_tfs, num_targets = (len(model.coords[axis]) for axis in model.axes)
        grams = 1 + len(getattr(model, "own", ()))
        edges = 4.0 * num_tfs * num_targets * (2 * self.num_chains + 4)
        return collector.num_bytes + edges + 4.0 * self.num_chains * grams * num_tfs**2

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        return _sample(self.kernel(model, seed=run.seed), run, self.chains)

    def kernel(self, model: Model, *, seed: int = 0) -> "SparseKernel":
        """The kernel that has not been started: ``start(num_warmup)``, then ``step()`` a block.

        Raises
        ------
        ValueError
            What it is not for (`refusal`).
        """
        from ..sparse.kernel import SparseKernel  # here: numba takes half a second

        reason = refusal(model)
        if reason is not None:
            raise ValueError(reason)
        network: Any = model
        return SparseKernel(network, num_chains=self.num_chains, seed=seed, sweeps=self.sweeps)


def refusal(model: Any) -> str | None:
    """Why the sparse sampler is not for a model, in words with what is; None where it is."""
    if not model.plain_regression:
        return f"the sparse sampler is for linear networks, this is a {type(model).__name__}: leave out the guide"
    prior = model.edge_prior.family
    if not prior.independent_gates or prior.measured_in != "noise":
        kind = "SpikeSlab(unit='noise')"
        has = f"{type(prior).__name__}" + (f"(unit={prior.measured_in!r})" if prior.independent_gates else "")
        return f"the sparse sampler is exact for {kind}, this model has {has}: use {kind}, or another guide"
    if model.has_contexts:
        return f"the sparse sampler is for one context, this model has {len(model.contexts)}: {DENSE}"
    if model.edge_prior.masks:
        return f"under a mask every target has a background of its own: {DENSE}"
    if prior.strategy != "inclusion":
        return f"knowledge on the scale gives every edge a slab of its own: {DENSE}, or strategy inclusion"
    hyper = prior.edge_logit.family
    if hyper is not None and hyper.__name__ != "Normal":
        return (
            "the sparse sampler needs a Normal hyperprior of `edge_probability` (on the logit), this has "
            f"{hyper.__name__}: use Hyper(dist.Normal, loc, scale) or a number"
        )
    need = 8.0 * len(model.own) * len(model.tfs) ** 2
    if need > OWN_BYTES:
        return (
            f"{len(model.own)} perturbed targets each need {len(model.tfs)} x {len(model.tfs)} statistics of their own "
            f"with the background taken out, {need / 1e9:.0f} GB a chain: {DENSE}"
        )
    return None


def _sample(kernel: "SparseKernel", run: Run, chains: Chains) -> tuple[Collector, History]:
    from ..sparse.moments import SparseCollector

    started = time.monotonic()
    kernel.start(chains.num_warmup)
    collector = SparseCollector(kernel.model, chains.number, chains.num_samples)
    record: list[np.ndarray] = []
    first = 0
    if run.resume is not None:
        with restoring():
            first = run.resume["step"]
            kernel.restore(run.resume["kernel"])
            collector.restore(run.resume["collector"], torch.device("cpu"))
            record = list(run.resume["elbo"].numpy())
    reason = "budget"

    def snapshot() -> dict[str, Any]:
        return {
            "fingerprint": run.fingerprint,
            "kind": "sparse",
            "step": len(record),
            "kernel": kernel.snapshot(),
            "collector": collector.snapshot(),
            "elbo": torch.tensor(np.stack(record)),
        }

    with run.steps(first, chains.total) as steps:
        for step in steps:
            kept = chains.keeps(step)
            kernel.step(collector.streams if kept else None)
            record.append(kernel.log_likelihood())
            if kept:
                collector.add(kernel.sites(network=collector.wants_network))
            message = f"mean inclusion {kernel.mean_inclusion:.3f}" if (step + 1) % 10 == 0 else ""
            steps.tell(step + 1, message, snapshot)
            if not np.isfinite(record[-1]).all():
                reason = f"diverged at block {step + 1}: log-likelihood is not finite"
                break
    return collector, History.every_step(reason, np.stack(record, axis=1), time.monotonic() - started)
