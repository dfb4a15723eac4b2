"""The sparse sampler beside the dense one and beside what else ranks edges: CPU seconds, ranking, calibration and lists
on simulated truth, and networks drawn from the prior. One thread, one process, in turn."""

import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from ...inference import Gibbs, Posterior, SparseGibbs, fit
from ...inference.calibration import expected_calibration_error, expected_list
from ...inference.sbc import LinearDesign
from ...models import GramStatistics, LinearNetwork
from ...models.simulators import simulate_linear
from ...priors import SpikeSlab
from ..baselines import GENIE3, Correlation, GRNBoost2, Lasso, Ridge
from ..baselines._common import expression, one_target, tf_columns
from ..scores import average_precision
from .results import Results

SOME_TARGETS = 10  # of which the rivals that fit target by target are timed and scored
RATE = 0.1  # expected false discovery rate of the lists


class Case(NamedTuple):
    """Cells, genes, regulators and the probability of an edge of a simulation; whether the dense sampler is run, and
    whether rivals are."""

    cells: int
    genes: int
    tfs: int
    edge: float
    dense: bool
    rivals: bool = False

    @property
    def task(self) -> str:
        return f"simulated, {self.cells} x {self.genes} genes x {self.tfs} TFs"


CASES = (
    Case(1000, 300, 50, 0.1, True),
    Case(2000, 1000, 100, 0.1, True, True),
    Case(5000, 3000, 400, 0.03, False, True),
    Case(10000, 5000, 800, 0.02, False),
)
DENSE = "dense, unit sd"
METHODS: dict[str, tuple[SpikeSlab, Gibbs | SparseGibbs]] = {
    "sparse, unit noise": (SpikeSlab(unit="noise"), SparseGibbs()),
    DENSE: (SpikeSlab(unit="sd"), Gibbs()),
}
DESIGN = LinearDesign(num_tfs=8, num_targets=30, num_cells=120, standardised=True)


def run(folder: Path, results: Results, cases: tuple[Case, ...] = CASES, data_sets: int = 24) -> None:
    """All rows; ``folder`` is not read."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            compile_once()
            results.resume_parts()
            for case in cases:
                run_case(results, case)
            if data_sets:
                results.part("draws of the prior", partial(run_from_prior, results, data_sets))
    finally:
        torch.set_num_threads(threads)


def compile_once() -> None:
    """What numba compiles is on disk after the first run on a machine; it is not part of the times."""
    data = simulate_linear(num_genes=8, num_tfs=3, num_cells=40, seed=0).data
    model = LinearNetwork.from_data(data, edge_prior=SpikeSlab(unit="noise"))
    fit(model, guide=SparseGibbs(num_chains=1, num_warmup=1, num_samples=1))


def timed(model: LinearNetwork, guide: Gibbs | SparseGibbs, seed: int) -> tuple[Posterior, float]:
    """A fit and its CPU seconds."""
    started = time.process_time()
    posterior = fit(model, guide=guide, seed=seed)
    return posterior, time.process_time() - started


def run_case(results: Results, case: Case) -> None:
    """One simulation, the samplers in turn, then rivals; each is a part."""

    @cache
    def simulation() -> Any:  # not made where every part has ended
        return simulate_linear(
            num_genes=case.genes, num_tfs=case.tfs, num_cells=case.cells, edge_probability=case.edge, seed=0
        )

    for name in METHODS:
        if name != DENSE or case.dense:
            results.part(f"{case.task}, {name}", partial(run_sampler, results, case, name, simulation))
    if case.rivals:
        results.part(f"{case.task}, rivals", partial(run_rivals, results, case, simulation))


def run_sampler(results: Results, case: Case, name: str, simulate: Callable[[], Any]) -> None:
    """Scores of edges into genes that are no regulators."""
    simulation = simulate()
    prior, guide = METHODS[name]
    model = LinearNetwork.from_data(simulation.data, edge_prior=prior)
    posterior, seconds = timed(model, guide, 0)
    others = [i for i, gene in enumerate(model.targets) if gene not in set(model.tfs)]
    columns = [model.genes.index(model.targets[i]) for i in others]
    present = (np.asarray(simulation.W)[0][:, columns] != 0).ravel()
    probability = posterior.moments["W"].inclusion[:, others].ravel().astype(np.float64)
    listed, wrong = list_of(probability, present)
    sweeps = guide.chains.total * getattr(guide, "sweeps", 1) * guide.num_chains
    add = lambda score, value: results.add(case.task, name, 0, score, value)
    add("CPU seconds", seconds)
    add("CPU us per target and sweep", 1e6 * seconds / sweeps / len(model.targets))
    add("average precision", average_precision(probability, present))
    add("ECE", expected_calibration_error(probability, present))
    add("edges expected over true", probability.sum() / present.sum())
    add("listed at 10%", listed)
    add("wrong of the listed", wrong / max(listed, 1))
    if case.rivals and name != DENSE:
        some = some_targets(len(others))
        one = average_precision(
            posterior.moments["W"].inclusion[:, others][:, some].ravel().astype(np.float64),
            present.reshape(-1, len(others))[:, some].ravel(),
        )
        results.add(of_some(case), name, 0, "CPU seconds, all targets", seconds)
        results.add(of_some(case), name, 0, "average precision", one)


def of_some(case: Case) -> str:
    """The task in which rivals are compared."""
    return f"{SOME_TARGETS} targets of {case.task}"


def some_targets(number: int) -> np.ndarray:
    """Positions of those that are looked at among ``number`` that are no regulators."""
    return np.linspace(0, number - 1, SOME_TARGETS).round().astype(int)


def run_rivals(results: Results, case: Case, simulate: Callable[[], Any]) -> None:
    """What needs all targets at once is timed on all; what goes target by target on some, its time taken times."""
    simulation = simulate()
    data = simulation.data
    tf, X = tf_columns(data), expression(data)
    others = np.setdiff1d(np.arange(len(data.genes)), tf)
    genes = others[some_targets(len(others))]
    present = (np.asarray(simulation.W)[0][:, genes] != 0).ravel()

    def add(name: str, seconds: float, weight: np.ndarray) -> None:
        results.add(of_some(case), name, 0, "CPU seconds, all targets", seconds)
        results.add(of_some(case), name, 0, "average precision", average_precision(np.abs(weight).ravel(), present))

    for method in (Correlation(), Ridge()):
        started = time.process_time()
        table = method(data)
        seconds = time.process_time() - started
        wide = table.pivot(index="source", columns="target", values="weight")
        add(method.name, seconds, wide.loc[list(data.tfs), [data.genes[g] for g in genes]].to_numpy())
    forest, boosting, lasso = GENIE3(num_trees=100), GRNBoost2(), Lasso()
    slow = {"lasso, BIC": lasso.weights, "grnboost2": boosting.importance, "genie3, 100 trees": forest.importance}
    for name, regress in slow.items():
        started = time.process_time()
        weight = np.stack([one_target(regress, X, tf, int(g), 0) for g in genes], axis=1)
        add(name, (time.process_time() - started) * len(data.genes) / len(genes), weight)


def run_from_prior(results: Results, data_sets: int) -> None:
    """Networks from the prior of each method, data standardised by their sample as users do."""
    task = f"{data_sets} draws of the prior, standardised"
    pooled: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in METHODS}
    lists: dict[str, list[tuple[int, int]]] = {name: [] for name in METHODS}
    inside: dict[str, list[float]] = {name: [] for name in METHODS}
    for seed in range(data_sets):
        for name, (prior, guide) in METHODS.items():
            model, truth = DESIGN.simulate(maker(prior), 1000 + seed)
            posterior = fit(model, guide=guide, seed=seed)
            probability = posterior.moments["W"].inclusion.ravel().astype(np.float64)
            present = truth["inclusion"].ravel() > 0
            pooled[name].append((probability, present))
            lists[name].append(list_of(probability, present))
            lower, upper = np.quantile(posterior.draws["W"].reshape(-1, *truth["W"].shape), [0.05, 0.95], axis=0)
            inside[name].append(float(((lower <= truth["W"]) & (truth["W"] <= upper)).mean()))
    for name in METHODS:
        probability, present = (np.concatenate(parts) for parts in zip(*pooled[name], strict=True))
        listed, wrong = np.array(lists[name]).sum(0)
        add = lambda score, value, name=name: results.add(task, name, "all", score, value)
        add("ECE", expected_calibration_error(probability, present))
        add("edges expected over true", probability.sum() / present.sum())
        add("listed at 10%", listed)
        add("wrong of the listed", wrong / max(listed, 1))
        add("coverage of 90% intervals", np.mean(inside[name]))


def maker(prior: SpikeSlab) -> Any:
    """Of `LinearDesign.simulate`."""

    def make(statistics: GramStatistics) -> LinearNetwork:
        return LinearNetwork(statistics, edge_prior=prior, targets=DESIGN.targets)

    return make


def list_of(probability: np.ndarray, present: np.ndarray) -> tuple[int, int]:
    """How many edges are listed at `RATE`, and how many of them do not exist."""
    listed = expected_list(probability, RATE)
    return len(listed), int((~present[listed]).sum())
