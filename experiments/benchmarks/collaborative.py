"""What the collaborative prior is worth where genes share regulators, what it costs where they do not, and which engine
finds it."""

import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...inference import Gibbs, MeanField, fit
from ...inference.calibration import expected_calibration_error, log_score
from ...models import ExpressionData, LinearNetwork
from ...priors import Collaborative, EdgePrior, SpikeSlab
from ..scores import average_precision
from .results import Results, mean_se

SEEDS = (0, 1, 2, 3, 4)
METHODS: dict[str, tuple[EdgePrior, Gibbs | MeanField]] = {
    "spike-slab, gibbs": (SpikeSlab(), Gibbs()),
    "collaborative, gibbs": (Collaborative(), Gibbs()),
    "collaborative, mean-field": (Collaborative(), MeanField()),
}
PARTS = {"modules": (0.5, 0.02), "no modules": (0.18, 0.18)}  # share of edges in a module and outside: equally many


def run(folder: Path, results: Results) -> None:  # simulated: needs no data
    """Average precision, log score and calibration of edge probabilities; mean and standard error over seeds."""
    results.resume_parts()
    for part, shares in PARTS.items():
        results.part(part, partial(run_part, results, part, *shares))


def run_part(results: Results, part: str, inside: float, outside: float) -> None:
    """All methods on modules with these shares of edges."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in METHODS}
    for seed in SEEDS:
        data, present, targets = simulate_modules(seed, inside=inside, outside=outside)
        for name, (prior, guide) in METHODS.items():
            model = LinearNetwork.from_data(data, edge_prior=prior, targets=targets)
            started = time.process_time()
            posterior = fit(model, guide=guide, restarts=2, seed=seed)
            seconds = time.process_time() - started
            probability, true = posterior.moments["W"].inclusion.ravel(), present.ravel()
            values = {
                "average precision": average_precision(probability, true),
                "log score": log_score(probability, true),
                "ece": expected_calibration_error(probability, true),
                "seconds": seconds,
            }
            if "feature_scale" in posterior.draws:
                values["scale of features"] = float(posterior.draws["feature_scale"].mean())
            for score, value in values.items():
                found[name].setdefault(score, []).append(value)
    plain = found["spike-slab, gibbs"]
    for name, scores in found.items():
        for score, each in scores.items():
            results.add(part, name, f"0-{SEEDS[-1]}", score, *mean_se(each))
        for score in ("average precision", "log score"):
            gain = np.subtract(scores[score], plain[score]).tolist()
            results.add(part, name, f"0-{SEEDS[-1]}", f"gain of {score}", *mean_se(gain))


def simulate_modules(
    seed: int,
    *,
    num_tfs: int = 9,
    num_genes: int = 60,
    num_cells: int = 200,
    num_modules: int = 3,
    inside: float = 0.5,
    outside: float = 0.02,
) -> tuple[ExpressionData, np.ndarray, tuple[str, ...]]:
    """Regulators act on the genes of their module with probability ``inside``, on others with ``outside``; weights
    N(0, 0.35²), regulators and noise of sd 1.

    Returns
    -------
    tuple
        Data, present edges ``(tf, target)``, names of the targets.
    """
    rng = np.random.default_rng(seed)
    same = rng.integers(num_modules, size=num_tfs)[:, None] == rng.integers(num_modules, size=num_genes)
    present = rng.random((num_tfs, num_genes)) < np.where(same, inside, outside)
    x = rng.normal(size=(num_cells, num_tfs))
    y = x @ (present * rng.normal(0, 0.35, present.shape)) + rng.normal(size=(num_cells, num_genes))
    tfs, genes = tuple(f"T{i}" for i in range(num_tfs)), tuple(f"G{i}" for i in range(num_genes))
    return (
        ExpressionData(torch.as_tensor(np.concatenate([x, y], 1), dtype=torch.float32), tfs + genes, tfs),
        present,
        genes,
    )
