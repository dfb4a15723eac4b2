"""What the baselines share: moments of the data, one regression per target, and the edge table they return."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ...models import ExpressionData


def expression(data: ExpressionData) -> np.ndarray:
    """Return X (cell, gene) as an array in main memory, of the data's precision.

    Raises
    ------
    ValueError
        Fewer than 3 cells: neither a correlation nor a residual variance is defined.
    """
    if data.num_cells < 3:
        raise ValueError(f"Found {data.num_cells} cells; baselines need at least 3. Pass more cells.")
    return data.X.numpy(force=True)


def tf_columns(data: ExpressionData) -> np.ndarray:
    """Return the column of each TF in X, (tf,)."""
    return data.tf_index.numpy(force=True)


def regress_each_target(
    regress: Callable[[np.ndarray, np.ndarray, int], np.ndarray], data: ExpressionData, *, num_jobs: int, seed: int
) -> np.ndarray:
    """Return W (tf, gene) by calling ``regress(inputs, target, seed)`` for each gene with the gene itself left out.

    Parameters
    ----------
    regress
        Takes inputs (cell, tf), a target (cell,) float64 of mean 0 and variance 1, and a seed; returns (tf,).
    data
        The cells; candidate regulators are ``data.tfs``.
    num_jobs
        Processes (joblib); results do not depend on it.
    seed
        Each gene gets its own stream from it.
    """
    X, tf = expression(data), tf_columns(data)
    columns = Parallel(n_jobs=num_jobs)(delayed(one_target)(regress, X, tf, g, seed) for g in range(X.shape[1]))
    return np.stack(columns, axis=1)


def one_target(regress: Callable, X: np.ndarray, tf: np.ndarray, gene: int, seed: int) -> np.ndarray:
    """``(tf,)`` of one gene, from the cells ``X`` (cell, gene) and the columns ``tf`` of the TFs; as in
    `regress_each_target`."""
    weight = np.zeros(len(tf))
    others = tf != gene
    target = X[:, gene].astype(np.float64)
    if others.any() and np.ptp(target) > 0:
        target = (target - target.mean()) / target.std()
        stream = int(np.random.SeedSequence([seed, gene]).generate_state(1)[0])
        weight[others] = regress(X[:, tf[others]], target, stream)
    return weight


def edge_table(W: np.ndarray, data: ExpressionData) -> pd.DataFrame:
    r"""Return W (tf, gene) as rows ``source, target, weight`` without self-pairs, sorted by \|weight\| descending.

    Ties keep the order of TFs, then genes.
    """
    tf, gene = np.indices(W.shape).reshape(2, -1)
    keep = np.flatnonzero(tf_columns(data)[tf] != gene)
    order = keep[np.argsort(-np.abs(W.ravel()[keep]), kind="stable")]
    source, target = np.array(data.tfs, dtype=object), np.array(data.genes, dtype=object)
    return pd.DataFrame({"source": source[tf[order]], "target": target[gene[order]], "weight": W.ravel()[order]})
