"""Scores of an edge table against a known network.

:func:`score_edges` aligns the two tables and computes everything. The functions it uses take arrays over the pairs of
the universe: ``score`` (pair,), larger meaning more evidence and 0 meaning "not predicted"; ``probability`` (pair,) in
[0, 1]; ``called`` and ``true`` (pair,) bool. Ties are never broken by position: a ranking score depends on thresholds
alone. By hand and not scikit-learn's, whose import takes most of a second: one curve serves all ranking scores and
the bootstrap of their errors; tests hold them equal to scikit-learn's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..inference.calibration import brier, expected_calibration_error, log_score, reliability_table
from .matching import Matching, align, evidence_rank, named_pairs

# -- ranking ----


def ranking_curve(score: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return true positives and pairs selected, both (threshold,), at each distinct score from the highest down.

    Raises
    ------
    ValueError
        Scores that are not numbers: sorted, they would come first and pass for a ranking.
    """
    if bool(np.isnan(score).any()):
        raise ValueError(
            f"{int(np.isnan(score).sum())} of {len(score)} scores are not numbers: give 0 to pairs without evidence, "
            "or leave them out"
        )
    order = np.argsort(score)[::-1]
    last = _threshold_ends(score[order])
    return np.cumsum(true[order])[last].astype(float), last + 1.0


def average_precision(score: np.ndarray, true: np.ndarray) -> float:
    r"""Average precision :math:`\sum_i (R_i - R_{i-1}) P_i` over distinct thresholds, scikit-learn's definition.

    Constant scores give the base rate. NaN without a true edge.
    """
    return _average_precision(*ranking_curve(score, true))


def auprc_trapezoid(score: np.ndarray, true: np.ndarray) -> float:
    """Area under the precision-recall curve by the trapezoid rule from (recall 0, precision 1): BEELINE's AUPRC.

    Straight lines between precisions are optimistic where many scores tie (constant scores give (1 + base rate) / 2,
    not the base rate), so prefer :func:`average_precision` for tables full of zeros. NaN without a true edge.
    """
    true_positives, selected = ranking_curve(score, true)
    if not true_positives[-1]:
        return float("nan")
    return _trapezoid(np.append(0.0, true_positives / true_positives[-1]), np.append(1.0, true_positives / selected))


def auroc(score: np.ndarray, true: np.ndarray) -> float:
    """Area under the receiver operating characteristic, ties counting one half. NaN if all pairs or none are true."""
    return _auroc(*ranking_curve(score, true))


def early_precision(score: np.ndarray, true: np.ndarray) -> float:
    """Precision of the top k pairs, k the number of true edges, with all ties at the k-th place (BEELINE).

    Pairs of score 0 are never selected; 0 if nothing is predicted, NaN without a true edge. BEELINE's code rounds
    scores to six decimals first, which is not done here.
    """
    k = int(true.sum())
    if not k:
        return float("nan")
    selected = (score >= np.partition(score, -k)[-k]) & (score > 0)
    return float(true[selected].mean()) if selected.any() else 0.0


def bootstrap_standard_errors(
    score: np.ndarray, true: np.ndarray, target: np.ndarray, *, num_bootstrap: int = 200, seed: int = 0
) -> dict[str, float]:
    """Return standard errors ``average_precision_se, auroc_se`` by resampling targets.

    Targets and not pairs are drawn with replacement, because the scores of one target come from one regression and
    stand or fall together. Resamples without a true edge, or with nothing else, are left out.

    Parameters
    ----------
    score, true
        (pair,) evidence, and whether the edge exists.
    target
        (pair,) Code of the pair's target, from 0.
    num_bootstrap
        200 resamples give a standard error to about 5%.
    seed
        Of the resamples.
    """
    if num_bootstrap < 2:
        raise ValueError(f"num_bootstrap is {num_bootstrap}; a standard error needs at least 2 resamples.")
    generator = np.random.default_rng(seed)
    order = np.argsort(score)[::-1]  # sorted once; a resample only changes how often a pair counts
    last, hit, target = _threshold_ends(score[order]), true[order].astype(float), target[order]
    share = np.full(int(target.max()) + 1, 1.0 / (int(target.max()) + 1))
    draws = np.empty((num_bootstrap, 2))
    for b in range(num_bootstrap):
        count = generator.multinomial(len(share), share).astype(float)[target]
        curve = np.cumsum(count * hit)[last], np.cumsum(count)[last]
        draws[b] = _average_precision(*curve), _auroc(*curve)
    draws = draws[np.isfinite(draws).all(1)]
    error = draws.std(0, ddof=1) if len(draws) > 1 else np.full(2, np.nan)
    return {"average_precision_se": float(error[0]), "auroc_se": float(error[1])}


def _threshold_ends(ordered: np.ndarray) -> np.ndarray:
    """Last position of each run of equal scores."""
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)


def _trapezoid(x: np.ndarray, y: np.ndarray) -> float:
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2)


def _average_precision(true_positives: np.ndarray, selected: np.ndarray) -> float:
    gain = np.diff(true_positives, prepend=0.0)
    hit = gain > 0  # resampled counts may leave thresholds where nothing is selected
    total = true_positives[-1]
    return float((gain[hit] * true_positives[hit] / selected[hit]).sum() / total) if total else float("nan")


def _auroc(true_positives: np.ndarray, selected: np.ndarray) -> float:
    false_positives = selected - true_positives
    norm = float(true_positives[-1] * false_positives[-1])
    return _trapezoid(np.append(0.0, false_positives), np.append(0.0, true_positives)) / norm if norm else float("nan")


# -- decisions ----


def balanced_accuracy(called: np.ndarray, true: np.ndarray) -> float:
    """Mean of true positive and true negative rate of non-zeros against zeros (Hossain et al. 2024, DASH, B.5).

    NaN if all pairs or none are true.
    """
    if true.all() or not true.any():
        return float("nan")
    return float((called[true].mean() + (~called[~true]).mean()) / 2)


def structural_hamming_distance(called: np.ndarray, true: np.ndarray) -> int:
    """Count the pairs called wrongly, missing or superfluous; a reversed edge is two such pairs and counts twice."""
    return int((called != true).sum())


def cpdag_distance(called: np.ndarray, true: np.ndarray, reverse: np.ndarray) -> int:
    """Structural Hamming distance with pairs of regulators undirected, each counted once, as in a completed PDAG:
    observational cells tell TF → gene from the list of TFs alone, and nothing tells TF → TF from its reverse
    (Shrivastava et al. 2022, problem setting).

    Parameters
    ----------
    called, true
        (pair,) bool.
    reverse
        (pair,) position of the pair with its ends exchanged, -1 where there is none (`ScoredPairs.reverse`).
    """
    both = reverse >= 0
    called = np.where(both, called | called[reverse], called)
    true = np.where(both, true | true[reverse], true)
    once = ~both | (np.arange(len(reverse)) < reverse)
    return int((called != true)[once].sum())


def signed_accuracy(weight: np.ndarray, called: np.ndarray, true_sign: np.ndarray) -> float:
    """Return the share of right signs among called edges whose true sign (±1, else 0) is known; NaN without any."""
    judged = called & (true_sign != 0)
    return float((np.sign(weight[judged]) == true_sign[judged]).mean()) if judged.any() else float("nan")


# -- tables ----


@dataclass(frozen=True)
class EdgeScores:
    """What :func:`score_edges` returns; ``scores["auroc"]`` reads one value.

    Attributes
    ----------
    values
        Scores by name.
    matching
        Size of the universe, and what of either table was not used; ``str()`` says it in one line.
    reliability
        :func:`~pyrogrn.inference.calibration.reliability_table`, if the edge table has an ``inclusion`` column.
    """

    values: dict[str, float]
    matching: Matching
    reliability: pd.DataFrame | None

    def __getitem__(self, name: str) -> float:
        return self.values[name]


def score_edges(
    edges: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    tfs: Sequence[str] | None = None,
    restrict_to_truth_regulators: bool = False,
    score: str | None = None,
    threshold: float | None = None,
    num_bootstrap: int = 0,
    seed: int = 0,
) -> EdgeScores:
    r"""Score an edge table against a known network over TFs × targets of the table without self-pairs.

    Parameters
    ----------
    edges
        ``source, target`` and ``inclusion`` and/or ``weight``, or the column named by `score`; one row per pair. Pairs
        it does not list rank last, with inclusion and weight 0.
    truth
        ``source, target`` [, ``sign`` (±1, 0 unknown), ``weight``], the edges that exist. Repeated rows are dropped and
        counted, since published truths hold some; the first stands.
    tfs
        Regulators of the universe; default the sources of `edges`.
    restrict_to_truth_regulators
        Keep only regulators with an edge in the truth. Right where few factors were assayed (ChIP-seq): pairs of the
        others are unknown rather than absent.
    score
        Column to rank by, larger meaning more evidence. Default ``inclusion`` with ties broken by \|weight\|, else
        \|weight\|.
    threshold
        An edge is called where ``inclusion``, else \|weight\|, reaches it. Default: inclusion ≥ 0.5; without that
        column weight ≠ 0, as DASH (a method that leaves no zeros then has sparsity 0 and balanced accuracy ½).
    num_bootstrap
        Resamples of targets for standard errors; 0 leaves them out, as they cost about 15 ms each per million pairs.
    seed
        Of the bootstrap.

    Returns
    -------
    EdgeScores
        ``values`` always holds ``average_precision, auprc_trapezoid, auroc, early_precision``;
        ``average_precision_ratio, auprc_ratio, early_precision_ratio`` (EPR), over the ``base_rate`` a random order
        reaches; ``balanced_accuracy, sparsity`` (share of pairs not called), ``shd``, and ``shd_cpdag``, for which
        edges between regulators have no direction; ``signed_accuracy``, NaN where the truth has no signs or the table
        no negative weight, as unsigned importances have none. With ``inclusion``: ``brier, log_score, ece`` over all
        pairs. With ``weight`` in both tables: ``mse`` over all pairs. With
        `num_bootstrap`: ``average_precision_se, auroc_se``.

    Raises
    ------
    ValueError
        Missing columns, empty tables, repeated pairs in `edges`, values not finite or out of range, `tfs` without any
        row in `edges`, or no true edge in the universe (with the likely cause).

    Examples
    --------
    >>> edges = pd.DataFrame({"source": ["A", "A", "B"], "target": ["B", "C", "C"], "weight": [0.9, -0.5, 0.1]})
    >>> score_edges(edges, pd.DataFrame({"source": ["A"], "target": ["B"]}))["average_precision"]
    1.0
    """
    pairs = align(edges, truth, tfs=tfs, restrict_to_truth_regulators=restrict_to_truth_regulators, score=score)
    if pairs.inclusion is not None:
        called = pairs.inclusion >= (0.5 if threshold is None else threshold)
    elif pairs.weight is not None:
        called = pairs.weight != 0 if threshold is None else np.abs(pairs.weight) >= threshold
    elif threshold is None:
        called = pairs.score > 0
    else:
        raise ValueError("`threshold` needs a column inclusion or weight in the edge table; add one or leave it out.")
    base_rate = float(pairs.true.mean())
    ranking = {
        "average_precision": average_precision(pairs.score, pairs.true),
        "auprc_trapezoid": auprc_trapezoid(pairs.score, pairs.true),
        "early_precision": early_precision(pairs.score, pairs.true),
    }
    weight = pairs.weight if pairs.weight is not None else np.zeros(len(pairs.true))
    values = ranking | {
        "average_precision_ratio": ranking["average_precision"] / base_rate,
        "auprc_ratio": ranking["auprc_trapezoid"] / base_rate,
        "early_precision_ratio": ranking["early_precision"] / base_rate,
        "auroc": auroc(pairs.score, pairs.true),
        "base_rate": base_rate,
        "balanced_accuracy": balanced_accuracy(called, pairs.true),
        "sparsity": 1.0 - float(called.mean()),
        "shd": float(structural_hamming_distance(called, pairs.true)),
        "shd_cpdag": float(cpdag_distance(called, pairs.true, pairs.reverse)),
        "signed_accuracy": signed_accuracy(weight, called, pairs.true_sign) if (weight < 0).any() else float("nan"),
    }
    reliability = None
    if pairs.inclusion is not None:
        values["brier"] = brier(pairs.inclusion, pairs.true)
        values["log_score"] = log_score(pairs.inclusion, pairs.true)
        values["ece"] = expected_calibration_error(pairs.inclusion, pairs.true)
        reliability = reliability_table(pairs.inclusion, pairs.true)
    if pairs.true_weight is not None and pairs.weight is not None:
        values["mse"] = float(np.square(pairs.weight - pairs.true_weight).mean())
    if num_bootstrap:
        values |= bootstrap_standard_errors(
            pairs.score, pairs.true, pairs.target, num_bootstrap=num_bootstrap, seed=seed
        )
    return EdgeScores(values, pairs.matching, reliability)


def jaccard_top_k(first: pd.DataFrame, second: pd.DataFrame, k: int, *, score: str | None = None) -> float:
    r"""Jaccard index :math:`|A \cap B| / |A \cup B|` of the top `k` pairs of two edge tables.

    Ties at the k-th place are all taken, pairs without evidence and self-pairs never; 1 if neither predicts anything.

    Raises
    ------
    ValueError
        ``k < 1``, or a table without a usable score.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1.")

    def top(edges: pd.DataFrame) -> set[tuple[str, str]]:
        pairs = named_pairs(edges, "edge table")
        rank = evidence_rank(edges, score=score)
        rank[(pairs["source"] == pairs["target"]).to_numpy()] = 0
        cut = np.partition(rank, -k)[-k] if k < len(rank) else 0
        return set(pairs[(rank >= cut) & (rank > 0)].itertuples(index=False, name=None))

    a, b = top(first), top(second)
    return len(a & b) / len(a | b) if a | b else 1.0
