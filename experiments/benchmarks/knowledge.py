"""Prior knowledge that is right, half right and wrong: what it buys, and whether the data see through it."""

from functools import partial
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
    results.resume_parts()
    results.part("no prior", partial(run_without, results, task))
    for fraction in CORRUPTION:
        results.part(f"truth corrupted {fraction:.0%}", partial(run_corrupted, results, task, network, fraction))


def run_without(results: Results, task: Task) -> None:
    """Rows without knowledge."""
    scores = [score(task, None, seed) for seed in SEEDS]
    for key in ("average_precision", "ece"):
        results.add(task.name, "no prior", "0-2", key, *mean_se([s[key] for s in scores]))


def run_corrupted(results: Results, task: Task, network: PriorNetwork, fraction: float) -> None:
    """Rows of a network with a share of its edges at random places."""
    rows = []
    for seed in SEEDS:
        generator = np.random.default_rng(seed)
        moved = network.corrupted(fraction, generator, sources=task.data.tfs, targets=task.data.genes)
        rows.append(score(task, moved, seed))
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
