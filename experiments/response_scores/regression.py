"""How well the regulators that a network gives a gene predict it in cells left out."""

from collections.abc import Mapping

import numpy as np

from .perturbed_cells import PerturbedCells
from .score import Score
from .weights import FEW, MANY, most

FOLDS = 5
RIDGE = 1.0  # on genes of variance one; a fold has hundreds of cells, so it only keeps copies of a gene apart


def regression_scores(
    networks: Mapping[str, np.ndarray], cells: PerturbedCells, *, seed: int = 0
) -> dict[str, dict[str, Score]]:
    r"""geneRNIB's regression: :math:`R^2` of ridge regression of each gene on its regulators, in five folds.

    .. math:: R^2_g = \max\Big(0,\ 1 - \frac{\sum_c (x_{cg} - \hat x_{cg})^2}{\sum_c (x_{cg} - \bar x_g)^2}\Big)

    with :math:`\hat x` and :math:`\bar x` from the other folds. ``regression``: all regulators that the network gives.
    ``regression, few`` (r_precision) and ``regression, many`` (r_recall): the n strongest, n the 25th or 75th
    percentile of the gene's number of regulators over all networks compared, so that a long list does not win by its
    length. A gene without regulators scores 0. Cells in which the gene itself was perturbed are left out of its
    regression.

    Parameters
    ----------
    networks
        By name, ``(source gene, gene)`` weights.
    """
    number = np.stack([np.count_nonzero(w, axis=0) for w in networks.values()])  # (network, gene)
    few, many = (np.ceil(np.percentile(number, q, axis=0)).astype(int) for q in (FEW, MANY))
    fold = cells.folds(FOLDS, seed)
    genes = np.flatnonzero(number.any(0))
    found: dict[str, dict[str, list[float]]] = {name: {} for name in networks}
    for gene in genes:
        explained = _Explained(cells, int(gene), fold)
        for name, weight in networks.items():
            order = most(weight[:, gene], len(weight))
            lists = {
                "regression": order,
                "regression, few": order[: few[gene]],
                "regression, many": order[: many[gene]],
            }
            for score, regulators in lists.items():
                found[name].setdefault(score, []).append(explained(tuple(sorted(regulators))))
    return {
        name: {score: Score("genes", np.array(values)) for score, values in scores.items()}
        for name, scores in found.items()
    }


class _Explained:
    """Held-out share of one gene's variance explained by sets of regulators; the same set is fitted once."""

    def __init__(self, cells: PerturbedCells, gene: int, fold: np.ndarray) -> None:
        own = np.flatnonzero(cells.own == gene)
        used = ~np.isin(cells.condition, own) if len(own) else np.ones(len(cells.levels), dtype=bool)
        self.levels, self.gene, self.fold = cells.levels[used], gene, fold[used]
        self.known: dict[tuple[int, ...], float] = {}

    def __call__(self, regulators: tuple[int, ...]) -> float:
        if not regulators:
            return 0.0
        if regulators not in self.known:
            self.known[regulators] = self._fit(list(regulators))
        return self.known[regulators]

    def _fit(self, regulators: list[int]) -> float:
        inputs, target, left, total = self.levels[:, regulators], self.levels[:, self.gene], 0.0, 0.0
        for fold in range(FOLDS):
            out = self.fold == fold
            if not out.any() or out.all():
                continue
            mean_in, mean_out = inputs[~out].mean(0), target[~out].mean()
            x, y = inputs[~out] - mean_in, target[~out] - mean_out
            beta = np.linalg.solve(x.T @ x + RIDGE * np.eye(len(regulators)), x.T @ y)
            error = target[out] - mean_out - (inputs[out] - mean_in) @ beta
            left, total = left + float(error @ error), total + float(np.square(target[out] - mean_out).sum())
        return max(0.0, 1.0 - left / total) if total > 0 else 0.0
