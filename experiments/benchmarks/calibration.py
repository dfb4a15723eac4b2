"""Are the probabilities right? On data from the model, by regulator correlation and guide; and where the model is
wrong."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro.distributions as dist

from ...inference import Blocked, Gibbs, LowRank, MeanField, Posterior, fit
from ...inference.calibration import Recalibration, expected_calibration_error, expected_list
from ...inference.sbc import LinearDesign
from ...models import ExpressionData, LinearNetwork
from ...models.simulators import simulate_linear
from ...priors import EdgePrior, Horseshoe, Hyper, Normal, SpikeSlab
from ..scores import average_precision
from ..tasks import random_grn_tasks, sergio_task, truth_matrix
from .results import Results, mean_se

CORRELATIONS = (0.0, 0.5, 0.9)
REPLICATES = 5
PRIORS: dict[str, EdgePrior] = {
    "SpikeSlab (hyperparameters known)": SpikeSlab(
        edge_probability=0.1, slab_scale=0.2, spike_ratio=0.02, hub_scale=0.0
    ),
    "SpikeSlab (hyperparameters learned)": SpikeSlab(),
    "Normal": Normal(),
    "Horseshoe": Horseshoe(),
}
SPARSE, DENSE = (Gibbs(), MeanField()), (Blocked(), MeanField())


def run(folder: Path, results: Results) -> None:
    """On-model calibration by correlation, prior and guide, then misspecification on SERGIO; rows that the file has are
    kept."""
    results.resume()
    for correlation in CORRELATIONS:
        design = LinearDesign(num_tfs=30, num_targets=200, num_cells=500, correlation=correlation)
        for name, prior in PRIORS.items():
            guides = (*SPARSE, LowRank()) if "known" in name else SPARSE if "inclusion" in prior.dims else DENSE
            for guide in guides:
                run_model(results, f"model, correlation {correlation}", f"{name}, {guide.name}", design, prior, guide)
    run_direction(results)
    run_misspecified(folder, results)


def run_direction(results: Results) -> None:
    """Networks among regulators too: how many of the edges named at 10% expected FDR are wrong, by kind of target.
    Those into regulators are in no list of `Posterior.edges`; here they are named as if they were."""
    span, score = f"0-{REPLICATES - 1}", "false share at FDR 0.1"
    if results.value("simulate linear", "linear, other targets", span, score) is not None:
        return
    wrong: dict[str, list[float]] = {"targets that are regulators": [], "other targets": []}
    for seed in range(REPLICATES):
        simulation = simulate_linear(num_genes=80, num_tfs=20, num_cells=1500, seed=seed)
        table = fit(LinearNetwork.from_data(simulation.data), guide=Gibbs(), seed=seed).edges()
        true = set(zip(simulation.network["source"], simulation.network["target"], strict=True))
        table["wrong"] = [pair not in true for pair in zip(table["source"], table["target"], strict=True)]
        between = table["target"].isin(simulation.data.tfs)
        for kind, part in zip(wrong, (table[between], table[~between]), strict=True):
            listed = expected_list(part["inclusion"].to_numpy(), 0.1)
            wrong[kind].append(float(part["wrong"].to_numpy()[listed].mean()))
    for kind, values in wrong.items():
        results.add("simulate linear", f"linear, {kind}", span, score, *mean_se(values))


def run_model(results: Results, task: str, method: str, design: LinearDesign, prior: EdgePrior, guide: Any) -> None:
    """Parameters from the prior, data from the model, edges pooled over replicates; standard errors by leaving one
    replicate out."""
    span = f"0-{REPLICATES - 1}"
    if results.value(task, method, span, "seconds") is not None:
        return
    pairs, coverages, seconds = [], [], []
    for seed in range(REPLICATES):
        model, truth = design.simulate(lambda s: LinearNetwork(s, edge_prior=prior, targets=design.targets), seed)
        started = time.process_time()
        posterior = fit(model, guide=guide, seed=seed, restarts=1, num_draws=1000)
        seconds.append(time.process_time() - started)
        coverages.append(interval_coverage(posterior, truth["W"]))
        if "inclusion" in truth:
            pairs.append((posterior.moments["W"].inclusion.ravel(), truth["inclusion"].ravel() > 0))
    results.add(task, method, span, "coverage90", *mean_se(coverages))
    for score, function in (("ece", expected_calibration_error), ("average_precision", average_precision)):
        if pairs:
            results.add(task, method, span, score, *pooled(function, pairs))
    results.add(task, method, span, "seconds", *mean_se(seconds))


def pooled(
    function: Callable[[np.ndarray, np.ndarray], float], pairs: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, float]:
    """A score of all replicates' edges together and its jackknife standard error."""
    together = lambda part: function(*(np.concatenate(arrays) for arrays in zip(*part, strict=True)))
    left_out = np.array([together(pairs[:i] + pairs[i + 1 :]) for i in range(len(pairs))])
    return together(pairs), float(np.sqrt((len(pairs) - 1) * left_out.var()))


def interval_coverage(posterior: Posterior, truth: np.ndarray, level: float = 0.9) -> float:
    """Share of true weights inside the equal-tailed interval."""
    table = posterior.edges(level=level)
    tf = {name: i for i, name in enumerate(posterior.coords["tf"])}
    gene = {name: i for i, name in enumerate(posterior.coords["target"])}
    value = truth[table["source"].map(tf), table["target"].map(gene)]
    return float(((value >= table["lower"]) & (value <= table["upper"])).mean())


def run_misspecified(folder: Path, results: Results) -> None:
    """SERGIO DS1: a narrow spike, the learned spike (model inadequacy), and a recalibration learned on other simulated
    networks."""
    hubs = Hyper(dist.HalfNormal, 1.0)
    variants = {
        "narrow spike (0.02)": SpikeSlab(spike_ratio=0.02),
        "learned spike": SpikeSlab(),
        "learned spike, hubs learned": SpikeSlab(hub_scale=hubs),
    }
    for layer, other in (("clean", "X"), ("X", "counts_dropout")):
        task = sergio_task(folder, "sergio_ds1", layer)
        if all(results.value(task.name, f"linear, {n}", 0, "average_precision") is not None for n in variants):
            continue
        present = truth_matrix(task.data, task.truths["network"])
        learned = [
            fit_inclusion(t.data, t.truths["network"], SpikeSlab()) for t in random_grn_tasks(folder, "train", other)
        ]
        recalibration = Recalibration.fit(
            np.concatenate([p for p, _ in learned]), np.concatenate([y for _, y in learned])
        )
        for name, prior in variants.items():
            model = LinearNetwork.from_data(task.data, edge_prior=prior)
            allowed = model.edge_prior.allowed.numpy()
            probability = fit(model, guide=Gibbs(), seed=0).moments["W"].inclusion[allowed]
            add(results, task.name, f"linear, {name}", probability, present[allowed])
            if name == "learned spike":
                add(
                    results,
                    task.name,
                    "linear, learned spike, recalibrated on random_grns",
                    recalibration(probability),
                    present[allowed],
                )


def fit_inclusion(data: ExpressionData, truth: pd.DataFrame, prior: SpikeSlab) -> tuple[np.ndarray, np.ndarray]:
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
