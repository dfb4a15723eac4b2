r"""DASH's λ by cross-validation."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from .base import Sparsifier
from .magnitude import Fitted

Strength = tuple[float, ...]
Part = TypeVar("Part")
GRID = (0.1, 0.2, 0.3, 0.5, 0.8)


@dataclass(frozen=True, eq=False)
class StrengthChoice:
    """The ``strength`` chosen, and the ``table``: strength, fold, validation, sparsity."""

    strength: Strength
    table: pd.DataFrame


def strengths(values: Sequence[float] = GRID, *, layers: int = 2) -> list[Strength]:
    """All combinations of values of λ, one for each layer."""
    return list(itertools.product(values, repeat=layers))


def choose_strength(
    fit: Callable[[Sparsifier, Part, Part, int], Fitted[Any]],
    sparsifier: Callable[[Strength], Sparsifier],
    splits: Iterable[tuple[Part, Part]],
    *,
    grid: Sequence[Strength] | None = None,
    slack: float = 0.0,
    seed: int = 0,
) -> StrengthChoice:
    """λ = (λ₁, ..., λ_L) of least validation error over the splits (B.4), or the one that trusts the prior most among
    those as good. A λ whose error is infinite in some split is never taken.

    Parameters
    ----------
    fit
        ``(sparsifier, training, validation, seed) -> Trained``: a call of the training loop on a fresh network.
    sparsifier
        ``λ -> sparsifier``, for example ``lambda s: DASH(prior, strength=s)``.
    splits
        Pairs of training and validation data: ``transitions.folds(5)``, or one pair to decide on one validation set.
    grid
        Values of λ; default `strengths` of (0.1, 0.2, 0.3, 0.5, 0.8) for two layers, 25 fits a split.
    slack
        0 (default, the paper's rule): least mean error. Otherwise the largest sum of λ whose mean error lies within
        ``slack`` standard errors (over splits, of the difference to the best) of it; needs at least two splits.
    seed
        Of the networks; the same for all λ of a split, so that they differ in λ only.

    Raises
    ------
    ValueError
        No split, an empty grid, ``slack`` with a single split, errors that are infinite in some split for every λ.
    """
    candidates = strengths() if grid is None else list(grid)
    rows = []
    for fold, (training, validation) in enumerate(splits):
        for strength in candidates:
            fitted = fit(sparsifier(strength), training, validation, seed + fold)
            rows.append((strength, fold, fitted.validation, fitted.sparsity))
    if not rows:
        raise ValueError(f"{len(candidates)} values of lambda and no split to try them on: expected at least 1 of each")
    table = pd.DataFrame(rows, columns=["strength", "fold", "validation", "sparsity"])
    errors = table.pivot_table(index="strength", columns="fold", values="validation")
    sound = [s for s in candidates if math.isfinite(errors.mean(axis=1)[s])]
    if not sound:
        raise ValueError(
            f"training blows up with each of {len(candidates)} values of lambda: none can be chosen. Start from "
            "smaller weights, or take smaller steps"
        )
    errors, candidates = errors.loc[sound], sound
    best = min(candidates, key=lambda s: errors.mean(axis=1)[s])
    if slack == 0:
        return StrengthChoice(best, table)
    if errors.shape[1] < 2 or slack < 0:
        raise ValueError(f"slack={slack} with {errors.shape[1]} splits: expected slack >= 0 and at least two splits")
    difference = errors - errors.loc[[best]].to_numpy()  # splits differ more than values of λ do
    allowed = slack * difference.std(axis=1, ddof=1) / np.sqrt(errors.shape[1])
    within = [s for s in candidates if difference.mean(axis=1)[s] <= allowed[s]]
    return StrengthChoice(max(within, key=sum), table)
