"""Do two runs agree? The 500 best edges over seeds, and over subsamples of the cells."""

from itertools import combinations
from pathlib import Path

import numpy as np

from ...inference import Gibbs, fit
from ...models import ExpressionData, LinearNetwork
from ..tasks import beeline_task, sergio_task
from .results import Results, mean_se

TOP = 500
RUNS = 5


def best(data: ExpressionData, seed: int) -> set[tuple[str, str]]:
    """The first rows of the edge table."""
    table = fit(LinearNetwork.from_data(data), guide=Gibbs(), seed=seed).edges(top=TOP)
    return set(zip(table["source"], table["target"], strict=True))


def run(folder: Path, results: Results) -> None:
    """Five seeds and five subsamples of 90% of the cells: mean Jaccard index over pairs of runs."""
    for task in (beeline_task(folder, "beeline_mhsc_gm"), sergio_task(folder, "sergio_ds2", "clean")):
        generator = np.random.default_rng(0)
        cells = task.data.num_cells
        seeds = [best(task.data, seed) for seed in range(RUNS)]
        parts = [best(task.data.subset(generator.permutation(cells)[: int(0.9 * cells)]).without_constant_genes(), 0) for _ in range(RUNS)]
        for name, sets in (("seeds", seeds), ("90% subsamples", parts)):
            values = [len(a & b) / len(a | b) for a, b in combinations(sets, 2)]
            results.add(task.name, f"linear, {RUNS} {name}", f"0-{RUNS - 1}", f"jaccard_top{TOP}", *mean_se(values))
