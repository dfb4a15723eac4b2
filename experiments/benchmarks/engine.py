"""The sparse sampler beside the dense one: CPU seconds, ranking, calibration and lists on simulated truth, and the path
that users take on data from the prior. One thread, one process, in turn."""

import time
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
from ..scores import average_precision
from .results import Results

RATE = 0.1  # expected false discovery rate of the lists


class Case(NamedTuple):
    """Cells, genes, regulators and the probability of an edge of a simulation, and whether the dense sampler is run."""

    cells: int
    genes: int
    tfs: int
    edge: float
    dense: bool

    @property
    def task(self) -> str:
        return f"simulated, {self.cells} x {self.genes} genes x {self.tfs} TFs"


CASES = (
    Case(1000, 300, 50, 0.1, True),
    Case(2000, 1000, 100, 0.1, True),
    Case(5000, 3000, 400, 0.03, False),
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
            for case in cases:
                run_case(results, case)
            if data_sets:
                run_from_prior(results, data_sets)
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
    """One simulation, the samplers in turn; scores of edges into genes that are no regulators."""
    simulation: Any = simulate_linear(
        num_genes=case.genes, num_tfs=case.tfs, num_cells=case.cells, edge_probability=case.edge, seed=0
    )
    for name, (prior, guide) in METHODS.items():
        if name == DENSE and not case.dense:
            continue
        model = LinearNetwork.from_data(simulation.data, edge_prior=prior)
        posterior, seconds = timed(model, guide, 0)
        others = [i for i, gene in enumerate(model.targets) if gene not in set(model.tfs)]
        columns = [model.genes.index(model.targets[i]) for i in others]
        present = (np.asarray(simulation.W)[0][:, columns] != 0).ravel()
        probability = posterior.moments["W"].inclusion[:, others].ravel().astype(np.float64)
        listed, wrong = list_of(probability, present)
        sweeps = guide.chains.total * getattr(guide, "sweeps", 1) * guide.num_chains
        add = lambda score, value, name=name: results.add(case.task, name, 0, score, value)
        add("CPU seconds", seconds)
        add("CPU us per target and sweep", 1e6 * seconds / sweeps / len(model.targets))
        add("average precision", average_precision(probability, present))
        add("ECE", expected_calibration_error(probability, present))
        add("edges expected over true", probability.sum() / present.sum())
        add("listed at 10%", listed)
        add("wrong of the listed", wrong / max(listed, 1))


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
