"""Rows of trainings: a training is all its scores, made once."""

from collections.abc import Callable, Sequence

import numpy as np

from .results import Results, mean_se

LAST = "seconds per epoch"  # the last score of a run: it is complete if this is there


def record(results: Results, task: str, method: str, seed: int, found: dict[str, float]) -> None:
    """Add all scores of one run, in place of those of an unfinished one."""
    results.rows = [r for r in results.rows if (r["task"], r["method"], str(r["seed"])) != (task, method, str(seed))]
    for score, value in found.items():
        results.add(task, method, seed, score, value)


def once(results: Results, task: str, method: str, seed: int, run: Callable[[], dict[str, float]]) -> None:
    """Run, unless the results have it."""
    if results.value(task, method, seed, LAST) is None:
        record(results, task, method, seed, run())


def summarise(results: Results, task: str, method: str, seeds: Sequence[int]) -> None:
    """Mean, its standard error, and sd over the seeds, once all are there."""
    name = f"{seeds[0]}-{seeds[-1]}"
    if len(seeds) < 2 or results.value(task, method, name, f"{LAST}: sd") is not None:
        return
    first = [
        r["score"] for r in results.rows if (r["task"], r["method"], str(r["seed"])) == (task, method, str(seeds[0]))
    ]
    for score in first:
        found = [results.value(task, method, seed, score) for seed in seeds]
        values = [v for v in found if v is not None]
        if len(values) == len(seeds):
            results.add(task, method, name, score, *mean_se(values))
            results.add(task, method, name, f"{score}: sd", float(np.std(values, ddof=1)))
