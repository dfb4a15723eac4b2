"""Summaries of fresh worlds of a training family, with which data sets are compared."""

import os

import joblib
import torch
from torch import Tensor

from ..runs.orphans import watch_parent
from ..runs.workers import startable
from .batches import simulate_example
from .evidence import pair_evidence
from .families import Family
from .novelty import summary

WORLDS = 1_500_000  # where the seeds of these simulations begin; no training or score uses them


def simulated_summary(directed: bool, family: Family, seed: int) -> Tensor:
    """`summary` of one world of the family; a pure function of its arguments."""
    example = simulate_example(directed, family, 1, seed)
    return summary(pair_evidence(example.X[0], example.sources[0], seed=seed))


def simulate_worlds(directed: bool, family: Family, count: int, seed: int, workers: int = 1) -> Tensor:
    """Summaries ``(world, feature)`` of ``count`` fresh worlds."""
    parallel = joblib.Parallel(workers, initializer=watch_parent, initargs=(os.getpid(),))
    with startable("use one, `workers=` 1"):
        one = joblib.delayed(simulated_summary)
        rows = parallel(one(directed, family, seed * 1_000_003 + WORLDS + index) for index in range(count))
    return torch.stack(list(rows)).half()
