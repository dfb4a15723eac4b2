"""Prior knowledge that is right, half right and wrong: what it buys, and whether the data see through it."""

from pathlib import Path

import numpy as np

from ...inference import Gibbs, fit
from ...models import LinearNetwork
from ...priors import PriorNetwork
from ..scores import score_edges
from ..tasks import Task, sergio_task
from .results import Results, mean_se

CORRUPTION = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
SEEDS = (0, 1, 2)


def run(folder: Path, results: Results) -> None:
    """SERGIO DS1, clean: the true network with a share of its edges at random places, as the one source of
    knowledge."""
    task = sergio_task(folder, "sergio_ds1", "clean")
    truth = task.truths["network"]
    network = PriorNetwork.from_edges(truth, name="truth")
    scores = [score(task, None, seed) for seed in SEEDS]
    results.add(task.name, "no prior", "0-2", "average_precision", *mean_se([s["average_precision"] for s in scores]))
    results.add(task.name, "no prior", "0-2", "ece", *mean_se([s["ece"] for s in scores]))
    for fraction in CORRUPTION:
        rows = []
        for seed in SEEDS:
            corrupted = network.corrupted(
                fraction, np.random.default_rng(seed), sources=task.data.tfs, targets=task.data.genes
            )
            rows.append(score(task, corrupted, seed))
        for key in ("average_precision", "ece", "trust", "trust_sd"):
            results.add(task.name, f"truth corrupted {fraction:.0%}", "0-2", key, *mean_se([r[key] for r in rows]))


def score(task: Task, network: PriorNetwork | None, seed: int) -> dict[str, float]:
    """Fit with one source and score; the trust coefficient's posterior mean and sd."""
    model = LinearNetwork.from_data(task.data, networks={} if network is None else {"prior": network})
    posterior = fit(model, guide=Gibbs(), seed=seed)
    values = dict(score_edges(posterior.edges(), task.truths["network"]).values)
    if network is not None:
        row = posterior.trust().iloc[0]
        values |= {"trust": float(row["mean"]), "trust_sd": float(row["sd"])}
    return values
