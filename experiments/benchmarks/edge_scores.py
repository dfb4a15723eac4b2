"""Scores of a table of edges against a known network: ranking, signs, directions."""

import numpy as np
import pandas as pd

from ..matching import ScoredPairs, align
from ..scores import auroc, average_precision

Scores = dict[str, float]


def network_scores(table: pd.DataFrame, truth: pd.DataFrame) -> Scores:
    """Ranking scores, and for the k best pairs, k the number of true edges: the share of right signs among the true
    ones, and the share of the others whose reverse is a true edge; ``direction`` is the share of true edges without a
    true reverse that rank above their reverse (ties count a half)."""
    pairs = align(table, truth)
    scores = {
        "average_precision": average_precision(pairs.score, pairs.true),
        "auroc": auroc(pairs.score, pairs.true),
    }
    called = top(pairs)
    known = called & pairs.true & (pairs.true_sign != 0)
    if pairs.weight is not None and (pairs.weight < 0).any() and known.any():
        scores["sign_accuracy"] = float((np.sign(pairs.weight[known]) == pairs.true_sign[known]).mean())
    codes, both = _codes(table)
    score, true, back = (_square(v, codes, len(both)) for v in (pairs.score, pairs.true, called))
    alone = true & ~true.T & both
    scores["direction"] = float(((score > score.T) + 0.5 * (score == score.T))[alone].mean())
    wrong = back & ~true
    scores["reversed"] = float(true.T[wrong].mean()) if wrong.any() else float("nan")
    return scores


def top(pairs: ScoredPairs) -> np.ndarray:
    """The k best pairs, with ties, k the number of true edges."""
    k = int(pairs.true.sum())
    return (pairs.score >= np.partition(pairs.score, -k)[-k]) & (pairs.score > 0)


def _codes(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """``(pair, 2)`` gene codes of the universe that `align` lays out, and ``(gene, gene)`` whether both of a pair are
    candidate regulators."""
    sources, targets = pd.unique(table["source"]), pd.unique(table["target"])
    code = {g: i for i, g in enumerate(sorted({*sources, *targets}))}
    grid = [(code[s], code[t]) for s in sources for t in targets if s != t]
    candidate = np.zeros(len(code), dtype=bool)
    candidate[[code[s] for s in sources]] = True
    return np.array(grid), candidate[:, None] & candidate


def _square(values: np.ndarray, codes: np.ndarray, size: int) -> np.ndarray:
    full = np.zeros((size, size), dtype=values.dtype)
    full[codes[:, 0], codes[:, 1]] = values
    return full


def table_of(W: np.ndarray, genes: tuple[str, ...]) -> pd.DataFrame:
    """All ordered pairs of a weight matrix (source, target)."""
    source, target = np.nonzero(~np.eye(len(genes), dtype=bool))
    names = np.asarray(genes, dtype=object)
    return pd.DataFrame({"source": names[source], "target": names[target], "weight": W[source, target]})
