"""GRNULar's synthetic protocol: rankings as its figures have them, and the distances of the structures that are called.

A guide calls the pairs that are probable, the graphical lasso those that are not zero; a ranking (correlation, ridge,
trees) calls none, so it has no distance. ``nothing called``: what a method has to be below for its calls to be worth
anything, the number of true pairs.
"""

from functools import partial
from pathlib import Path

import numpy as np

from ...inference.amortised.network import AmortisedNetwork
from ...models import ExpressionData
from ...models.simulators import RandomGRN, TechnicalNoise, simulate_sergio
from ..scores import cpdag_distance, structural_hamming_distance
from ..tasks import truth_matrix
from .amortised import LASSO, QUICK, TREES, _logged, _ranking, _weights, guides, parts_of, probabilities, scored
from .results import Results, mean_se

LEARNED = ("grnular-protocol", "grnular", "glad-tf", "glad")
CALLED = 0.5  # probability from which a guide calls an edge
WITH_TREES = 3  # graphs of two conditions: a minute each
FIRST = 77_000
CONDITIONS: tuple[tuple[int, int, int | None], ...] = (  # cell types, cells, percentile of dropout
    *((types, 1000, None) for types in (2, 5, 10)),
    *((5, cells, None) for cells in (100, 500, 5000, 10000)),
    *((5, 1000, q) for q in (25, 50, 75)),
)


def run(folder: Path, results: Results, *, graphs: int = 20) -> None:
    """Section 3.2 of the paper, fresh test graphs: cell types, numbers of cells, dropout; mean and standard error, and
    (as the paper's figures) the sd over graphs. Trees take a minute a graph: of some conditions, on the first graphs,
    as the column ``seed`` says. ``folder`` is not read."""
    results.resume_parts()
    for types, cells, q in CONDITIONS:
        task = f"protocol C={types} M={cells}" + ("" if q is None else f" q={q}")
        results.part(task, partial(condition, results, task, types, cells, q, graphs))


def condition(results: Results, task: str, types: int, cells: int, q: int | None, graphs: int) -> None:
    """Rows of one condition."""
    learned = guides(*LEARNED)
    noise = None if q is None else TechnicalNoise(dropout_percentile=q, dropout_shape=20)
    rows: dict[str, list[dict[str, float]]] = {}
    simulation = simulate_sergio(
        RandomGRN(num_types=types), num_networks=graphs, num_cells=cells // types, noise=noise, seed=FIRST
    )
    for index in range(graphs):
        data = simulation.data(index)  # with genes that dropout has silenced: no method may drop the hard ones
        true = truth_matrix(data, simulation.network(index))
        found = scores_of(learned, data, true, parts=cells == 1000 and types == 5 and q is None)
        if index < WITH_TREES and (types, cells) == (5, 1000) and q in (None, 75):
            found |= {m.name: _ranking(*scored(_weights(m, _logged(data)), data, true)) for m in TREES}
        for name, one in found.items():
            rows.setdefault(name, []).append(one)
    for name, scores in rows.items():
        for key in scores[0]:
            each = [s[key] for s in scores]
            seed = f"{FIRST} ({len(each)} graphs)"
            results.add(task, name, seed, key, *mean_se(each))
            results.add(task, name, seed, f"{key}_sd", float(np.std(each, ddof=1)))


def scores_of(
    learned: dict[str, AmortisedNetwork], data: ExpressionData, true: np.ndarray, *, parts: bool
) -> dict[str, dict[str, float]]:
    """Of all methods but trees on one graph; with ``parts`` of what ranks in a guide, too."""
    rank = lambda values: _ranking(*scored(values, data, true))
    found = {}
    for name, network in learned.items():
        probability = probabilities(network, data)
        found[name] = rank(probability) | distances(probability >= CALLED, data, true)
        if parts and name != "grnular":
            found |= {f"{name}, {part}": rank(score) for part, score in parts_of(network, data).items()}
    weights = {method.name: _weights(method, _logged(data)) for method in (*QUICK, LASSO)}
    found |= {name: rank(values) for name, values in weights.items()}
    found[LASSO.name] |= distances(weights[LASSO.name] != 0, data, true)
    found["nothing called"] = distances(np.zeros_like(true), data, true)
    return found


def distances(called: np.ndarray, data: ExpressionData, true: np.ndarray) -> dict[str, float]:
    """Structural Hamming distance of ``(tf, gene)`` calls from the truth, and with pairs of regulators undirected;
    self-pairs do not count."""
    place = {gene: i for i, gene in enumerate(data.genes)}
    column = np.array([place[tf] for tf in data.tfs])
    row = np.full(len(data.genes), -1)
    row[column] = np.arange(len(column))
    kept = np.ones(true.shape, dtype=bool)
    kept[np.arange(len(column)), column] = False
    number = (np.cumsum(kept) - 1).reshape(true.shape)
    source, target = np.nonzero(kept)
    both = row[target] >= 0
    reverse = np.where(both, number[row[target], column[source]], -1)
    called, true = called[kept], true[kept]
    return {
        "shd": float(structural_hamming_distance(called, true)),
        "shd_cpdag": float(cpdag_distance(called, true, reverse)),
    }
