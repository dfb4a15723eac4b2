"""Do two runs agree? The 500 best edges over seeds, and over subsamples of the cells."""

from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

from ...inference import Gibbs, Posterior, fit
from ...models import LinearNetwork
from ..tasks import Task, beeline_task, sergio_task
from .results import Results, mean_se

TOP = 500
RUNS = 5


def top_edges(posterior: Posterior) -> set[tuple[str, str]]:
    """The first rows of the edge table."""
    table = posterior.edges(top=TOP)
    return set(zip(table["source"], table["target"], strict=True))


def run(folder: Path, results: Results) -> None:
    """Five seeds and five subsamples of 90% of the cells: mean Jaccard index over pairs of runs."""
    results.resume_parts()
    for task in (beeline_task(folder, "beeline_mhsc_gm"), sergio_task(folder, "sergio_ds2", "clean")):
        results.part(task.name, partial(run_task, results, task))


def run_task(results: Results, task: Task) -> None:
    """Rows of one data set."""
    generator = np.random.default_rng(0)
    cells = task.data.num_cells
    model = LinearNetwork.from_data(task.data)
    runs = [fit(model, guide=Gibbs(), seed=seed) for seed in range(RUNS)]
    inclusion = [run.moments["W"].inclusion for run in runs]
    differences = [float(np.abs(a - b).mean()) for a, b in combinations(inclusion, 2)]
    results.add(
        task.name, f"linear, {RUNS} seeds", f"0-{RUNS - 1}", "mean difference of inclusion", *mean_se(differences)
    )
    parts = [
        task.data.subset(generator.permutation(cells)[: int(0.9 * cells)]).without_constant_genes() for _ in range(RUNS)
    ]
    fits = [fit(LinearNetwork.from_data(part), guide=Gibbs(), seed=0) for part in parts]
    for name, posteriors in (("seeds", runs), ("90% subsamples", fits)):
        sets = [top_edges(posterior) for posterior in posteriors]
        values = [len(a & b) / len(a | b) for a, b in combinations(sets, 2)]
        results.add(task.name, f"linear, {RUNS} {name}", f"0-{RUNS - 1}", f"jaccard_top{TOP}", *mean_se(values))
