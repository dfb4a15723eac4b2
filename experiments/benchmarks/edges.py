"""Edges against known networks, real and simulated, beside the baselines in the same run."""

import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyro.distributions as dist

from ...priors import Hyper, SpikeSlab
from ..baselines import GENIE3, TIGRESS, Correlation, GRNBoost2, RandomControl, Ridge
from ..ladder import UserPath
from ..scores import score_edges
from ..tasks import BEELINE, Task, beeline_task, sergio_task
from .results import Results

LARGE = 400  # regulators: beyond it hubs are not learned, which takes the dense sampler several minutes
SCORES = ("average_precision", "auprc_trapezoid", "auprc_ratio", "auroc", "early_precision_ratio")
# settings of the papers, except 100 trees in place of GENIE3's 1,000: 3,500 forests of 1,000 trees take most of a day
# on one core
BASELINES = (Correlation(), Ridge(), TIGRESS(), GENIE3(num_trees=100), GRNBoost2(), RandomControl())


def tasks(folder: Path) -> Iterator[Task]:
    """SERGIO DS1 clean and with technical noise, then the four real sets."""
    for layer in ("clean", "X"):
        yield sergio_task(folder, "sergio_ds1", layer)
    for name in BEELINE:
        yield beeline_task(folder, name)


def add_scores(results: Results, task: Task, method: str, table: pd.DataFrame, *, score: str | None = None) -> None:
    """Rows for every truth of a task, scored within the regulators that the truth has."""
    for name, truth in task.truths.items():
        scores = score_edges(table, truth, restrict_to_truth_regulators=True, score=score, num_bootstrap=100)
        for key in SCORES:
            results.add(
                f"{task.name}/{name}", method, 0, key, scores[key], scores.values.get(f"{key}_se", float("nan"))
            )
        if "inclusion" in table and score is None:
            for key in ("ece", "brier", "base_rate"):
                results.add(f"{task.name}/{name}", method, 0, key, scores[key])


def run_baselines(folder: Path, results: Results) -> None:
    """Correlation, ridge, TIGRESS, GENIE3- and GRNBoost2-like and the random control on every task; finished ones are
    kept."""
    results.resume()
    for task in tasks(folder):
        for method in BASELINES:
            if results.value(task.name, method.name, 0, "seconds") is not None:
                continue
            started = time.process_time()
            table = method(task.data, seed=0)
            seconds = time.process_time() - started
            add_scores(results, task, method.name, table)
            results.add(task.name, method.name, 0, "seconds", seconds)


def run_linear(folder: Path, results: Results) -> None:
    """The linear network as ``infer`` fits and corrects it, as the model alone states it, and with hubs learned; ranked
    by inclusion and by |weight|. Finished sets are kept."""
    hubs = SpikeSlab(unit="noise", hub_scale=Hyper(dist.HalfNormal, 1.0))
    paths = {
        "linear": UserPath(),
        "linear, not corrected": UserPath(trial=None),
        "linear, hubs learned": UserPath(edge_prior=hubs, trial=None),
    }
    results.resume()
    for task in tasks(folder):
        for name, path in paths.items():
            hubs_of_many = path.edge_prior is not None and len(task.data.tfs) > LARGE
            if hubs_of_many or results.value(task.name, name, 0, "CPU seconds") is not None:
                continue
            started = time.process_time()
            table = path.fit(path.model(task.data), task.data, seed=0).edges()
            seconds = time.process_time() - started
            add_scores(results, task, name, table)
            table["size"] = table["weight"].abs()
            add_scores(results, task, f"{name}, by |weight|", table, score="size")
            results.add(task.name, name, 0, "CPU seconds", seconds)
