"""GRETA's families that need no other service: how many genes and perturbations a network is right about."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import t as student

from .activity import LEAST_TARGETS, activity
from .perturbed_cells import PerturbedCells
from .regression import FOLDS, RIDGE
from .score import Score, f_tenth

LEVEL, LEAST_CORRELATION = 0.01, 0.05  # of the genes that count as predicted
RATE = 0.05  # of regulators and perturbations that count as found
STEPS = 3  # along the network, as CellOracle's simulations


def found_scores(
    networks: Mapping[str, np.ndarray], cells: PerturbedCells, *, seed: int = 0
) -> dict[str, dict[str, Score]]:
    r"""Precision and recall of what a network can be asked, as GRETA sums them up (Badia-i-Mompel et al. 2024).

    .. math:: F_{0.1} = \frac{1.01\,PR}{0.01\,P + R}, \qquad P = \frac{\text{found}}{\text{asked}}, \quad
              R = \frac{\text{found}}{\text{all}}

    ``genes predicted`` (its omics metric): over genes; asked are those with a regulator, found those whose held-out
    prediction from their regulators correlates with them (r > 0.05, Benjamini-Hochberg at 1%).
    ``perturbed found`` (TF activity): over perturbed genes that are measured; asked are those with three targets,
    found those whose own activity is lower in their condition (univariate linear model, BH at 5%): perturbations are
    taken to lower what they act on, unless the gene itself went up.
    ``responses forecast`` (perturbation forecasting): asked are perturbed genes with a target, found those whose
    response correlates over genes with the change carried three steps along the network, whose edges are fitted to
    the controls (BH at 5%).

    GRETA's regressions are boosted trees and its forecasts CellOracle's; both are ridge regressions here, the same
    answer every time. Its other families ask databases or chromatin (markers, binding, pairs, CREs), or a solver of
    Boolean networks (steady states).
    """
    fold = cells.folds(FOLDS, seed)
    return {
        name: {
            "genes predicted": Score("genes", _genes(weight, cells, fold), f_tenth),
            "perturbed found": Score("perturbations", _activities(weight, cells), f_tenth),
            "responses forecast": Score("perturbations", _forecasts(weight, cells), f_tenth),
        }
        for name, weight in networks.items()
    }


def discoveries(p: np.ndarray, rate: float) -> np.ndarray:
    """1 where Benjamini and Hochberg's procedure at this rate rejects, 0 where it does not, NaN where ``p`` is NaN."""
    asked = np.flatnonzero(~np.isnan(p))
    result = np.where(np.isnan(p), np.nan, 0.0)
    order = asked[np.argsort(p[asked], kind="stable")]
    below = np.flatnonzero(p[order] <= rate * np.arange(1, len(order) + 1) / max(len(order), 1))
    if len(below):
        result[order[: below[-1] + 1]] = 1.0
    return result


def correlation_p(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Correlation of two vectors and its one-sided p-value; 0 and 1 where either does not vary."""
    number = len(first)
    if number < 3 or first.std() == 0 or second.std() == 0:
        return 0.0, 1.0
    r = float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))
    statistic = r * np.sqrt((number - 2) / max(1.0 - r * r, 1e-12))
    return r, float(student.sf(statistic, number - 2))


def _genes(weight: np.ndarray, cells: PerturbedCells, fold: np.ndarray) -> np.ndarray:
    p, sizes = np.full(len(cells.genes), np.nan), np.zeros(len(cells.genes))
    place = {gene: condition for condition, gene in enumerate(cells.own) if gene >= 0}
    for gene in np.flatnonzero(weight.any(0)):
        own = place.get(int(gene))
        used = np.ones(len(fold), dtype=bool) if own is None else cells.condition != own
        predicted = _held_out(cells.levels[used][:, weight[:, gene] != 0], cells.levels[used, gene], fold[used])
        sizes[gene], p[gene] = correlation_p(predicted, cells.levels[used, gene])
    result = discoveries(p, LEVEL)
    result[(result == 1) & (sizes <= LEAST_CORRELATION)] = 0.0
    return result


def _held_out(inputs: np.ndarray, target: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """``(cell,)`` predictions by ridge regression on the other folds."""
    predicted = np.zeros(len(target))
    for k in range(FOLDS):
        out = fold == k
        if out.all() or not out.any():
            continue
        mean_in, mean_out = inputs[~out].mean(0), target[~out].mean()
        beta = ridge(inputs[~out] - mean_in, target[~out] - mean_out)
        predicted[out] = mean_out + (inputs[out] - mean_in) @ beta
    return predicted


def ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients of a ridge regression."""
    beta: np.ndarray = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return beta


def _activities(weight: np.ndarray, cells: PerturbedCells) -> np.ndarray:
    measured = [place for place, gene in enumerate(cells.own) if gene >= 0]
    p = np.full(len(measured), np.nan)
    for row, place in enumerate(measured):
        own = cells.own[place]
        others = np.arange(len(cells.genes)) != own
        targets = weight[own, others]
        if np.count_nonzero(targets) >= LEAST_TARGETS:
            response = cells.responses[place]
            lowered = -1.0 if response[own] <= 0 else 1.0
            t = float(activity(response[None, others], targets[None])[0, 0])
            p[row] = student.sf(lowered * t, int(others.sum()) - 2)
    return discoveries(p, RATE)


def _forecasts(weight: np.ndarray, cells: PerturbedCells) -> np.ndarray:
    measured = [place for place, gene in enumerate(cells.own) if gene >= 0]
    p = np.full(len(measured), np.nan)
    still = cells.levels[cells.condition < 0]
    still = still - still.mean(0)
    effect = np.zeros_like(weight)
    for gene in np.flatnonzero(weight.any(0)):
        sources = np.flatnonzero(weight[:, gene])
        effect[sources, gene] = ridge(still[:, sources], still[:, gene])
    for row, place in enumerate(measured):
        own = cells.own[place]
        if not weight[own].any():
            continue
        state = np.zeros(len(cells.genes))
        for _ in range(STEPS):
            state[own] = cells.responses[place, own]
            state = state @ effect
        others = np.arange(len(cells.genes)) != own
        p[row] = correlation_p(state[others], cells.responses[place, others])[1]
    return discoveries(p, RATE)
