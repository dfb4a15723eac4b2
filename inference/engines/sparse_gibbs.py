"""`SparseGibbs`: the exact sampler of large spike-and-slab networks, compiled."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from ...models import ExpressionData, Model
from ..draws.kept_edges import EDGE_BUDGET
from ..draws.moments import Collector
from ..runs.chains import Chains
from ..runs.history import History
from ..runs.run import Run
from ..runs.sampler import Sampler
from ..runs.saving import restoring
from ..runs.threads import one_thread_each
from ..sparse.early import FEWEST_EDGES, is_looked_at, is_precise, left_of
from ..sparse.settling import FEWEST, Traces, effort_of, is_of_targets, not_reached
from ..sparse.tables import factor_bytes, factors_kept
from ..sparse.window import FEW_TFS, LEAST_NODES
from .base import PartToTime

if TYPE_CHECKING:
    from distributed import Client

    from ..sparse.kernel import SparseKernel
    from ..sparse.moments import SparseCollector

OWN_BYTES = 2e9  # of the Gram matrices that perturbed targets need for themselves, in every chain
OFTEN = 0.1  # share of the edges, at the most, of which every draw is kept
LONGEST, LONG_EDGES = (3, 8), 1e6  # multiples of the draws asked for; times edges, that may be drawn
BUT_FOR_TARGETS = "converged but for single targets"  # what the reason begins with where some have not settled
OUT_OF_TIME = "time budget"  # what the reason begins with where a budget was spent
WARMUP_SHARE = 1 / 3  # of a budget
LEAST_WARMUP, LEAST_DRAWS = 10, 10  # blocks that are taken whatever the budget
MANY_EDGES = 1e6  # of which the first blocks, with every edge present, take minutes: a plan times a part of the targets
PARTS = (32, 96)  # targets of each of a plan's two parts, for each thread
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
        Blocks of sweeps before and after adaptation stops, by chain; each of the latter is a draw. Defaults 40 and 100,
        fewer than `Gibbs` has sweeps, because chains begin near where they end (`sparse.start`), and what is summed up
        has each edge's own draw averaged out.
    sweeps
        Sweeps of the edges and the noise to one move of the hyperparameters. Default 3: of hundreds of targets the
        hyperparameters are known well, and a target's part of the Gram matrix stays in cache meanwhile. Targets of
        which chains disagree in the warm-up have four or twelve times as many, as long as that costs a quarter more at
        the most (`sparse.settling`).
    longest
        Draws by chain at the most, in multiples of ``num_samples``: half as many again are taken as long as R-hat of a
        hyperparameter is above 1.05, or one has fewer than 40 effective draws. Not where only R-hat of the
        log-likelihood (above 1.05) or of targets (one in fifty above 1.1) is left, whose chains stay apart however long
        they are: ``history.reason`` says so. Default 3, up to 8 of networks of fewer than 300,000 edges, whose draws
        take no time (`longest_of`).
    shortest
        Draws by chain at the least. A run ends after so many, or ten more and so on, where chains have settled, but for
        single targets whose chains stay apart, and agree on edges as closely as draws tell them (`sparse.early`).
        Default 50 of three chains or more of networks of at least 50,000 edges, and ``num_samples`` of smaller ones,
        whose draws take no time, and where ``num_samples`` is not its own default.
    budget
        Minutes of sampling, after which it ends with what it has, at least ten draws by chain, and
        ``history.reason`` says what was not reached; a third of it at the most is warm-up. Numbers then depend on the
        clock. Default none.
    """

    num_chains: int = 4
    num_warmup: int = 40
    num_samples: int = 100
    sweeps: int = 3
    longest: int | None = None
    shortest: int | None = None
    budget: float | None = None
    name = "sparse"
    takes_client = True

    def __post_init__(self) -> None:
        if min(self.num_chains, self.num_samples, self.sweeps) < 1 or self.num_warmup < 0:
            raise ValueError(f"{self}: expected at least one chain, one sample, one sweep and no negative warm-up")
        if self.longest is not None and self.longest < 1:
            raise ValueError(f"longest={self.longest}: expected at least 1, the samples asked for")
        if self.shortest is not None and self.shortest < 1:
            raise ValueError(f"shortest={self.shortest}: expected at least 1 draw")
        if self.budget is not None and not 0 < self.budget < math.inf:
            raise ValueError(f"budget={self.budget}: expected minutes, a positive number")

    @classmethod
    def asked(cls, chains: int | None, draws: int | None) -> dict[str, Any]:
        """So many also where that is the default, of which fewer may do."""
        return super().asked(chains, draws) | ({"shortest": draws} if draws == cls.num_samples else {})

    def sized(self, *, num_chains: int, num_warmup: int, num_samples: int) -> Self:
        lengths = {"num_chains": num_chains, "num_warmup": num_warmup, "num_samples": num_samples}
        return replace(self, **lengths, shortest=num_samples)

    def fewest_draws(self, num_edges: float) -> int:
        """Draws by chain before which a run of so many edges does not end."""
        if self.shortest is not None:
            return self.shortest
        own = self.num_samples != type(self).num_samples
        return self.num_samples if own or num_edges < FEWEST_EDGES else FEWEST

    @property
    def chains(self) -> Chains:
        """Number and lengths of the chains, in blocks."""
        return Chains(self.num_chains, self.num_warmup, self.num_samples, 1)

    def num_bytes(self, model: Model, run: Run) -> float:
        """Beside the model: at the end of sampling weights and residuals of each chain, rotated scores (of many
        regulators those at the nodes of a range of the background too), a Gram matrix a chain, what perturbed
        targets have for themselves, what was summed up and kept of as many draws as it may take; or after it, with
        moments, a probability of each edge by chain and a draw that is put together in place of the state."""
        num_tfs, num_targets = (len(model.coords[axis]) for axis in model.axes)
        edges, chains = float(num_tfs * num_targets), self.num_chains
        longest = self.num_samples * (self.longest or longest_of(edges))
        collector = Collector(model, chains, self.num_samples, has_inclusion=True)
        kept = max(collector.kept, Collector(model, chains, longest, has_inclusion=True).kept)
        draws = 5 * edges * chains * kept  # weights, and whether they exist
        if collector.thin > 1:
            draws += min(OFTEN * edges * 4 * chains * self.num_samples, EDGE_BUDGET)
        draws += 8 * chains * num_targets * longest
        sums = edges * (2 * 8 + 2 * 4 + 4 * chains)
        nodes = LEAST_NODES if num_tfs > FEW_TFS else 0  # more of them in the warm-up, when nothing is summed up
        state = 4 * (edges * (2 * chains + 1 + nodes) + (nodes + chains) * num_tfs**2)
        state += _own_bytes(model, chains, nodes)
        return draws + sums + max(state, 4 * edges * (5 + 2 * chains))

    def parts_to_time(self, model: Model) -> "Sequence[PartToTime]":
        """Of many edges: targets evenly spaced, and no more chains than work at once."""
        if refusal(model) is not None:
            return ()
        threads, (num_tfs, number) = torch.get_num_threads(), [len(model.coords[axis]) for axis in model.axes]
        sizes = [size * threads for size in PARTS]
        if number * num_tfs < MANY_EDGES or 2 * sizes[-1] > number:
            return ()
        chains = min(self.num_chains, threads)
        fewer, found = replace(self, num_chains=chains), []
        for size in sizes:
            part = model.narrowed(np.linspace(0, number - 1, size).round().astype(int).tolist())
            if part is None:
                return ()
            found.append(PartToTime(fewer, part, size, self.num_chains / chains))
        return found

    def run(self, model: Model, data: ExpressionData | None, run: Run) -> tuple[Collector, History]:
        from ..sparse.moments import SparseCollector

        with one_thread_each() as threads:
            kernel = self.kernel(model, seed=run.seed, client=run.client, threads=threads)
            collector = SparseCollector(kernel.model, self.num_chains, self.num_samples)
            return _Sampling(self, kernel, collector, Traces(), run).go()

    def kernel(
        self, model: Model, *, seed: int = 0, client: "Client | None" = None, threads: int | None = None
    ) -> "SparseKernel":
        """The kernel that has not been started: ``start(num_warmup)``, then ``step()`` a block; with ``client`` its
        targets are swept by the workers of that, without by ``threads``, as of `SparseKernel`.

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
        if client is None:
            return SparseKernel(network, num_chains=self.num_chains, seed=seed, sweeps=self.sweeps, threads=threads)
        from ..runs.cluster import Cluster
        from ..sparse.divided import DividedKernel

        return DividedKernel(
            network, cluster=Cluster(client), num_chains=self.num_chains, seed=seed, sweeps=self.sweeps
        )


def longest_of(num_edges: float) -> int:
    """Default of `SparseGibbs.longest` for a network of so many edges."""
    return int(min(max(LONG_EDGES / max(num_edges, 1), LONGEST[0]), LONGEST[1]))


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
    need = _own_bytes(model, 1, 0)
    if need > OWN_BYTES:
        return (
            f"{len(model.perturbed)} perturbed targets need {need / 1e9:.0f} GB a chain for statistics of their own "
            f"with the background taken out: list fewer regulators, or {DENSE}"
        )
    return None


def _own_bytes(model: Any, chains: int, nodes: int) -> float:
    """Of perturbed targets: of those that have a matrix, eigenvectors and a matrix a chain; of those with rows, these,
    those of each chain and at the nodes of a range of the background, and factors of what they have in common."""
    if not hasattr(model, "clamped_rows"):
        return 0.0
    num_tfs, rows = float(len(model.tfs)), model.clamped_rows.target
    number = rows.unique(return_counts=True)[1].numpy(force=True)
    factors = factors_kept(number, chains) * factor_bytes(number)
    return 4 * len(model.own) * num_tfs**2 * (1 + chains) + 4 * len(rows) * num_tfs * (1 + chains + nodes) + factors


@dataclass(eq=False)
class _Sampling:
    """A run: how far it is, and when it ends."""

    engine: SparseGibbs
    kernel: "SparseKernel"
    collector: "SparseCollector"
    traces: "Traces"
    run: Run
    record: list[np.ndarray] = field(default_factory=list)
    total: int = 0  # blocks, as far as is known
    spent: float = 0.0  # seconds before the last resumption
    started: float = field(default_factory=time.monotonic)
    reason: str = ""

    def go(self) -> tuple[Collector, History]:
        """Warm-up, draws, and more draws while they are needed and allowed."""
        self.kernel.start(self.engine.num_warmup)
        self.total = self.engine.chains.total
        if self.run.resume is not None:
            with restoring():
                self._restore(self.run.resume)
            if len(self.record) > self.kernel.num_warmup:  # interrupted after its last block
                self.reason = self._ended()
        while not self.reason:
            with self.run.steps(len(self.record), self.total) as steps:
                for step in steps:
                    self._block()
                    message = f"mean inclusion {self.kernel.mean_inclusion:.3f}" if (step + 1) % 10 == 0 else ""
                    self.reason = self._ended()
                    steps.tell(step + 1, message, self._snapshot)
                    if self.reason or step + 1 >= self.total:
                        break
        self.kernel.hand_over(self.collector.streams)
        return self.collector, History.every_step(self.reason, np.stack(self.record, axis=1), self._seconds)

    @property
    def _seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    @property
    def _limit(self) -> float:
        return math.inf if self.engine.budget is None else 60 * self.engine.budget

    def _block(self) -> None:
        kernel = self.kernel
        kept = kernel.count >= kernel.num_warmup
        kernel.step(self.collector.streams if kept else None)
        self.record.append(kernel.log_likelihood())
        if kernel.count > kernel.num_warmup // 2:
            if not kept and self.collector.present is not None:
                self.collector.see(kernel.weight)
            self.traces.add(kernel.fit_of_targets, kernel.num_edges)
        if kept:
            edges = kernel.edges_at(self.collector.place) if len(self.collector.place) else None
            self.collector.add(kernel.sites(network=self.collector.wants_network), edges=edges)
        elif self._seconds > WARMUP_SHARE * self._limit and kernel.count >= LEAST_WARMUP:
            kernel.num_warmup = kernel.count
            self.total = kernel.num_warmup + self.engine.num_samples
        if kernel.count == kernel.num_warmup:  # the last time that anything adapts
            self.collector.watch(sum(self.traces.counts))
            if self.traces.sums:
                kernel.effort[:] = effort_of(self.traces.rhat(split=False))
            self.traces = Traces()

    def _ended(self) -> str:
        """Why the run is to end here; empty while it is not."""
        if not np.isfinite(self.record[-1]).all():
            return f"diverged at block {len(self.record)}: log-likelihood is not finite"
        drawn, wanted = len(self.record) - self.kernel.num_warmup, self.engine.num_samples
        out_of_time = drawn >= min(LEAST_DRAWS, wanted) and self._seconds > self._limit
        if not out_of_time and len(self.record) < self.total:
            return self._done(drawn)
        left = not_reached(*self._followed(drawn))
        if out_of_time and (left or drawn < wanted):
            return "; ".join([f"{OUT_OF_TIME}: {drawn} of {wanted} draws by chain", *left])
        # chains that stay apart in a few targets do not meet by sweeping three times as long
        hopeless = all(is_of_targets(text) for text in left)
        longest = self.engine.longest or longest_of(float(self.kernel.hyper.num_edges))
        if not hopeless and drawn < longest * wanted:
            self.total += min(max(1, wanted // 2), longest * wanted - drawn)
            self.collector.lengthen(self.total - self.kernel.num_warmup)
            return ""
        return "; ".join(["budget", *left])

    def _followed(self, drawn: int) -> tuple[dict[str, np.ndarray], np.ndarray, Traces]:
        """What `not_reached` takes."""
        hypers = {n: torch.stack(v, 1).numpy() for n, v in self.collector.draws.items() if v[0].dim() == 1}
        return hypers, np.stack(self.record[-drawn:], axis=1), self.traces

    def _done(self, drawn: int) -> str:
        """Why fewer draws than were asked for do (`sparse.early`); empty where they do not. What costs least is asked
        first."""
        fewest = self.engine.fewest_draws(float(self.kernel.hyper.num_edges))
        if drawn >= self.engine.num_samples or not is_looked_at(drawn, fewest):
            return ""
        left = left_of(*self._followed(drawn))
        if left is None:
            return ""
        spread: np.ndarray = np.sum(self.kernel.spreads(self.collector.streams, drawn), axis=0)
        if not is_precise(spread):
            return ""
        return "; ".join([BUT_FOR_TARGETS, *left]) if left else "converged"

    # -- checkpoints ----
    def _snapshot(self) -> dict[str, Any]:
        self.kernel.hand_over(self.collector.streams)
        return {
            "fingerprint": self.run.fingerprint,
            "kind": "sparse",
            "step": len(self.record),
            "total": self.total,
            "spent": self._seconds,
            "kernel": self.kernel.snapshot(),
            "collector": self.collector.snapshot(),
            "traces": self.traces.snapshot(),
            "elbo": torch.tensor(np.stack(self.record)),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.total, self.spent = state["total"], state["spent"]
        self.kernel.restore(state["kernel"])
        self.collector.restore(state["collector"], torch.device("cpu"))
        self.kernel.take_over(self.collector.streams)
        self.traces = Traces.restored(state["traces"])
        self.record = list(state["elbo"].numpy())
