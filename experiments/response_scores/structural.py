"""Whether a network, as a linear structural equation model, completes the response to a perturbation."""

from collections.abc import Mapping

import numpy as np
from scipy.linalg import cholesky, solve, solve_triangular
from scipy.optimize import nnls

from .perturbed_cells import PerturbedCells
from .regression import FOLDS, RIDGE
from .score import Score

LARGEST = 0.95  # spectral radius of the fitted model: above it a shock would never die out, so A is scaled down to it
NUGGET = 1e-6


def structural_scores(
    networks: Mapping[str, np.ndarray], cells: PerturbedCells, *, seed: int = 0
) -> dict[str, dict[str, Score]]:
    r"""geneRNIB's structural equations: ``x = A'x + e`` on the edges of the network, refitted, predicts half of each
    response from the other half.

    A is ridge regression of each gene on the network's regulators, their signs kept where the network has signs
    (non-negative least squares), in controls and in the cells of other perturbations; a gene's own perturbation is no
    data for its equation. Of a perturbation left out, the shocks e are inferred from the genes of one half (drawn
    once, the reporters) and carried to the other half,

    .. math:: \hat\Delta_e = \Sigma_{er}\,\Sigma_{rr}^{-1}\,\Delta_r, \qquad
              \Sigma = (I - A')^{-1}(I - A')^{-\top},

    their least-squares value under shocks of equal size, then the halves change places. Each perturbation scores the
    share of its response that is predicted, :math:`\max(0,\ 1 - \|\Delta - \hat\Delta\|^2 / \|\Delta\|^2)`, the
    perturbed gene itself left out. ``structural`` of geneRNIB (sem) fits once and has fixed reporters.
    """
    generator = np.random.default_rng(seed)
    half = generator.permutation(len(cells.genes)) % 2 == 0
    fold = generator.permutation(len(cells.conditions)) % FOLDS
    return {
        name: {"structural": Score("perturbations", _explained(weight, cells, fold, half))}
        for name, weight in networks.items()
    }


def _explained(weight: np.ndarray, cells: PerturbedCells, fold: np.ndarray, half: np.ndarray) -> np.ndarray:
    """``(condition,)`` share of each response that is predicted."""
    left, total = np.zeros(len(cells.conditions)), np.zeros(len(cells.conditions))
    for part in np.unique(fold):
        used = np.append(fold != part, True)[cells.condition]  # the last entry: controls, whose condition is -1
        carried = np.linalg.inv(np.eye(len(weight)) - _fitted(weight, cells, used).T)
        covariance = carried @ carried.T
        judged = np.flatnonzero(fold == part)
        for reporters in (half, ~half):
            r, e = np.flatnonzero(reporters), np.flatnonzero(~reporters)
            within = covariance[np.ix_(r, r)] + NUGGET * np.eye(len(r))
            response = cells.responses[np.ix_(judged, e)]
            error = response - cells.responses[np.ix_(judged, r)] @ solve(
                within, covariance[np.ix_(r, e)], assume_a="pos"
            )
            other = cells.own[judged][:, None] != e  # the perturbed gene's own change is put in, not predicted
            left[judged] += (np.square(error) * other).sum(1)
            total[judged] += (np.square(response) * other).sum(1)
    return np.maximum(0.0, 1.0 - np.divide(left, total, out=np.ones_like(total), where=total > 0))


def _fitted(weight: np.ndarray, cells: PerturbedCells, used: np.ndarray) -> np.ndarray:
    """``(source gene, gene)`` effects on the edges of the network, of spectral radius at most 0.95."""
    levels, condition = cells.levels[used], cells.condition[used]
    centre = levels.mean(0)
    gram = (levels - centre).T @ (levels - centre)
    signed, effect = bool((weight < 0).any()), np.zeros_like(weight)
    for gene in np.flatnonzero(weight.any(0)):
        regulators = np.flatnonzero(weight[:, gene])
        inner, cross = gram[np.ix_(regulators, regulators)], gram[regulators, gene]
        for place in np.flatnonzero(cells.own == gene):
            cut = levels[condition == place] - centre
            inner, cross = (
                inner - cut[:, regulators].T @ cut[:, regulators],
                cross - cut[:, regulators].T @ cut[:, gene],
            )
        effect[regulators, gene] = _ridge(inner, cross, np.sign(weight[regulators, gene]) if signed else None)
    radius = float(np.abs(np.linalg.eigvals(effect)).max())
    return effect if radius <= LARGEST else effect * (LARGEST / radius)


def _ridge(inner: np.ndarray, cross: np.ndarray, sign: np.ndarray | None) -> np.ndarray:
    """Ridge regression from its sums, of given signs where there are any."""
    inner = inner + RIDGE * np.eye(len(inner))
    if sign is None:
        return solve(inner, cross, assume_a="pos")
    factor = cholesky(inner * sign[:, None] * sign, lower=False)  # |F b - F^-T c|^2 is the ridge loss, up to a constant
    return sign * nnls(factor, solve_triangular(factor, cross * sign, trans="T"))[0]
