"""Numbers that say whether a fit has settled: R-hat, effective draws, drift of the ELBO, agreement of chains, k-hat."""

import itertools
import math
from typing import NamedTuple

import numpy as np

from .mixing import bulk_ess, rank_rhat


def rhats(draws: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat (Vehtari et al. 2021) of every element of ``draws`` (chain, draw, ...) that varies.

    Elements that never vary are left out. Infinite where chains are stuck at different values, NaN where draws are not
    finite.
    """
    flat = draws.reshape(*draws.shape[:2], -1).astype(np.float64)
    finite = np.isfinite(flat).all((0, 1))
    within = (flat != flat[:, :1]).any((0, 1))
    varies = within | (flat != flat[:1]).any((0, 1))
    result = np.where(finite, np.inf, np.nan)
    regular = finite & within
    if regular.any():
        result[regular] = rank_rhat(flat[:, :, regular])
    return result[varies | ~finite]


def least_ess(draws: np.ndarray) -> float:
    """Smallest bulk effective sample size of elements of ``draws`` (chain, draw, ...) that vary; NaN if none does."""
    flat = draws.reshape(*draws.shape[:2], -1).astype(np.float64)
    flat = flat[:, :, (flat != flat[:1, :1]).any((0, 1)) & np.isfinite(flat).all((0, 1))]
    return float(np.min(bulk_ess(flat))) if flat.shape[2] else math.nan


def elbo_drift(elbo: np.ndarray, rate: np.ndarray, num_edges: int) -> float:
    """Change of ``elbo`` (restart, record) over the last fifth of its learning, in nats an edge, in the worst restart.

    The last fifth of the sum of the learning rates ``rate`` (record,), not of the records: where the rate decays to
    nothing the ELBO comes to rest wherever it is. The change is between medians of the first and the last third of that
    window (one-sample ELBOs have outliers), stretched to all of it, less two standard errors. NaN below 30 records.
    """
    if elbo.shape[1] < 30:
        return math.nan
    left = np.cumsum(rate[::-1])  # learning still to come, from the end
    count = max(15, int(np.searchsorted(left, 0.2 * left[-1])))
    last, third = elbo[:, -count:], count // 3
    change = 1.5 * (np.median(last[:, -third:], axis=1) - np.median(last[:, :third], axis=1))
    noise = 1.05 * np.median(np.abs(np.diff(last, axis=1)), axis=1)  # sd of a record, from the differences of two
    error = 1.5 * 1.25 * noise * math.sqrt(2 / third)
    return float(np.max(np.maximum(np.abs(change) - 2 * error, 0))) / num_edges


def median_khat(log_weight: np.ndarray) -> float:
    """Median over restarts of the Pareto k of importance weights (Yao et al. 2018).

    ``log_weight`` (restart, draw) is lp − lq.
    NaN when no restart is finite, or with fewer than 25 draws.
    """
    finite = log_weight[np.isfinite(log_weight).all(1)]
    if not len(finite) or finite.shape[1] < 25:
        return math.nan
    from arviz_stats.base import array_stats  # here: half a second, and samplers have no weights

    # ArviZ takes log-likelihoods, whose importance weights for leave-one-out are their inverses: hence the sign
    with np.errstate(
        all="ignore"
    ):  # weights so unequal that the tail's unit is a denormal number: no k is large enough
        found = [array_stats.psislw(-each)[1] for each in finite]
    return float(np.median(np.nan_to_num(found, nan=math.inf)))


def target_khat(log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smoothed importance weights (Vehtari et al. 2024), column by column: ``log_weight`` (draw, …) → weights
    that sum to 1 over draws, and k-hat of each column.

    Weights of graphs are discrete: a column with fewer than 25 different ones has no tail to fit, is not smoothed, and
    its k-hat is NaN.
    """
    from arviz_stats.base import array_stats  # here, as in `median_khat`

    flat = log_weight.reshape(log_weight.shape[0], -1)
    flat = flat - flat.max(0)
    khat = np.full(flat.shape[1], math.nan)
    for column in range(flat.shape[1]):
        if len(np.unique(flat[:, column].round(6))) >= 25:
            # ties, on which the generalised Pareto fit divides by zero, are broken far below any error
            noise = 1e-6 * np.random.default_rng(0).standard_normal(len(flat))
            flat[:, column], khat[column] = array_stats.psislw(-flat[:, column] - noise)
    weight = np.exp(flat - flat.max(0))
    return (weight / weight.sum(0)).reshape(log_weight.shape), khat.reshape(log_weight.shape[1:])


class Agreement(NamedTuple):
    """How alike chains are, means over pairs of them: Jaccard index of the top ``k`` edges, and Pearson correlation of
    inclusion probabilities; ``largest`` difference of one edge's; ``above`` edges whose probability is above one half.
    """

    jaccard: float
    k: int
    above: int
    correlation: float
    largest: float


def first(probability: np.ndarray, weight: np.ndarray, k: int) -> np.ndarray:
    """Places of the ``k`` most probable ``(edge,)``, weights deciding between equals and then the place, in this order;
    only those that may be among them are sorted."""
    least = np.partition(probability, len(probability) - k)[len(probability) - k]
    some = np.flatnonzero(probability >= least)
    return some[np.lexsort((-weight[some], -probability[some]))[:k]]


def agreement(inclusion: np.ndarray, weight: np.ndarray, *, at_least: int = 20, at_most: int = 500) -> Agreement:
    """Compare chains by their edges.

    Parameters
    ----------
    inclusion, weight
        ``(chain, edge)`` inclusion probabilities and |mean weight| of each chain alone; weights decide between equals.
    at_least, at_most
        Bounds of k, which is otherwise the number of edges above one half.
    """
    above = int((inclusion.mean(0) > 0.5).sum())
    k = min(max(above, at_least), at_most, inclusion.shape[1])
    tops = [set(first(p, w, k).tolist()) for p, w in zip(inclusion, weight, strict=True)]
    pairs = list(itertools.combinations(range(len(inclusion)), 2))
    jaccard = float(np.mean([len(tops[a] & tops[b]) / len(tops[a] | tops[b]) for a, b in pairs]))
    if (np.ptp(inclusion, axis=1) == 0).any():  # a chain in which all edges are alike correlates with nothing
        correlation = math.nan
    else:
        matrix = np.corrcoef(inclusion)
        correlation = float(np.mean([matrix[pair] for pair in pairs]))
    return Agreement(jaccard, k, above, correlation, float(np.ptp(inclusion, axis=0).max()))
