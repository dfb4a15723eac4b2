"""Are the probabilities right? On data from the model, by regulator correlation and guide; and where the model is wrong."""

import time
from pathlib import Path

import numpy as np

from ...inference import Blocked, Gibbs, LowRank, MeanField, Posterior, fit
from ...inference.calibration import Recalibration, expected_calibration_error
from ...models import LinearNetwork
from ...models.simulators import LinearSimulation, simulate_linear
from ...priors import Horseshoe, Normal, SpikeSlab
from ..scores import average_precision
from ..tasks import random_grn_tasks, sergio_task, truth_matrix
from .results import Results, mean_se

CORRELATIONS = (0.0, 0.5, 0.9)
REPLICATES = 8
SPARSE_GUIDES = (Gibbs(), MeanField(), LowRank())
DENSE_FITS = ((Normal(), Blocked()), (Normal(), MeanField()), (Horseshoe(), Blocked()), (Horseshoe(), MeanField()))


def standardised_truth(simulation: LinearSimulation, model: LinearNetwork) -> np.ndarray:
    """``(tf, target)`` true weights in the units of the fit."""
    scale = model.scale.numpy()
    return simulation.W[0].numpy() * scale[: len(model.tfs), None] / scale


def interval_coverage(posterior: Posterior, truth: np.ndarray, level: float = 0.9) -> float:
    """Share of true weights inside the equal-tailed interval, over allowed edges."""
    table = posterior.edges(level=level)
    tf = {name: i for i, name in enumerate(posterior.coords["tf"])}
    gene = {name: i for i, name in enumerate(posterior.coords["target"])}
    value = truth[table["source"].map(tf), table["target"].map(gene)]
    return float(((value >= table["lower"]) & (value <= table["upper"])).mean())


def run(folder: Path, results: Results) -> None:
    """On-model calibration by correlation and guide, then misspecification on SERGIO."""
    for correlation in CORRELATIONS:
        task = f"model, correlation {correlation}"
        for guide in SPARSE_GUIDES:
            errors, precisions, coverages, seconds = [], [], [], []
            for seed in range(REPLICATES):
                simulation = simulate_linear(
                    num_genes=230, num_tfs=30, num_cells=500, edge_probability=0.1, scale=0.2, noise=1.0, tf_correlation=correlation, seed=seed
                )
                model = LinearNetwork.from_data(simulation.data, edge_prior=SpikeSlab())
                started = time.perf_counter()
                posterior = fit(model, guide=guide, seed=seed)
                seconds.append(time.perf_counter() - started)
                allowed = model.edge_prior.allowed.numpy()
                probability, present = posterior.moments["W"].inclusion[allowed], simulation.present.numpy()[allowed]
                errors.append(expected_calibration_error(probability, present))
                precisions.append(average_precision(probability, present))
                coverages.append(interval_coverage(posterior, standardised_truth(simulation, model)))
            name = f"SpikeSlab, {guide.name}"
            for score, values in (("ece", errors), ("average_precision", precisions), ("coverage90", coverages), ("seconds", seconds)):
                results.add(task, name, f"0-{REPLICATES - 1}", score, *mean_se(values))
        for prior, guide in DENSE_FITS:
            coverages = []
            for seed in range(REPLICATES):
                simulation = simulate_linear(
                    num_genes=130, num_tfs=15, num_cells=300, edge_probability=1.0, scale=0.1, noise=1.0, tf_correlation=correlation, seed=seed
                )
                model = LinearNetwork.from_data(simulation.data, edge_prior=prior)
                coverages.append(interval_coverage(fit(model, guide=guide, seed=seed), standardised_truth(simulation, model)))
            results.add(task, f"{type(prior).__name__}, {guide.name}", f"0-{REPLICATES - 1}", "coverage90", *mean_se(coverages))
    run_misspecified(folder, results)


def run_misspecified(folder: Path, results: Results) -> None:
    """SERGIO DS1: a narrow spike, the learned spike (model inadequacy), and a recalibration learned on other simulated networks."""
    variants = {"narrow spike (0.02)": SpikeSlab(spike_ratio=0.02), "learned spike": SpikeSlab()}
    for layer, other in (("clean", "X"), ("X", "counts_dropout")):
        task = sergio_task(folder, "sergio_ds1", layer)
        present = truth_matrix(task.data, task.truths["network"])
        learned = [fit_inclusion(t.data, t.truths["network"], SpikeSlab()) for t in random_grn_tasks(folder, "train", other)]
        recalibration = Recalibration.fit(np.concatenate([p for p, _ in learned]), np.concatenate([y for _, y in learned]))
        for name, prior in variants.items():
            model = LinearNetwork.from_data(task.data, edge_prior=prior)
            allowed = model.edge_prior.allowed.numpy()
            probability = fit(model, guide=Gibbs(), seed=0).moments["W"].inclusion[allowed]
            add(results, task.name, f"linear, {name}", probability, present[allowed])
            if name == "learned spike":
                add(results, task.name, "linear, learned spike, recalibrated on random_grns", recalibration(probability), present[allowed])


def fit_inclusion(data, truth, prior: SpikeSlab) -> tuple[np.ndarray, np.ndarray]:
    """Inclusion of every allowed edge and whether it exists, with a short run: 20 training networks."""
    model = LinearNetwork.from_data(data, edge_prior=prior)
    allowed = model.edge_prior.allowed.numpy()
    posterior = fit(model, guide=Gibbs(num_chains=2, num_warmup=200, num_samples=200), seed=0)
    return posterior.moments["W"].inclusion[allowed], truth_matrix(data, truth)[allowed]


def add(results: Results, task: str, method: str, probability: np.ndarray, present: np.ndarray) -> None:
    """Calibration and ranking rows."""
    results.add(task, method, 0, "ece", expected_calibration_error(probability, present))
    results.add(task, method, 0, "mean_inclusion", float(probability.mean()))
    results.add(task, method, 0, "base_rate", float(present.mean()))
    results.add(task, method, 0, "average_precision", average_precision(probability, present))
