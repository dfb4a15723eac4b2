"""`response_scores`: all scores of some networks on the same perturbed cells, and what the best differs by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .activity import consistency_scores, recovery_scores
from .distances import distance_scores
from .found import found_scores
from .perturbed_cells import PerturbedCells
from .regression import regression_scores
from .score import Score, picks
from .structural import structural_scores
from .virtual_cell import virtual_cell_scores
from .weights import MOST_EDGES, network_weights

LEVEL = 0.95
RESAMPLES = 2000  # ends of a 95% interval to about a sixtieth of its width

SCORES = {
    "regression": "variance of genes that their regulators predict in cells left out",
    "regression, few": "the same, equally few of the strongest regulators for all networks",
    "regression, many": "the same, equally many",
    "distance, few": "place of predicted targets among all genes, by how far they moved; 0.5 at random",
    "distance, many": "the same, equally many targets for all networks",
    "structural": "share of a response predicted from half of its genes",
    "virtual cell": "share of responses in cells left out that two steps along the network carry",
    "replicates agree": "share of regulators' activities that replicates agree on",
    "recovery, all": "t statistic: activity of the perturbed regulator, above random networks",
    "recovery, found": "the same over regulators with at least three targets in this network",
    "genes predicted": "F score of genes that correlate with the prediction by their regulators in cells left out",
    "perturbed found": "F score of perturbed genes whose activity by their targets is lower",
    "responses forecast": "F score of perturbed genes whose response three steps along the network carry",
}
"""Each score in words; larger is better in all."""

NEEDS = {
    "virtual cell": "it needs two perturbed genes that are measured, and five cells of each and of controls",
    "replicates agree": "it needs replicates (their column), two conditions with cells in each of them",
}
"""What the scores need that not all cells allow."""


@dataclass(frozen=True, eq=False)
class ResponseScores:
    """What :func:`response_scores` returns.

    Attributes
    ----------
    scores
        By network and score.
    num_edges
        Edges of each network that were used.
    seed
        Of the bootstrap.
    """

    scores: dict[str, dict[str, Score]]
    num_edges: dict[str, int]
    seed: int = 0

    def table(self) -> pd.DataFrame:
        """One row a network and score: ``network, score, value, lower, upper, units, number, num_edges``, the interval
        (95%) by bootstrap over units; NaN where the cells do not allow the score."""
        rows = []
        for network, scores in self.scores.items():
            for name, score in scores.items():
                low, high = self._interval(score.resampled(self._picks(score)) if len(score.values) > 1 else None)
                rows.append(
                    {"network": network, "score": name, "value": score.value, "lower": low, "upper": high}
                    | {"units": score.units, "number": len(score.values), "num_edges": self.num_edges[network]}
                )
        return pd.DataFrame(rows)

    def differences(self, reference: str) -> pd.DataFrame:
        """Every other network minus ``reference``: ``network, score, difference, lower, upper``, by a bootstrap that
        draws the same units for both; scores whose units differ between networks are left out.

        Raises
        ------
        ValueError
            No such network.
        """
        if reference not in self.scores:
            raise ValueError(f"no network {reference!r} was scored; choose one of {sorted(self.scores)}")
        rows = []
        for network, scores in self.scores.items():
            for name, score in scores.items() if network != reference else ():
                other = self.scores[reference][name]
                if name == "recovery, found" or len(score.values) < 2:
                    continue
                drawn = self._picks(score)
                low, high = self._interval(score.resampled(drawn) - other.resampled(drawn))
                rows.append(
                    {"network": network, "score": name, "difference": score.value - other.value}
                    | {"lower": low, "upper": high}
                )
        return pd.DataFrame(rows, columns=["network", "score", "difference", "lower", "upper"])

    def _picks(self, score: Score) -> np.ndarray:
        return picks(len(score.values), RESAMPLES, self.seed)

    @staticmethod
    def _interval(values: np.ndarray | None) -> tuple[float, float]:
        if values is None:
            return float("nan"), float("nan")
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)


def response_scores(
    networks: Mapping[str, pd.DataFrame],
    cells: PerturbedCells,
    *,
    tfs: Sequence[str] | None = None,
    top: int = MOST_EDGES,
    seed: int = 0,
) -> ResponseScores:
    """Score edge tables by perturbed cells, without a known network.

    The families of geneRNIB (Nourisa et al. 2025) that need no other service: regression, Wasserstein distance,
    structural equations, virtual cell, agreement of replicates, recovery of the perturbed regulator; and of GRETA
    (Badia-i-Mompel et al. 2024): genes predicted, perturbed genes found, responses forecast. `SCORES` has each in
    words, the docstrings of the parts its equation and where it departs from theirs. **Compare networks in one call**:
    how many regulators and targets count depends on all of them. They say which network describes these cells, not
    which is causal: a correlation network does well in regression, and co-regulated genes move together.

    Parameters
    ----------
    networks
        By name, tables with ``source, target``, and ``weight`` (else all weigh one) and ``inclusion`` where there are
        any; for a fair comparison lists of one length (``top``).
    cells
        Not those that the networks were fitted on, or the scores are too good.
    tfs
        Regulators whose edges count. Default all.
    top
        Most edges of a network. Default 50,000, as geneRNIB.
    seed
        Of folds, random networks and the bootstrap.

    Raises
    ------
    ValueError
        No networks, or a table without an edge among these genes.
    """
    if not networks:
        raise ValueError("no network to score: name at least one")
    weights = {}
    for name, edges in networks.items():
        try:
            weights[name] = network_weights(edges, cells.genes, tfs=tfs, top=top)
        except ValueError as error:
            raise ValueError(f"network {name!r}: {error}") from error
    parts = [
        regression_scores(weights, cells, seed=seed),
        distance_scores(weights, cells),
        structural_scores(weights, cells, seed=seed),
        virtual_cell_scores(weights, cells, seed=seed),
        consistency_scores(weights, cells),
        recovery_scores(weights, cells, seed=seed),
        found_scores(weights, cells, seed=seed),
    ]
    scores = {name: {key: value for part in parts for key, value in part[name].items()} for name in weights}
    return ResponseScores(scores, {name: int(np.count_nonzero(w)) for name, w in weights.items()}, seed)
