"""Whether the genes that a network names as targets are those that move when their regulator is perturbed."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import rankdata

from .perturbed_cells import PerturbedCells
from .score import Score
from .weights import FEW, MANY, most


def distance_scores(networks: Mapping[str, np.ndarray], cells: PerturbedCells) -> dict[str, dict[str, Score]]:
    r"""geneRNIB's Wasserstein score: the place of the predicted targets among all genes, by how far each moved.

    The distance of a gene is the 1-Wasserstein distance between its levels in controls and in cells with the regulator
    perturbed, :math:`W_1 = \int |F_0^{-1}(u) - F_1^{-1}(u)|\,du`, in sd of the gene; its place the share of other genes
    that moved less (ties half), ½ for a gene drawn at random. ``distance, few`` (ws_precision) and ``distance, many``
    (ws_recall): the mean place of the n targets with the largest \|weight\|, n the 25th or 75th percentile of the
    regulator's number of targets over the networks compared. Targets that a network lacks count as drawn at random,
    that is ½ (the code of geneRNIB draws them); targets are taken by \|weight\| (there by weight, so that repressors
    come last).
    """
    measured = [place for place, gene in enumerate(cells.own) if gene >= 0]
    number = np.array([[np.count_nonzero(w[cells.own[c]]) for c in measured] for w in networks.values()])
    judged = [(c, counts) for c, counts in zip(measured, number.T, strict=True) if counts.any()]
    found: dict[str, dict[str, list[float]]] = {name: {"distance, few": [], "distance, many": []} for name in networks}
    for place, counts in judged:
        share = moved(cells, place)
        for score, percentile in (("distance, few", FEW), ("distance, many", MANY)):
            wanted = max(1, int(np.ceil(np.percentile(counts, percentile))))
            for name, weight in networks.items():
                targets = share[most(weight[cells.own[place]], wanted)]
                found[name][score].append(float(targets.sum() + 0.5 * (wanted - len(targets))) / wanted)
    return {
        name: {score: Score("perturbations", np.array(values)) for score, values in scores.items()}
        for name, scores in found.items()
    }


def moved(cells: PerturbedCells, place: int) -> np.ndarray:
    """``(gene,)`` share of the other genes that moved less under a perturbation; NaN for the perturbed gene."""
    still, acted, own = cells.levels[cells.condition < 0], cells.levels[cells.condition == place], cells.own[place]
    others = np.flatnonzero(np.arange(len(cells.genes)) != own)
    distance = wasserstein(still[:, others], acted[:, others])
    share = np.full(len(cells.genes), np.nan)
    share[others] = (rankdata(distance) - 1.0) / max(len(others) - 1, 1)
    return share


def wasserstein(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    r"""``(gene,)`` 1-Wasserstein distances of the columns of two samples, (cell, gene) each, of any sizes.

    :math:`\int |F_1^{-1}(u) - F_2^{-1}(u)|\,du` over the steps of both quantile functions, which depend on the sizes
    alone: all genes at once, where scipy's function takes one at a time (900 × 900 of them in a panel).
    """
    m, n = len(first), len(second)
    ends = np.unique(np.concatenate([np.arange(m + 1) * n, np.arange(n + 1) * m]))  # of the steps, in units of 1/(mn)
    start, width = ends[:-1], np.diff(ends) / (m * n)
    gap = np.abs(np.sort(first, axis=0)[start // n] - np.sort(second, axis=0)[start // m])
    return width @ gap
