"""Whether perturbations reach, along a network, the genes that respond: two layers of its edges alone, fitted."""

from collections.abc import Mapping

import numpy as np

from .perturbed_cells import PerturbedCells
from .regression import FOLDS
from .score import Score

ROUNDS = 20  # of the two layers in turn: twenty more change the misfit (Papalexi et al. 2021) by a thousandth
RIDGE = 0.01  # on edges: the variance of a response's mean of a hundred cells, for genes of variance one


def virtual_cell_scores(
    networks: Mapping[str, np.ndarray], cells: PerturbedCells, *, seed: int = 0
) -> dict[str, dict[str, Score]]:
    r"""geneRNIB's virtual cell: the network as two layers of a model that predicts perturbed cells.

    .. math:: \hat\Delta_c = u_c + B^{(1)}u_c + B^{(2)}B^{(1)}u_c, \qquad u_c = s_c\,e_{g(c)},

    B of the edges of the network alone, fitted by least squares with a ridge, one layer after the other, to the
    responses of four fifths of each condition's cells, with :math:`s_c` the change of the perturbed gene there; scored
    by :math:`\max(0, R^2)` of each gene's responses in the other fifth, five folds. It asks whether the genes that
    respond are within two steps of the perturbed one. (geneRNIB trains a neural network by gradient; this one is linear
    in the shock, and the same answer every time.) Needs five cells of each condition, and perturbed genes that are
    measured; no scores otherwise.
    """
    judged = [place for place, gene in enumerate(cells.own) if gene >= 0 and (cells.condition == place).sum() >= FOLDS]
    if len(judged) < 2 or (cells.condition < 0).sum() < FOLDS:
        return {name: {} for name in networks}
    fold = cells.folds(FOLDS, seed)
    parts = [(cells.means(fold != k)[judged], cells.means(fold == k)[judged]) for k in range(FOLDS)]
    own = cells.own[judged]
    found = {}
    for name, weight in networks.items():
        left, total = np.zeros(len(cells.genes)), np.zeros(len(cells.genes))
        for trained, held in parts:
            predicted = _predicted(weight, trained, own)
            error, size = np.square(held - predicted), np.square(held)
            error[np.arange(len(own)), own] = size[np.arange(len(own)), own] = 0.0  # the change put in is no prediction
            left, total = left + error.sum(0), total + size.sum(0)
        share = 1.0 - np.divide(left, total, out=np.ones_like(total), where=total > 0)
        found[name] = {"virtual cell": Score("genes", np.maximum(0.0, share))}
    return found


def _predicted(weight: np.ndarray, trained: np.ndarray, own: np.ndarray) -> np.ndarray:
    """``(condition, gene)`` responses by the two layers as fitted to ``trained``; 0 for the perturbed genes."""
    rows = np.arange(len(own))
    shock, response = trained[rows, own], trained.copy()
    response[rows, own] = 0.0
    first, second = np.zeros_like(response), np.zeros_like(weight)
    for _ in range(ROUNDS):
        _fit_first(first, second, weight, response, shock, own)
        _fit_second(first, second, weight, response)
    predicted = first + first @ second
    predicted[rows, own] = 0.0
    return predicted


def _fit_first(
    first: np.ndarray, second: np.ndarray, weight: np.ndarray, response: np.ndarray, shock: np.ndarray, own: np.ndarray
) -> None:
    """What reaches the direct targets, ``first`` (condition, gene), in place; one gene, one set of edges."""
    through = np.eye(len(weight)) + second
    for gene in np.unique(own):
        targets, rows = np.flatnonzero(weight[gene]), np.flatnonzero(own == gene)
        carried = through[targets]
        inner = np.square(shock[rows]).sum() * (carried @ carried.T) + RIDGE * np.eye(len(targets))
        edges = np.linalg.solve(inner, carried @ (shock[rows] @ response[rows]))
        first[np.ix_(rows, targets)] = np.outer(shock[rows], edges)


def _fit_second(first: np.ndarray, second: np.ndarray, weight: np.ndarray, response: np.ndarray) -> None:
    """Edges from the direct targets on, ``second`` (source gene, gene), in place; sources that nothing reaches stay
    0."""
    left = response - first
    reached = first.any(0)
    for gene in np.flatnonzero(weight[reached].any(0)):
        sources = np.flatnonzero((weight[:, gene] != 0) & reached)
        inner = first[:, sources].T @ first[:, sources] + RIDGE * np.eye(len(sources))
        second[sources, gene] = np.linalg.solve(inner, first[:, sources].T @ left[:, gene])
